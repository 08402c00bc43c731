//! Files with secrets: what is in them is in no message, others have no access to them, and whoever must read them
//! can.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::support::agent::Machine;
use crate::support::cli::openssl;
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// A user and a group that nobody has.
const SERVICE: u32 = 54_321;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_key_that_a_template_has_spoilt_is_in_no_log() {
    for format in ["text", "json"] {
        let mut server = Server::quickstart_with(&[("MUSTER_LOG_FORMAT", format)]);
        let path = server.file("tls/server.key");
        let key = fs::read_to_string(&path).unwrap();
        fs::write(&path, key.replace('\n', "\\n")).unwrap();
        server.wait_for_log("the one in use stays", PATIENCE);
        let mut said = server.log();
        server.stop();
        let refused = server.try_start_again().unwrap_err();
        said.push_str(&refused.stderr);
        assert!(refused.stderr.contains("line 1: line breaks are written as"), "{refused:?}");
        let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        for part in body.as_bytes().chunks(8) {
            assert!(!said.contains(std::str::from_utf8(part).unwrap()), "{said}");
        }
        assert!(!said.contains("45, 45, 45"), "nor its octets, as numbers: {said}");
    }
}

#[test]
fn every_ca_of_a_bundle_counts_or_the_line_that_does_not_is_named() {
    let server = Server::quickstart();
    let (ours, room) = (server.server_ca(), server.room());
    openssl(
        room,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=other",
            "-keyout",
            "other.key",
            "-out",
            "other.pem",
        ],
    )
    .ok();
    let other = fs::read_to_string(room.join("other.pem")).unwrap();
    let indented: String = ours.lines().map(|line| format!("  {line}\n")).collect();
    let old_label = ours.replace(" CERTIFICATE", " X509 CERTIFICATE");
    for (case, ours) in
        [("a mark", format!("\u{feff}{ours}")), ("indented", indented), ("an old label", old_label)]
    {
        let machine = Machine::new();
        let bundle = room.join("bundle.pem");
        fs::write(&bundle, format!("{other}{ours}")).unwrap();
        let trust = ["--ca-file", bundle.to_str().unwrap()];
        let enrolled = machine.enroll(&server.hello.url, &server.join_token(&[]), &trust);
        assert_eq!(enrolled.code, Some(0), "{case}: {enrolled}");
        assert_eq!(machine.read("server-ca.pem").matches("BEGIN CERTIFICATE").count(), 2, "{case}");
    }
    let bundle = room.join("bundle.pem");
    fs::write(&bundle, format!("{other}----BEGIN CERTIFICATE----\n")).unwrap();
    let machine = Machine::new();
    let refused =
        machine.enroll(&server.hello.url, &server.join_token(&[]), &["--ca-file", bundle.to_str().unwrap()]);
    let line = other.lines().count() + 1;
    assert!(refused.failed().stderr.contains(&format!("line {line}: ")), "the line that announces one");
    assert!(machine.is_blank());
}

#[test]
fn an_agent_does_not_run_with_a_key_that_others_can_read() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let run = || {
        let mut command = command(MUSTER, machine.home());
        Process::start(command.args(["agent", "run", "--dir"]).arg(machine.dir()))
    };
    for open in [0o644, 0o640, 0o604] {
        mode(&machine.file("key.pem"), open);
        let refused = run().wait();
        assert_eq!(refused.status.code(), Some(1), "{open:o}: {refused:?}");
        assert!(
            refused.stderr.contains("; run: chmod 600 ") && refused.stderr.contains("key.pem"),
            "{refused:?}"
        );
    }
    mode(&machine.file("key.pem"), 0o600);
    let running = run();
    running.wait_for_log("session open", PATIENCE);
    no_core_of(running.id());
}

fn no_core_of(id: u32) {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<_> = line.split_whitespace().skip(4).take(2).collect();
    assert_eq!(fields, ["0", "0"], "{line}");
}

#[test]
fn commands_that_handle_the_root_key_dump_no_core() {
    let server = Server::quickstart();
    let mut renew = command(MUSTER, server.room());
    renew.args(["agent-ca", "renew", "--data-dir"]).arg(server.data_dir());
    // It waits for the key, and has switched dumps off before it asks for anything.
    let waiting = Process::start(&mut renew);
    crate::support::wait::until("core dumps are off", || {
        let limits = fs::read_to_string(format!("/proc/{}/limits", waiting.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size"))?.to_owned();
        (line.split_whitespace().nth(5) == Some("0")).then_some(())
    });
    no_core_of(waiting.id());
}

/// As on Debian (`root:ssl-cert 0640`), and on Kubernetes volumes with an `fsGroup` (`root:GID`, 2775 and 0640).
#[test]
fn a_group_may_read_what_root_has_given_to_it() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let room = tempfile::tempdir().unwrap();
    mode(room.path(), 0o755);
    let data = room.path().join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(0), Some(SERVICE)).unwrap();
    mode(&data, 0o2775);
    let start = || {
        let mut command = command(MUSTER, room.path());
        command.args([
            "quickstart",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--grpc-listen",
            "127.0.0.1:0",
            "--data-dir",
        ]);
        Process::start(command.arg(&data).uid(SERVICE).gid(SERVICE))
    };
    let mut server = start();
    let started = server.stdout.wait_for_line(PATIENCE, |_| true);
    assert!(started.is_some(), "{}", server.stderr.text());
    server.signal(rustix::process::Signal::TERM);
    server.wait();

    // What root's command makes there is the server's afterwards.
    let certificate = data.join("tls/server.crt");
    let before = fs::read(&certificate).unwrap();
    crate::support::cli::Cli::new(
        room.path(),
        &["gen-cert", "--name", "127.0.0.1", "--data-dir", data.to_str().unwrap()],
    )
    .run()
    .ok();
    assert_ne!(fs::read(&certificate).unwrap(), before);
    let key = data.join("tls/server.key");
    for (path, open) in [(&key, 0o640), (&data.join("envelope.key"), 0o440)] {
        chown(path, Some(0), Some(SERVICE)).unwrap();
        mode(path, open);
    }
    let mut server = start();
    let started = server.stdout.wait_for_line(PATIENCE, |_| true);
    assert!(started.is_some(), "{}", server.stderr.text());
    server.signal(rustix::process::Signal::TERM);
    server.wait();

    mode(&key, 0o644);
    let refused = start().wait();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("; run: chmod 640 "), "{refused:?}");
    mode(&key, 0o640);
    assert!(start().stdout.wait_for_line(PATIENCE, |_| true).is_some(), "the advice helped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_no_part_of_a_password() {
    let server = Server::quickstart();
    let password = "correct horse battery staple";
    let add = server.cli(&["user", "add", "olga", "--role", "viewer"]);
    tokio::task::block_in_place(|| add.stdin(&format!("\u{feff}{password}\r\n")).run().ok());
    let login = serde_json::json!({"username": "olga", "password": password});
    server.http().post("/v1/session", &login).await.expect(200);
}
