//! `muster agent-ca renew`: a new intermediate takes over, and nothing that the old one signed is lost.

use crate::support::cli::{Output, openssl};
use crate::support::identity::{Identity, present_token};
use crate::support::keys::{self, Key};
use crate::support::server::Server;

fn renew(server: &Server, root_key: &str) -> Output {
    server.cli(&["agent-ca", "renew", "--now", "--json"]).stdin(root_key).run()
}

fn root_key(server: &Server) -> String {
    std::fs::read_to_string(server.file("root-key.pem")).unwrap()
}

fn bundle(server: &Server) -> String {
    server.cli(&["agent-ca", "export", "-"]).run().ok().stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_issues_from_the_new_intermediate_at_once() {
    let mut server = Server::quickstart();
    let http = server.http();
    let old = Identity::enroll(&server, "web-1").await;
    let (token, key) = (server.join_token_for("web-2"), Key::p256());
    let first = present_token(&http, &token, &key.csr()).await.expect(201);
    let renewed = renew(&server, &root_key(&server)).json();
    assert_eq!(renewed["role"], "intermediate");

    let certificates = keys::certificates(&bundle(&server));
    assert_eq!(certificates.len(), 3, "the old intermediate stays");
    assert_eq!(keys::fingerprint(&certificates[2]), renewed["sha256"]);
    let new = Identity::enroll(&server, "web-3").await;
    assert_eq!(new.chain_der()[1], certificates[2]);
    assert_eq!(old.chain_der()[1], certificates[1]);
    new.peer(&server).reports().await.unwrap();
    old.peer(&server).reports().await.unwrap();
    let rotated = old.rotate(&http).await;
    assert_eq!(rotated.chain_der()[1], certificates[2]);

    // An answer that was lost before is given again, with the intermediate that signed it.
    let again = present_token(&http, &token, &key.csr()).await;
    assert!(matches!(again.status, 200 | 201), "{again}");
    assert_eq!(again.json()["certificate"], first["certificate"]);
    assert_eq!(again.json()["intermediate"], first["intermediate"]);

    server.stop();
    server.start_again();
    new.peer(&server).reports().await.unwrap();
    rotated.peer(&server).reports().await.unwrap();
    let audit = server.cli(&["audit", "list", "--json"]).run().items();
    let record = audit.iter().find(|record| record["action"] == "agent_ca.renew").unwrap();
    assert_eq!(record["detail"]["intermediate"], renewed["sha256"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_and_garbage_change_nothing() {
    let server = Server::quickstart();
    let before = bundle(&server);
    let other = Key::p256().pem();
    let whole = root_key(&server);
    for (bad, why) in [
        (other.as_str(), "not the key of this agent CA's root"),
        ("", "not a PEM text"),
        ("garbage", "not a PEM text"),
        (before.as_str(), "not a PEM text"),
        (&whole[..100], "not a PEM text"),
    ] {
        let refused = renew(&server, bad).failed();
        assert!(refused.stderr.contains(why), "{refused}");
    }
    assert_eq!(bundle(&server), before);
    let body = serde_json::json!({ "root_key": whole });
    server.http().post("/local/agent-ca/renew", &body).await.refused(403, "permission_denied");
    assert_eq!(bundle(&server), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_renewed_just_as_well() {
    let mut server = Server::quickstart();
    server.stop();
    renew(&server, &root_key(&server)).json();
    server.start_again();
    let identity = Identity::enroll(&server, "web-1").await;
    identity.peer(&server).reports().await.unwrap();

    let certificates = keys::certificates(&bundle(&server));
    assert_eq!(identity.chain_der()[1], certificates[2]);
    for (name, der) in ["root.pem", "old.pem", "new.pem"].iter().zip(&certificates) {
        std::fs::write(server.room().join(name), keys::pem("CERTIFICATE", der)).unwrap();
    }
    openssl(server.room(), &["verify", "-x509_strict", "-CAfile", "root.pem", "old.pem", "new.pem"]).ok();
}

/// What touches the root key signs in the command's own process: nothing of the key goes to the server.
#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_goes_to_no_server() {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    let server = Server::quickstart();
    let key = root_key(&server);
    // Between the command and the server, somebody listens.
    let socket = server.file("muster.sock");
    let behind = server.room().join("behind.sock");
    std::fs::rename(&socket, &behind).unwrap();
    let between = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600)).unwrap();
    let heard = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let hearing = std::sync::Arc::clone(&heard);
    std::thread::spawn(move || {
        for near in between.incoming() {
            let (mut near, hearing) = (near.unwrap(), std::sync::Arc::clone(&hearing));
            let mut far = std::os::unix::net::UnixStream::connect(&behind).unwrap();
            let (mut back, mut forth) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
            std::thread::spawn(move || {
                let mut part = [0; 4096];
                while let Ok(read @ 1..) = near.read(&mut part) {
                    hearing.lock().extend_from_slice(&part[..read]);
                    far.write_all(&part[..read]).unwrap();
                }
                let _ = far.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    renew(&server, &key).json();
    let heard = String::from_utf8_lossy(&heard.lock()).into_owned();
    assert!(heard.contains("/local/agent-ca/renew") && heard.contains("BEGIN CERTIFICATE"), "{heard}");
    assert!(!heard.contains("PRIVATE"), "{heard}");
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!heard.contains(&line[..16]), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_may_come_in_any_form_that_is_not_encrypted() {
    let server = Server::quickstart();
    let room = server.room();
    let key = server.file("root-key.pem");
    let key = key.to_str().unwrap();
    openssl(room, &["ec", "-in", key, "-out", "sec1.pem"]).ok();
    let sec1 = std::fs::read_to_string(room.join("sec1.pem")).unwrap();
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"), "{sec1}");
    renew(&server, &format!("Bag Attributes\n    friendlyName: root\n{sec1}")).json();
    server.cli(&["agent-ca", "renew", "--now", "--root-key", key]).run().ok();
    openssl(room, &["pkcs8", "-topk8", "-in", key, "-passout", "pass:x", "-out", "encrypted.pem"]).ok();
    let encrypted = std::fs::read_to_string(room.join("encrypted.pem")).unwrap();
    let refused = renew(&server, &encrypted).failed();
    assert!(
        refused.stderr.contains("is encrypted") && refused.stderr.contains("openssl pkey -in"),
        "{refused}"
    );
    // An age file is opened here, and nobody is there to be asked for its passphrase.
    let locked = renew(&server, "age-encryption.org/v1\nx");
    assert!(locked.code == Some(2) && locked.stderr.contains("--root-key-passphrase-file"), "{locked}");
}
