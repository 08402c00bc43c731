//! Starts that must be refused: the reason on stderr, exit status 1, and nothing changed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::files::{contents, copy};
use crate::support::identity::Identity;
use crate::support::process::Finished;
use crate::support::server::Server;

/// Demands a refusal that names `reason` and leaves every file of the data directory as it was.
#[track_caller]
fn assert_refuses(server: &Server, args: &[&str], env: &[(&str, &str)], reason: &str) {
    let before = contents(&server.data_dir());
    let finished = server.serve(args, env).wait();
    assert_refusal(&finished, reason);
    let after = contents(&server.data_dir());
    let changed: Vec<_> = after.iter().filter(|(path, content)| before.get(*path) != Some(content)).collect();
    assert!(changed.is_empty(), "changed: {:?}", changed.iter().map(|(path, _)| path).collect::<Vec<_>>());
    assert_eq!(after.len(), before.len(), "files are gone");
}

#[track_caller]
fn assert_refusal(finished: &Finished, reason: &str) {
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    let told = finished.stderr.lines().any(|line| line.contains(reason));
    assert!(told, "{reason:?} is not in:\n{}", finished.stderr);
}

fn stopped() -> Server {
    let mut server = Server::quickstart();
    server.stop();
    server
}

#[test]
fn an_envelope_that_does_not_open_the_key() {
    let server = stopped();
    let other = Server::quickstart();
    let key = server.room().join("other.key");
    fs::copy(other.file("envelope.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_refuses(&server, &[], &[("MUSTER_ENVELOPE_KEY_FILE", key.to_str().unwrap())], "envelope");

    fs::write(&key, "not an age identity").unwrap();
    assert_refuses(&server, &[], &[("MUSTER_ENVELOPE_KEY_FILE", key.to_str().unwrap())], "envelope");
    assert_refuses(&server, &[], &[("MUSTER_ENVELOPE_KEY_FILE", "/nonexistent/envelope.key")], "envelope");
}

#[test]
fn no_envelope_at_all() {
    let server = stopped();
    fs::remove_file(server.file("envelope.key")).unwrap();
    assert_refuses(&server, &[], &[], "envelope");
}

#[test]
fn key_files_that_others_can_read() {
    let server = stopped();
    for (name, mode) in [("envelope.key", 0o644), ("tls/server.key", 0o640)] {
        fs::set_permissions(server.file(name), fs::Permissions::from_mode(mode)).unwrap();
        assert_refuses(&server, &[], &[], name);
        fs::set_permissions(server.file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn certificates_that_can_not_be_served() {
    let server = stopped();
    let other = Server::quickstart();
    let key = server.room().join("other-server.key");
    fs::copy(other.file("tls/server.key"), &key).unwrap();
    assert_refuses(&server, &[], &[("MUSTER_TLS_KEY_FILE", key.to_str().unwrap())], "other-server.key");
    assert_refuses(&server, &[], &[("MUSTER_TLS_CERT_FILE", "/nonexistent.crt")], "/nonexistent.crt");
    let empty = server.room().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for name in ["MUSTER_TLS_CERT_FILE", "MUSTER_AGENT_TLS_CA_FILE"] {
        assert_refuses(&server, &[], &[(name, empty.to_str().unwrap())], "empty.pem");
    }
}

#[test]
fn a_port_that_is_taken() {
    let server = stopped();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listener in ["MUSTER_LISTEN", "MUSTER_GRPC_LISTEN"] {
        let finished = server.serve(&[], &[(listener, &address)]).wait();
        assert_refusal(&finished, &address);
    }
}

#[test]
fn a_data_directory_that_is_in_use() {
    let server = Server::quickstart();
    let finished = server.serve(&[], &[]).wait();
    assert_refusal(&finished, server.data_dir().to_str().unwrap());
    // The first server has noticed nothing.
    server.cli(&["host", "list", "--json"]).run().ok();
}

#[test]
fn settings_that_make_no_sense() {
    let server = stopped();
    for (name, value) in [
        ("MUSTER_LISTEN", "nowhere"),
        ("MUSTER_GRPC_LISTEN", "127.0.0.1:99999"),
        ("MUSTER_SVID_TTL", "9s"),
        ("MUSTER_SVID_TTL", "8d"),
        ("MUSTER_SVID_TTL", "soon"),
        ("MUSTER_ROTATION_GRACE", "-1h"),
        ("MUSTER_SVID_SERVER_AUTH", "perhaps"),
        ("MUSTER_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("MUSTER_LOG_FORMAT", "xml"),
    ] {
        let before = contents(&server.data_dir());
        let finished = server.serve(&[], &[(name, value)]).wait();
        assert!(matches!(finished.status.code(), Some(1 | 2)), "{name}={value}: {finished:?}");
        assert!(finished.stderr.contains(name), "{name}={value}: {}", finished.stderr);
        assert_eq!(contents(&server.data_dir()), before);
    }
}

#[test]
fn configuration_files_that_are_not_understood() {
    let server = stopped();
    let file = server.room().join("muster.yml");
    let path = file.to_str().unwrap();
    for (text, reason) in [
        ("lisen: 127.0.0.1:0\n", "lisen"),
        ("svid_ttl: 9s\n", "svid_ttl"),
        ("svid_ttl: 1h\nsvid_ttl: 2h\n", "svid_ttl"),
        ("svid_server_auth: [yes]\n", "svid_server_auth"),
        ("listen: [\n", "muster.yml"),
        ("- listen\n", "muster.yml"),
    ] {
        fs::write(&file, text).unwrap();
        assert_refuses(&server, &["--config", path], &[], reason);
    }
    assert_refuses(&server, &["--config", "/nonexistent.yml"], &[], "/nonexistent.yml");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_refused_or_whole() {
    let mut server = Server::quickstart();
    let kept = Identity::enroll(&server, "web-1").await;
    let revoked = Identity::enroll(&server, "web-2").await;
    server.revoke("web-2");
    let hosts = without_presence(server.hosts());
    let store = server.store_file();
    let pristine = server.room().join("pristine");
    // What a crash leaves has to be mended when it is opened, which must not hide the damage either.
    server.kill();
    copy(&server.data_dir(), &server.room().join("crashed"));
    server.start_again();
    server.stop();
    copy(&server.data_dir(), &pristine);
    let crashed = fs::read(server.room().join("crashed").join(store.file_name().unwrap())).unwrap();
    let sound = fs::read(&store).unwrap();

    for (what, damaged) in damages(&sound, 24).into_iter().chain(damages(&crashed, 10)) {
        restore(&pristine, &server.data_dir());
        fs::write(&store, &damaged).unwrap();
        match tokio::task::block_in_place(|| server.try_start_again()) {
            Err(refused) => {
                assert_refusal(&refused, store.file_name().unwrap().to_str().unwrap());
                assert!(fs::read(&store).unwrap() == damaged, "{what}: the damaged file was changed");
            }
            Ok(()) => {
                assert!(what.starts_with("bit"), "{what}: served");
                revoked.peer(&server).assert_refused().await;
                kept.peer(&server).reports().await.unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_eq!(without_presence(server.hosts()), hosts, "{what}");
                server.kill();
            }
        }
    }
    restore(&pristine, &server.data_dir());
    server.start_again();
}

/// Truncations, pages of noise, foreign content, and single bits all over the file.
fn damages(sound: &[u8], parts: usize) -> Vec<(String, Vec<u8>)> {
    let mut damages: Vec<(String, Vec<u8>)> = [0, 1, 4096, sound.len() / 2, sound.len() - 1]
        .into_iter()
        .map(|length| (format!("truncated to {length}"), sound[..length].to_vec()))
        .collect();
    damages.push(("another program's file".to_owned(), b"SQLite format 3\0".repeat(512)));
    let noise: Vec<u8> = (0..4096u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let mut ruined = sound.to_vec();
    ruined[..4096].copy_from_slice(&noise);
    damages.push(("noise in the first page".to_owned(), ruined));
    for part in 1..parts {
        let at = sound.len() / parts * part + 17 * part;
        // A freshly made store is mostly free space; a flip there proves nothing either way.
        let Some(at) = (at..sound.len()).find(|&i| sound[i] != 0) else { continue };
        let mut flipped = sound.to_vec();
        flipped[at] ^= 1 << (part % 8);
        damages.push((format!("bit {} of byte {at}", part % 8), flipped));
    }
    damages
}

fn restore(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

fn without_presence(mut hosts: Vec<Value>) -> Vec<Value> {
    for host in &mut hosts {
        let fields = host.as_object_mut().unwrap();
        let reported =
            ["last_seen", "status", "state", "hostname", "os", "arch", "ips", "machine_id", "agent_version"];
        fields.retain(|name, _| !reported.contains(&name.as_str()));
    }
    hosts
}
