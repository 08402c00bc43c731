//! `muster quickstart`: from nothing to a serving system, and what it leaves on disk.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::support::files::below;
use crate::support::identity::Identity;
use crate::support::keys;
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_line_of_json_says_how_to_use_the_server() {
    let server = Server::quickstart();
    let line: Value = serde_json::from_str(&server.first_line).unwrap();
    let mut keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["admin_password", "admin_user", "ca_pin", "data_dir", "grpc_addr", "join_token", "tenant_id", "url"]
    );
    assert_eq!(server.hello.data_dir, server.data_dir());
    assert_eq!(server.hello.admin_user, "admin");
    assert!(server.hello.url.starts_with("https://127.0.0.1:"), "{line}");
    assert!(!server.hello.url.ends_with(":0") && !server.hello.grpc_addr.ends_with(":0"), "{line}");

    let http = server.http();
    assert_eq!(http.get("/healthz").await.status, 200);
    assert_eq!(http.get("/readyz").await.status, 200);
    let identity = Identity::with_token(&http, &server.hello.join_token.clone().unwrap()).await;
    assert_eq!(identity.field("tenant_id"), server.hello.tenant_id);
    identity.peer(&server).reports().await.unwrap();
}

#[test]
fn the_pin_is_the_fingerprint_of_the_server_ca() {
    let server = Server::quickstart();
    let ca = keys::certificates(&server.server_ca());
    assert_eq!(server.hello.ca_pin, keys::fingerprint(&ca[0]));
}

#[test]
fn the_first_password_is_long_and_random() {
    let passwords: Vec<_> =
        (0..2).map(|_| Server::quickstart().hello.admin_password.expect("a first run makes one")).collect();
    assert_ne!(passwords[0], passwords[1]);
    assert!(passwords.iter().all(|password| password.len() >= 20), "too short for 112 random bits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_serves_what_is_there_and_prints_no_password() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let (before, bundle) = (server.hello.clone(), server.http().get("/agent-ca.crt").await.body);
    server.stop();
    server.start_again();

    assert_eq!(server.hello.admin_password, None);
    assert_eq!(server.hello.ca_pin, before.ca_pin);
    assert_eq!(server.hello.tenant_id, before.tenant_id);
    assert_ne!(server.hello.join_token, before.join_token, "a fresh token each time");
    assert_eq!(server.http().get("/agent-ca.crt").await.body, bundle);
    assert_eq!(server.hosts().len(), 1);
    identity.peer(&server).reports().await.unwrap();
}

#[test]
fn it_reminds_to_take_the_root_key_offline() {
    let server = Server::quickstart();
    server.wait_for_log("root-key.pem", Duration::from_secs(10));
}

#[test]
fn people_get_an_enroll_line_to_paste() {
    let room = tempfile::tempdir().unwrap();
    let mut command = command(MUSTER, room.path());
    command.args(["quickstart", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
    command.args(["--data-dir", "data"]);
    let process = Process::start(&mut command);
    let line = process
        .stdout
        .wait_for_line(PATIENCE, |line| line.contains("muster agent enroll"))
        .unwrap_or_else(|| panic!("{}\n{}", process.stdout.text(), process.stderr.text()));
    assert!(line.contains("muster://127.0.0.1:") && line.contains("#mjt_"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_private_is_readable_by_others() {
    let server = Server::quickstart();
    // Certificates are public; so is a bundle that an operator exports.
    let public = [PathBuf::from("tls/ca.crt"), PathBuf::from("tls/server.crt")];
    Identity::enroll(&server, "web-1").await;
    let root = server.data_dir();
    assert_eq!(mode(&root), 0o700);
    let files = below(&root);
    assert!(files.len() > 4, "{files:?}");
    for path in &files {
        let name = path.strip_prefix(&root).unwrap();
        if !public.iter().any(|public| public == name) {
            assert_eq!(mode(path) & 0o077, 0, "{} is open to others: {:o}", name.display(), mode(path));
        }
    }
    for secret in ["root-key.pem", "envelope.key", "tls/server.key"] {
        assert_eq!(mode(&server.file(secret)), 0o600, "{secret}");
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}
