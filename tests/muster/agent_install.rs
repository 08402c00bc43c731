//! `muster agent install` and `uninstall`: what ends up on a machine or in an image, and what can't get there.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use muster::agent::config::AgentConfig;
use muster::agent::relying_party::settings::VouchAddress;

use crate::support::agent::Machine;
use crate::support::cli::{Cli, Output};
use crate::support::files::contents;
use crate::support::process::{Finished, Process, command};
use crate::support::server::{Server, text};

const TOKEN: &str = "etc/credstore/muster-join-token";
const SECRET: &str = "etc/credstore/muster-enrollment-secret";
const CONFIG: &str = "etc/muster/agent.yml";
const UNIT: &str = "etc/systemd/system/muster-agent.service";
const URL: &str = "https://control.example:8443";
const PIN: &str = "abababababababababababababababababababababababababababababababab";

/// A file tree to install into, and a secret that is well formed.
struct Image {
    room: tempfile::TempDir,
    secret: String,
}

impl Image {
    fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        std::fs::create_dir(room.path().join("root")).unwrap();
        let secret = Server::quickstart().secret(&[]).1;
        std::fs::write(room.path().join("secret"), &secret).unwrap();
        Self { room, secret }
    }

    fn root(&self) -> PathBuf {
        self.room.path().join("root")
    }

    fn install_into(&self, root: &Path, args: &[&str]) -> Output {
        let usual = ["agent", "install", "--root", root.to_str().unwrap(), "--no-start"];
        Cli::new(self.room.path(), &[&usual[..], args].concat()).stdin(&self.secret).run()
    }

    fn install(&self, args: &[&str]) -> Output {
        self.install_into(&self.root(), args)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        contents(&self.root())
    }
}

