//! Where the envelope key is kept: found there, and never joined by a second one that opens nothing.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::cli::Cli;
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

#[test]
fn a_key_in_the_credential_store_stays_the_only_one() {
    let mut server = Server::quickstart();
    server.stop();
    let credentials = server.room().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let key = server.file("envelope.key");
    fs::rename(&key, credentials.join("envelope.key")).unwrap();
    let pin = |printed: &str| printed.lines().find(|line| line.starts_with("Pin")).unwrap().to_owned();

    // An operator's shell has no credentials.
    for command in [&["gen-cert", "--name", "127.0.0.1"][..], &["backup", "b.age"]] {
        let refused = server.cli(command).run().failed();
        assert!(refused.stderr.contains("MUSTER_ENVELOPE_KEY_FILE"), "says how: {refused}");
        assert!(refused.stderr.contains("systemd-run"), "says how: {refused}");
        assert!(!key.exists(), "{refused}");
    }
    let as_unit =
        |args: &[&str]| server.cli(args).env("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap()).run();
    let made = as_unit(&["gen-cert", "--name", "127.0.0.1"]).ok();
    assert!(pin(&made.stdout).ends_with(&server.hello.ca_pin), "the CA is the one it was: {made}");
    as_unit(&["backup", "c.age"]).ok();
    assert!(!key.exists());

    // Without anything sealed beside it, the store still knows.
    fs::remove_dir_all(server.file("tls")).unwrap();
    let refused = server.cli(&["gen-cert", "--name", "127.0.0.1"]).run().failed();
    assert!(refused.stderr.contains("sealed keys here already"), "{refused}");
    assert!(!key.exists() && !server.file("tls").exists());
}

#[test]
fn whichever_command_comes_first_makes_the_key() {
    for (first, second) in [("gen-cert", "agent-ca init"), ("agent-ca init", "gen-cert")] {
        let room = tempfile::tempdir().unwrap();
        let data = room.path().join("data");
        let run = |line: &str| {
            let args: Vec<_> = line.split(' ').collect();
            Cli::new(room.path(), &args).env("MUSTER_DATA_DIR", data.to_str().unwrap()).run().ok()
        };
        run(first);
        let key = fs::read(data.join("envelope.key")).unwrap();
        run(second);
        assert_eq!(fs::read(data.join("envelope.key")).unwrap(), key);
        run("backup backup.age");
    }
}

/// The owner of a data directory may be less trusted than root, whose commands work in it.
#[test]
fn a_planted_link_does_not_lead_a_command_out_of_the_data_directory() {
    let room = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (room.path().join("data"), room.path().join("elsewhere"));
    let run =
        |args: &[&str]| Cli::new(room.path(), args).env("MUSTER_DATA_DIR", data.to_str().unwrap()).run();
    run(&["agent-ca", "init"]).ok();
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, data.join("tls")).unwrap();
    let refused = run(&["gen-cert", "--name", "localhost"]).failed();
    assert!(refused.stderr.contains("symbolic link") && refused.stderr.contains("tls"), "{refused}");
    let quickstart = run(&["quickstart", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]).failed();
    assert!(quickstart.stderr.contains("symbolic link"), "{quickstart}");
    let resealed = run(&["agent-ca", "reseal"]).failed();
    assert!(resealed.stderr.contains("symbolic link"), "{resealed}");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// A socket's address has room for 107 octets (unix(7)), a directory's name has more.
#[test]
fn a_data_directory_may_have_a_long_name() {
    let room = tempfile::tempdir().unwrap();
    let data = room.path().join("x".repeat(150)).join("data");
    let mut quickstart = command(MUSTER, room.path());
    quickstart.args([
        "quickstart",
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--grpc-listen",
        "127.0.0.1:0",
        "--data-dir",
    ]);
    let mut server = Process::start(quickstart.arg(&data));
    let started = server.stdout.wait_for_line(PATIENCE, |_| true);
    assert!(started.is_some(), "{}", server.stderr.text());
    // The store is the running server's, so this goes over its socket.
    let list = ["host", "list", "--json", "--data-dir", data.to_str().unwrap()];
    assert!(Cli::new(room.path(), &list).run().items().is_empty());
    server.signal(rustix::process::Signal::TERM);
    server.wait();
    assert!(!data.join("muster.sock").exists());
}
