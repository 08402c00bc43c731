//! The revocation journal beside the store: an older copy of the store brings nobody back.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;

const JOURNAL: &str = "revocations.log";

fn lines(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(server.file(JOURNAL)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The steps of the deny list. Between them stands what else the journal keeps.
fn kinds(server: &Server) -> Vec<String> {
    let kinds = lines(server).into_iter().map(|line| line["kind"].as_str().unwrap().to_owned());
    kinds.filter(|kind| ["serial", "identity", "lifted"].contains(&kind.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_the_deny_list_is_a_line() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    assert!(kinds(&server).is_empty());
    server.revoke("web-1");
    assert_eq!(kinds(&server), ["serial", "identity"]);
    let serial = lines(&server).into_iter().find(|line| line["kind"] == "serial").unwrap();
    assert_eq!(serial["serial"], identity.serial());
    server.cli(&["host", "re-enable", &identity.host_id()]).run().ok();
    assert_eq!(kinds(&server), ["serial", "identity", "lifted"]);
    let mode = std::fs::metadata(server.file(JOURNAL)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_store_brings_nobody_back() {
    let mut server = Server::quickstart();
    let lost = Identity::enroll(&server, "web-1").await;
    let lifted = Identity::enroll(&server, "web-2").await;
    let kept = Identity::enroll(&server, "web-3").await;
    let (secret_id, secret) = server.secret(&[]);
    server.stop();
    let yesterday = server.room().join("yesterday");
    std::fs::copy(server.store_file(), &yesterday).unwrap();
    server.start_again();
    server.revoke("web-1");
    server.revoke("web-2");
    server.cli(&["host", "re-enable", &lifted.host_id()]).run().ok();
    server.cli(&["secret", "revoke", &secret_id]).run().ok();
    server.stop();
    std::fs::copy(&yesterday, server.store_file()).unwrap();

    server.start_again();
    assert!(server.log().contains("OLDER THAN ITS REVOCATION JOURNAL"), "{}", server.log());
    lost.assert_out(&server).await;
    kept.peer(&server).reports().await.unwrap();
    lifted.peer(&server).assert_refused().await;
    let again = server.join_token_for("web-2");
    present_token(&server.http(), &again, &Key::p256().csr()).await.expect(201);
    let audit = server.cli(&["audit", "list", "--json"]).run().items();
    let replayed = audit.iter().find(|record| record["action"] == "store.replay_revocations").unwrap();
    assert_eq!((&replayed["actor"], &replayed["detail"]["certificates"]), (&"muster".into(), &"2".into()));
    assert_eq!(
        (&replayed["detail"]["identities"], &replayed["detail"]["secrets_revoked"]),
        (&"1".into(), &"1".into())
    );
    present_secret(&server.http(), &secret, &Key::p256().csr()).await.refused(401, "unauthorized");
    server.cli(&["audit", "verify"]).run().ok();

    let before = kinds(&server);
    server.stop();
    server.start_again();
    assert!(!server.log().contains("OLDER THAN"), "{}", server.log());
    assert_eq!(kinds(&server), before, "there is nothing to learn any more");
}

#[test]
fn what_a_crash_left_of_a_journal_is_cleared_away() {
    let mut server = Server::quickstart();
    server.kill();
    let left = server.file(".revocations.x1y2z3");
    std::fs::write(&left, "half of a line").unwrap();
    server.start_again();
    assert!(!left.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_journal_is_written_anew() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    server.stop();
    std::fs::remove_file(server.file(JOURNAL)).unwrap();
    server.start_again();
    assert!(server.log().contains("REVOCATION JOURNAL WAS MISSING"), "{}", server.log());
    assert_eq!(kinds(&server), ["serial", "identity"]);
    identity.assert_out(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_line_is_mended_and_damage_elsewhere_refused() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    server.kill();
    let path = server.file(JOURNAL);
    let whole = std::fs::read(&path).unwrap();
    let text = String::from_utf8(whole.clone()).unwrap();
    let identity = text.find("\"kind\":\"identity\"").unwrap();
    std::fs::write(&path, &whole[..identity + 30]).unwrap();
    server.start_again();
    assert_eq!(kinds(&server), ["serial", "identity"]);
    server.stop();

    // What was written at once may be damaged anywhere: the store knows it.
    let mut damaged = whole;
    let serial = text.find("\"kind\":\"serial\"").unwrap();
    damaged[serial + 30] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    server.start_again();
    assert_eq!(kinds(&server), ["serial", "identity"]);
    Identity::enroll(&server, "web-2").await;
    server.revoke("web-2");
    server.stop();

    let mut damaged = std::fs::read(&path).unwrap();
    damaged[40] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let refused = server.try_start_again().unwrap_err();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.contains(JOURNAL) && refused.stderr.contains("line 1;"), "{}", refused.stderr);
    assert_eq!(std::fs::read(&path).unwrap(), damaged, "it is left for whoever looks into it");
}