#[test]
fn an_image_gets_settings_a_credential_and_an_enabled_unit() {
    let image = Image::new();
    let args = ["--server", URL, "--ca-pin", PIN, "--secret-file", "-"];
    let told = image.install(&args).ok();
    for (path, mode) in [(CONFIG, 0o644), (UNIT, 0o644), (SECRET, 0o600), ("etc/credstore", 0o700)] {
        let found = std::fs::metadata(image.root().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    let link = image.root().join("etc/systemd/system/multi-user.target.wants/muster-agent.service");
    assert_eq!(std::fs::read_link(link).unwrap(), Path::new("../muster-agent.service"));
    assert_eq!(image.read(SECRET).trim(), image.secret);
    for other in [&image.read(CONFIG), &image.read(UNIT), &told.stdout, &told.stderr] {
        assert!(!other.contains(image.secret.rsplit('_').next().unwrap()), "{other}");
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/muster-agent.service");
    assert_eq!(image.read(UNIT), std::fs::read_to_string(shipped).unwrap());

    let config = AgentConfig::load(&image.root().join(CONFIG), &|_| None).unwrap();
    assert_eq!(config.identity.path(), Path::new("/var/lib/muster-agent/identity"));
    assert_eq!(config.server.as_ref().unwrap().to_string(), URL);
    assert_eq!(config.enroll.pin.unwrap().to_string(), PIN);

    let before = image.contents();
    image.install(&args).ok();
    assert_eq!(image.contents(), before, "the same again changes nothing");

    let root = image.root();
    Cli::new(image.room.path(), &["agent", "uninstall", "--root", root.to_str().unwrap()]).run().ok();
    let left: Vec<_> = image.contents().into_keys().collect();
    assert_eq!(left, [image.root().join("usr/local/bin/muster")], "the program stays, and nothing else");
}

#[test]
fn a_ca_file_and_another_directory_are_taken_along() {
    let image = Image::new();
    let server = Server::quickstart();
    let ca = server.file("tls/ca.crt");
    let token = server.join_token(&[]);
    let args = ["--server", URL, "--ca-file", ca.to_str().unwrap(), "--token", &token];
    image.install(&[&args[..], &["--dir", "/var/lib/app/identity"]].concat()).ok();
    assert_eq!(image.read(TOKEN).trim(), token);
    assert!(!image.root().join(SECRET).exists());
    assert!(image.read("etc/muster/agent-server-ca.pem").contains("BEGIN CERTIFICATE"));
    let config = AgentConfig::load(&image.root().join(CONFIG), &|_| None).unwrap();
    assert_eq!(config.identity.path(), Path::new("/var/lib/app/identity"));
    assert_eq!(config.server_ca.as_deref(), Some(Path::new("/etc/muster/agent-server-ca.pem")));
    assert!(image.read(UNIT).lines().any(|line| line == "StateDirectory=app/identity"));
}

#[test]
fn a_group_of_relying_parties_may_ask_the_agent() {
    let image = Image::new();
    image.install(&["--server", URL, "--secret-file", "-", "--relying-party", "www-data"]).ok();
    let config = AgentConfig::load(&image.root().join(CONFIG), &|_| None).unwrap();
    let relying_party = config.relying_party.unwrap();
    assert_eq!(relying_party.group.as_deref(), Some("www-data"));
    assert_eq!(relying_party.listen, VouchAddress::Unix("/run/muster-agent/vouch.sock".into()));
    assert!(image.read(UNIT).lines().any(|line| line == "SupplementaryGroups=www-data"));
    let bad = ["--server", URL, "--secret-file", "-", "--relying-party", "a\nUser=root"];
    let refused = image.install(&bad).failed();
    assert!(refused.stderr.contains("--relying-party"), "{refused}");
}

#[test]
fn no_value_can_add_to_the_unit_or_the_settings() {
    let image = Image::new();
    let bad = [
        "\nExecStart=/bin/sh",
        "%n",
        "$HOME",
        "\"",
        "'",
        " x",
        "\t",
        "\\",
        "\u{1b}[31m",
        "#",
        "\r\nUser=root",
    ];
    for bad in bad {
        let server = format!("https://control{bad}.example:8443");
        let refused = image.install(&["--server", &server, "--secret-file", "-"]).failed();
        assert!(refused.stderr.contains("--server"), "{refused}");
        let dir = format!("/var/lib/muster{bad}agent");
        let refused = image.install(&["--server", URL, "--secret-file", "-", "--dir", &dir]).failed();
        assert!(refused.stderr.contains("/var/lib") || refused.stderr.contains("unit"), "{refused}");
        assert!(image.contents().is_empty(), "{bad:?}: {:?}", image.contents().keys());
    }
    for dir in ["/srv/identity", "relative", "/var/lib", "/var/lib/../../etc"] {
        image.install(&["--server", URL, "--secret-file", "-", "--dir", dir]).failed();
        assert!(image.contents().is_empty());
    }
    // The image's own path says nothing on the machine that it becomes.
    let odd = image.room.path().join("a %n $x \"q\"\nUser=root");
    std::fs::create_dir(&odd).unwrap();
    image.install_into(&odd, &["--server", URL, "--secret-file", "-"]).ok();
    let unit = std::fs::read_to_string(odd.join(UNIT)).unwrap();
    assert!(!unit.contains("%n $x") && !unit.contains("User=root"), "{unit}");
}

#[test]
fn what_others_put_there_stays() {
    let image = Image::new();
    let args = ["--server", URL, "--secret-file", "-"];
    let victim = image.room.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::create_dir(image.root().join("etc")).unwrap();
    symlink(&victim, image.root().join("etc/muster")).unwrap();
    let refused = image.install(&args).failed();
    assert!(refused.stderr.contains("symbolic link"), "{refused}");
    assert!(contents(&victim).is_empty() && image.contents().is_empty());

    std::fs::remove_file(image.root().join("etc/muster")).unwrap();
    std::fs::create_dir(image.root().join("etc/muster")).unwrap();
    std::fs::write(image.root().join(CONFIG), "# mine\n").unwrap();
    let refused = image.install(&args).failed();
    assert!(refused.stderr.contains("was not written by"), "{refused}");
    assert_eq!(image.contents().len(), 1);
    let root = image.root();
    Cli::new(image.room.path(), &["agent", "uninstall", "--root", root.to_str().unwrap()]).run().ok();
    assert_eq!(image.read(CONFIG), "# mine\n");

    // An identity of another server.
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    std::fs::remove_file(root.join(CONFIG)).unwrap();
    std::fs::create_dir_all(root.join("var/lib/muster-agent")).unwrap();
    std::fs::rename(machine.dir(), root.join("var/lib/muster-agent/identity")).unwrap();
    let before = image.contents();
    let refused = image.install(&args).failed();
    assert!(refused.stderr.contains("already has the identity"), "{refused}");
    assert_eq!(image.contents(), before);
    let args = ["--server", &server.hello.url, "--secret-file", "-"];
    let told = image.install(&args).ok();
    assert!(told.stdout.contains("goes on as") && !root.join(SECRET).exists(), "{told}");
}

#[test]
fn the_line_that_is_printed_makes_a_fresh_machine_an_agent() {
    let server = Server::quickstart();
    let minted = server.cli(&["enroll-token", "--json"]).run().json();
    let (line, token) = (text(&minted, "install_command"), text(&minted, "token"));
    let (_, secret) = server.secret(&[]);
    let room = tempfile::tempdir().unwrap();
    let link_file = room.path().join("link");
    std::fs::write(&link_file, text(&minted, "join_link").replace(&token, &secret)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/fresh_machine.sh");
    let mut process = Process::start(
        command("unshare", room.path())
            .args(["--map-root-user", "--mount", script.to_str().unwrap(), &line])
            .arg(&link_file),
    );
    let Finished { status, stdout, stderr } = process.wait();
    assert!(status.success(), "{stdout}\n{stderr}");
    let line = |start: &str| stdout.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert_eq!(
        line("arguments:").trim(),
        "arguments: /usr/local/bin/muster agent run --config /etc/muster/agent.yml"
    );
    let calls = "daemon-reload enable muster-agent.service restart muster-agent.service";
    let ended = "disable --now muster-agent.service daemon-reload";
    assert_eq!(line("calls:"), format!("calls: {calls} {calls} {ended}"));
    assert_eq!(line("left:"), "left: /usr/local/bin/muster agent.json ca.pem cert.pem key.pem server-ca.pem");
    assert_eq!(stdout.matches("The agent runs and has reported to").count(), 2, "{stdout}");
    for output in [&stdout, &stderr] {
        for credential in [&token, &secret] {
            assert!(!output.contains(credential.rsplit('_').next().unwrap()), "{output}");
        }
    }
    assert_eq!(server.hosts().len(), 1);
}
