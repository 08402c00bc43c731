//! Manners of the command line: tables that fit, forms for programs, servers that were signed in to, what comes as it comes, and
//! names under the tab key.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::cli::Cli;
use crate::support::identity::Identity;
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_the_form_that_is_asked_for_and_tables_fit() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let list = |args: &[&str]| server.cli(&[&["host", "list"], args].concat());
    let heading = |cli: Cli| cli.run().ok().stdout.lines().next().unwrap().to_owned();
    let wide = heading(list(&["-o", "wide"]));
    for column in ["ID", "HOSTNAME", "AGENT", "STATUS", "LAST SEEN", "ADDRESSES", "OS", "FLAGS"] {
        assert!(wide.contains(column), "{wide}");
    }
    let piped = list(&[]).run().ok().stdout;
    assert!(piped.lines().all(|line| line.chars().count() <= 80), "{piped}");
    assert!(piped.starts_with("ID ") && !piped.contains("ADDRESSES") && !piped.contains(" OS"), "{piped}");
    assert_eq!(heading(list(&[]).env("COLUMNS", "400")), wide);
    assert!(heading(list(&[]).env("COLUMNS", "20")).ends_with("HOSTNAME"), "what it is stays");

    let json = list(&["--json"]).run().json();
    assert_eq!(list(&["-o", "json"]).run().json(), json);
    let yaml = list(&["-o", "yaml"]).run().ok().stdout;
    assert_eq!(yaml_serde::from_str::<Value>(&yaml).unwrap(), json);
    let shown = server.cli(&["host", "show", "web-1", "-o", "yaml"]).run().ok().stdout;
    assert_eq!(yaml_serde::from_str::<Value>(&shown).unwrap()["id"], identity.host_id());
    assert_eq!(list(&["-o", "name"]).run().ok().stdout, format!("{}\n", identity.host_id()));
    for args in [
        &["host", "list", "--json", "-o", "yaml"][..],
        &["tenant", "list", "-o", "spiffe"],
        &["host", "list", "-o", "xml"],
    ] {
        let refused = server.cli(args).run();
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused}");
    }
}

#[test]
fn a_server_that_was_signed_in_to_is_asked_from_then_on() {
    let server = Server::quickstart();
    let token = server.api_token(&["agent.read"], None);
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    std::fs::create_dir(&config).unwrap();
    let cli = |args: &[&str]| Cli::new(home.path(), args).env("XDG_CONFIG_HOME", config.to_str().unwrap());
    let pin = server.hello.ca_pin.as_str();
    let wrong = cli(&["login", &server.hello.url, "--server-pin", pin]).run();
    assert_eq!(wrong.code, Some(2), "a missing credential: {wrong}");
    let (public, secret) = token.rsplit_once('_').unwrap();
    let junk = format!("{public}_{}", secret.chars().rev().collect::<String>());
    cli(&["login", &server.hello.url, "--server-pin", pin, "--api-token-file", "-"])
        .stdin(&junk)
        .run()
        .failed();
    let login =
        cli(&["login", &server.hello.url, "--server-pin", pin, "--name", "prod", "--api-token-file", "-"]);
    let told = login.stdin(&token).run().ok();
    assert!(told.stderr.contains("agent.read") && !told.stderr.contains(&token), "{told}");
    let file = config.join("muster/contexts.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let asked = cli(&["host", "list", "--json"]).run().ok();
    assert!(asked.stderr.contains(&server.hello.url) && asked.stderr.contains("prod"), "{asked}");
    let here = cli(&["host", "list", "--json"])
        .env("MUSTER_DATA_DIR", server.data_dir().to_str().unwrap())
        .run()
        .ok();
    assert_eq!(here.stderr, "", "the data directory means the local one");
    let flag = cli(&["host", "list", "--server", "https://127.0.0.1:1"]).run();
    assert!(!flag.stderr.contains("of context"), "flags win: {flag}");
    assert_eq!(cli(&["context", "list", "--json"]).run().items()[0]["current"], true);
    cli(&["context", "use", "other"]).run().failed();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = cli(&["host", "list"]).run().failed();
    assert!(open.stderr.contains("contexts.json"), "{open}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    cli(&["logout"]).run().ok();
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&token));
    assert!(cli(&["host", "list"]).run().failed().stderr.contains("no store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_followed_as_it_grows() {
    let server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    let mut following = command(MUSTER, server.room());
    following.args(["audit", "list", "--follow", "--json", "--limit", "1"]);
    let following = Process::start(following.env("MUSTER_DATA_DIR", server.data_dir()));
    let record = |line: String| serde_json::from_str::<Value>(&line).unwrap();
    let first = following.stdout.wait_for_line(PATIENCE, |line| line.contains("agent.enroll"));
    let first = record(first.expect("the newest record"));
    let second = Identity::enroll(&server, "web-2").await;
    let host = second.host_id();
    let next = following.stdout.wait_for_line(PATIENCE, |line| line.contains(&host));
    let next = record(next.expect("what came"));
    assert_eq!(next["action"], "agent.enroll");
    assert!(next["seq"].as_u64() > first["seq"].as_u64(), "{first} {next}");
    following.signal(rustix::process::Signal::KILL);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tab_key_offers_names_that_the_server_knows() {
    let server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    Identity::enroll(&server, "db-1").await;
    let names = |words: &[&str]| {
        let mut lines: Vec<_> = server
            .cli(&[&["complete", "--"], words].concat())
            .run()
            .ok()
            .stdout
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(names(&["host", "decommission"]), ["db-1", "web-1"]);
    assert_eq!(names(&["host", "list", "--tenant"]), ["default"]);
    assert_eq!(names(&["user", "disable"]), ["admin"]);
    assert_eq!(names(&["host"]), Vec::<String>::new());
    assert_eq!(names(&["host", "list", "--status"]), Vec::<String>::new());

    let scripts = ["bash", "zsh", "fish"].map(|shell| server.cli(&["completions", shell]).run().ok().stdout);
    assert!(scripts.iter().all(|script| script.contains("muster complete -- ")));
    let script = server.room().join("muster.bash");
    std::fs::write(&script, &scripts[0]).unwrap();
    let pressed = format!(
        "PATH={}:$PATH; . {}; COMP_WORDS=(muster host show we); COMP_CWORD=3; _muster_names muster we show; \
         echo \"${{COMPREPLY[@]}}\"; COMP_WORDS=(muster host sh); COMP_CWORD=2; _muster_names muster sh host; echo \"${{COMPREPLY[@]}}\"",
        std::path::Path::new(MUSTER).parent().unwrap().display(),
        script.display()
    );
    let mut shell = command("bash", server.room());
    shell.args(["-c", &pressed]).env("MUSTER_DATA_DIR", server.data_dir());
    let finished = Process::start(&mut shell).wait();
    assert_eq!(finished.stdout, "web-1\nshow\n", "{finished:?}");
}
