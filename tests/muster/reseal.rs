//! `muster agent-ca reseal`: another envelope key opens everything, and the old one nothing.

use crate::support::files;
use crate::support::identity::Identity;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn the_new_key_opens_everything_and_the_old_one_nothing() {
    let mut server = Server::quickstart();
    let refused = server.cli(&["agent-ca", "reseal"]).run().failed();
    assert!(refused.stderr.contains("in use by another process"), "{refused}");
    server.stop();
    let old_key = std::fs::read(server.file("envelope.key")).unwrap();
    let resealed = server.cli(&["agent-ca", "reseal"]).run().ok();
    assert!(resealed.stderr.contains("DESTROY"), "{resealed}");
    let kept = server.file("envelope.key.old");
    assert_eq!(std::fs::read(&kept).unwrap(), old_key);
    assert_ne!(std::fs::read(server.file("envelope.key")).unwrap(), old_key);

    let before = files::contents(&server.data_dir());
    server.cli(&["agent-ca", "reseal"]).run().failed();
    let other = server.cli(&["gen-cert", "--name", "localhost"]);
    other.env("MUSTER_ENVELOPE_KEY_FILE", kept.to_str().unwrap()).run().failed();
    let mut with_the_old_key = server.serve(&[], &[("MUSTER_ENVELOPE_KEY_FILE", kept.to_str().unwrap())]);
    assert_eq!(with_the_old_key.wait().status.code(), Some(1));
    let tls = |name: &str| before[&server.file(name)].clone();
    assert_eq!(std::fs::read(server.file("tls/server.key")).unwrap(), tls("tls/server.key"));

    server.cli(&["gen-cert", "--name", "localhost", "--name", "127.0.0.1"]).run().ok();
    server.start_again();
    let identity = Identity::enroll(&server, "web-1").await;
    identity.peer(&server).reports().await.unwrap();
    let audit = server.cli(&["audit", "list", "--json"]).run().items();
    let resealed: Vec<_> = audit.iter().filter(|record| record["action"] == "agent_ca.reseal").collect();
    assert_eq!(resealed.len(), 2, "for both keys, then for the new one alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_kept_elsewhere_is_replaced_by_a_file() {
    let mut server = Server::quickstart();
    let spare = Server::quickstart();
    server.stop();
    let (elsewhere, new) = (server.room().join("key"), server.room().join("new-key"));
    std::fs::rename(server.file("envelope.key"), &elsewhere).unwrap();
    std::fs::copy(spare.file("envelope.key"), &new).unwrap();
    let reseal = |more: &[&str]| {
        let command = server.cli(&[&["agent-ca", "reseal"], more].concat());
        command.env("MUSTER_ENVELOPE_KEY_FILE", elsewhere.to_str().unwrap()).run()
    };
    let refused = reseal(&[]).failed();
    assert!(refused.stderr.contains("--new-key-file"), "{refused}");
    reseal(&["--new-key-file", new.to_str().unwrap()]).ok();
    assert!(!server.file("envelope.key").exists());
    std::fs::copy(&new, server.file("envelope.key")).unwrap();
    server.start_again();
    Identity::enroll(&server, "web-1").await;
}
