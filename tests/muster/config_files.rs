//! The example configurations say what the binary understands.

use std::fs;
use std::path::Path;

use muster::agent::config::AgentConfig;
use muster::agent::outputs::config::{OutputFormat, OutputsConfig};
use muster::config::{SETTINGS, Setting};
use rustix::process::Signal;

use crate::support::notify::NotifySocket;
use crate::support::server::Server;

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)).unwrap()
}

/// The text with its options switched on: `#key:` becomes `key:`, prose stays a comment.
fn switched_on(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if option.starts_with(|c: char| c.is_ascii_lowercase()) => option,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_has_every_setting_and_its_variable_in_their_order() {
    let reference = example("muster.reference.yml");
    let mut lines = reference.lines();
    for Setting { key, variable, .. } in SETTINGS {
        assert!(
            lines.any(|line| line == format!("# {variable}")),
            "config/muster.reference.yml lacks the line '# {variable}', or has it in another place than `settings!` of \
             src/config.rs"
        );
        let option = lines.next().unwrap_or_default();
        assert!(
            option.starts_with(&format!("#{key}: ")),
            "below '# {variable}' stands no '#{key}: ', but '{option}'"
        );
    }
    let unknown = lines.find(|line| line.starts_with("# MUSTER_"));
    assert_eq!(unknown, None, "it is no setting of `settings!`, or stands in another place there");
}

#[test]
fn the_server_accepts_the_reference_with_every_default_written_out() {
    serves_with("muster.reference.yml", &switched_on(&example("muster.reference.yml")));
}

#[test]
fn the_server_accepts_the_short_example_as_it_is() {
    serves_with("muster.yml", &example("muster.yml"));
}

#[test]
fn the_short_example_uses_options_of_the_reference() {
    let reference = switched_on(&example("muster.reference.yml"));
    for line in switched_on(&example("muster.yml")).lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (key, _) = line.split_once(':').unwrap();
        assert!(reference.lines().any(|line| line.starts_with(&format!("{key}:"))), "{key}");
    }
}

#[test]
fn the_agent_accepts_its_examples() {
    for (name, socket) in [("agent.yml", false), ("agent.yml", true), ("agent.container.yml", true)] {
        // Here options have options below them.
        let option =
            |line: &str| line.starts_with("  ") || line.starts_with(|c: char| c.is_ascii_lowercase());
        let text = example(name);
        let lines = text.lines().map(|line| match line.strip_prefix('#') {
            Some(rest) if socket && option(rest) && !rest.contains("MUSTER_") => rest,
            _ => line,
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join(name);
        fs::write(&path, &text).unwrap();
        let config = AgentConfig::load(&path, &|_| None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.identity.path(), Path::new("/var/lib/muster-agent/identity"));
        assert_eq!(config.workload_socket.is_some(), socket);
        assert_eq!(config.enroll.credential.is_some(), socket);
    }
}

#[test]
fn outputs_accept_their_example_with_and_without_its_options() {
    let text = example("outputs.example.yml");
    let options = text.lines().map(|line| match line.trim_start().strip_prefix('#') {
        Some(option) if option.starts_with(|c: char| c.is_ascii_lowercase() || c == '-') => {
            if option.starts_with('-') { format!("  {option}") } else { option.to_owned() }
        }
        Some(deeper) if deeper.starts_with("  ") => format!("  {deeper}"),
        _ => line.to_owned(),
    });
    let options = options.collect::<Vec<_>>().join("\n");
    let room = tempfile::tempdir().unwrap();
    for (text, count) in [(text, 1), (options, 2)] {
        let path = room.path().join("outputs.yml");
        fs::write(&path, &text).unwrap();
        let config = OutputsConfig::load(&path).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(config.outputs.len(), count);
        assert_eq!(config.state_dir.is_some(), count == 2);
        let first = &config.outputs[0];
        assert_eq!(
            (first.format, first.key_mode, first.min_interval.as_secs()),
            (OutputFormat::Pem, 0o640, 5)
        );
        let last = config.outputs.last().unwrap();
        assert_eq!(last.password_file.is_some(), count == 2);
    }
}

#[test]
fn the_daemon_set_gives_the_agent_what_its_settings_name() {
    let text = example("kubernetes/daemonset.yml");
    let set: serde_json::Value = yaml_serde::from_str(&text).unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    let mounts = agent["volumeMounts"].as_array().unwrap();
    let mounted = |path: &str| {
        let inside = |mount: &&serde_json::Value| path.starts_with(mount["mountPath"].as_str().unwrap());
        let volume = mounts.iter().find(inside).unwrap_or_else(|| panic!("{path} is on no volume"));
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|v| v["name"] == volume["name"]), "{path}");
    };
    let settings = example("agent.container.yml");
    let settings: serde_json::Value = yaml_serde::from_str(&settings).unwrap();
    for (section, key) in [("tls", "cert_file"), ("enroll", "secret_file"), ("workload_api", "socket")] {
        mounted(settings[section][key].as_str().unwrap());
    }
    let environment = agent["env"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap());
    assert_eq!(
        environment.collect::<Vec<_>>(),
        [muster::agent::config::SERVER, muster::agent::config::CA_PIN]
    );
}

fn serves_with(name: &str, config: &str) {
    let mut server = Server::quickstart();
    server.stop();
    let path = server.room().join(name);
    fs::write(&path, config).unwrap();
    let notify = NotifySocket::new(server.room());
    let args = ["--config", path.to_str().unwrap()];
    let mut process = server.serve(&args, &[("NOTIFY_SOCKET", notify.address())]);
    notify.wait_for("READY=1");
    process.signal(Signal::TERM);
    let finished = process.wait();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}
