//! `muster agent-ca revoke-intermediate`: a new intermediate issues at once, agents rotate, and then relying parties refuse what
//! the old one signed.

use std::fs;
use std::time::Duration;

use jiff::SignedDuration;
use muster::grpc::proto::session_response::Message;
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::cli::Output;
use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::Identity;
use crate::support::judges::{Agent, entries, fetch, issuer};
use crate::support::keys::{self, Key};
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until_answered};

fn root_key(server: &Server) -> String {
    fs::read_to_string(server.file("root-key.pem")).unwrap()
}

fn revoke(server: &Server, arguments: &[&str]) -> Output {
    let command = [&["agent-ca", "revoke-intermediate", "--json"], arguments].concat();
    tokio::task::block_in_place(|| server.cli(&command).stdin(&root_key(server)).run())
}

/// The intermediates as `agent-ca show` prints them, oldest first.
fn intermediates(server: &Server) -> Vec<Value> {
    let shown = tokio::task::block_in_place(|| server.cli(&["agent-ca", "show", "--json"]).run().json());
    shown["certificates"].as_array().unwrap()[1..].to_vec()
}

fn fingerprint(server: &Server, place: usize) -> String {
    intermediates(server)[place]["sha256"].as_str().unwrap().to_owned()
}

/// Waits until the root's list names so many intermediates.
async fn until_published(server: &Server, count: usize) {
    until_answered("the root's list is published", async || {
        (entries(fetch(server).await.last().unwrap()) == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relying_parties_are_told_when_agents_in_session_have_rotated() {
    let mut server = Server::quickstart();
    let room = server.room().to_owned();
    let (held, away) = (Agent::enroll(&server, "held").await, Agent::enroll(&server, "away").await);
    let mut connection = held.identity.peer(&server).connect().await.unwrap();
    let mut session = connection.session().await.unwrap();
    let old = fingerprint(&server, 0);

    let revoked = revoke(&server, &[&old[..12]]).json();
    assert_eq!(revoked["revoked"]["sha256"], old);
    assert!(revoked["publish_by"].is_string(), "{revoked}");
    let asked = session.next(PATIENCE).await.unwrap().unwrap();
    assert!(matches!(asked.message, Some(Message::Rotate(_))), "{asked:?}");
    let shown = intermediates(&server);
    assert_eq!(shown[1]["sha256"], revoked["issuing"]["sha256"]);
    assert!(shown[0]["revoked_at"].is_string() && shown[0]["revocation_published"] == false, "{}", shown[0]);

    // Until then everybody is let in, old and new, and what is issued is the new one's.
    let new = Agent::enroll(&server, "new").await;
    assert_eq!(keys::fingerprint(&new.identity.chain_der()[1]), revoked["issuing"]["sha256"]);
    let lists = fetch(&server).await;
    assert_eq!(lists.iter().map(|list| entries(list)).collect::<Vec<_>>(), [0, 0, 0]);
    for agent in [&held, &away, &new] {
        agent.by_openssl(&room).ok();
        agent.by_gnutls(&room).ok();
        agent.by_nss(&room).ok();
    }

    let rotated = Agent::with(&server, "rotated", held.identity.rotate(&server.http()).await);
    drop((session, connection));
    until_published(&server, 1).await;
    let table = tokio::task::block_in_place(|| server.cli(&["agent-ca", "show"]).run().ok().stdout);
    let is_old = |line: &str| line.contains(&old[..12]) && line.ends_with(" revoked");
    assert!(table.lines().any(is_old), "{table}");
    for (agent, let_in) in [(&held, false), (&away, false), (&rotated, true), (&new, true)] {
        let judges = [
            agent.by_openssl(&room),
            agent.by_openssl_of_the_leaf(&room),
            agent.by_gnutls(&room),
            agent.by_nss(&room),
        ];
        for judged in judges {
            assert_eq!(judged.code == Some(0), let_in, "{}: {judged}", agent.name);
        }
    }
    let by_its_own_list = held.by_openssl_of_the_leaf(&room).stderr;
    assert!(by_its_own_list.contains("certificate revoked"), "{by_its_own_list}");
    // Programs that read one list alone find them there, whichever it is; nobody is asked for who merely rotated.
    let lists = fetch(&server).await;
    assert!(issuer(&lists[0]).contains(revoked["issuing"]["serial"].as_str().unwrap().split_at(24).1));
    assert_eq!(lists.iter().map(|list| entries(list)).collect::<Vec<_>>(), [2, 2, 1]);
    let bundle =
        keys::certificates(&String::from_utf8(server.http().get("/agent-ca.crt").await.body).unwrap());
    assert_eq!(bundle.len(), 2, "who takes the bundle for anchors no longer believes it");

    // Who is on record still comes in and rotates, without a token; a thief does not.
    away.identity.peer(&server).reports().await.unwrap();
    let back = Agent::with(&server, "back", away.identity.rotate(&server.http()).await);
    back.by_openssl(&room).ok();
    let record = server.audit("agent_ca.revoke_intermediate").remove(0);
    assert_eq!(record["detail"]["revoked"], old, "{record}");
    assert_eq!(server.audit("agent_ca.publish_list").len(), 1);

    // All of it survives a restart; what is revoked can't be revoked again.
    server.stop();
    server.start_again();
    let again = revoke(&server, &[&old]).failed();
    assert!(again.stderr.contains("was revoked at"), "{again}");
    assert_eq!(fetch(&server).await.iter().map(|list| entries(list)).collect::<Vec<_>>(), [2, 2, 1]);
    away.identity.peer(&server).reports().await.unwrap();
    let newest = Identity::enroll(&server, "newest").await;
    assert_eq!(keys::fingerprint(&newest.chain_der()[1]), revoked["issuing"]["sha256"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_s_certificates_open_no_door_and_now_tells_at_once() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.stop();
    let thief = Hierarchy::stolen(&server);
    // With the server stopped, too.
    let old = fingerprint(&server, 0);
    let revoked = revoke(&server, &["--now", &old]).json();
    assert_eq!(revoked["publish_by"], Value::Null);
    server.start_again();
    assert_eq!(fetch(&server).await.iter().map(|list| entries(list)).collect::<Vec<_>>(), [1, 1, 1]);

    let key = Key::p256();
    let forged = thief.imitate(&identity, &key);
    let chain = keys::certificates(&(forged + &thief.intermediate_pem));
    crate::support::grpc::Peer::new(&server.hello.grpc_addr, &server.server_ca(), &chain, key.pair())
        .assert_refused()
        .await;
    identity.peer(&server).reports().await.unwrap();
    identity.rotate(&server.http()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_revoked_changes_nothing() {
    let server = Server::quickstart();
    let before = intermediates(&server);
    let (serial, old) = (before[0]["serial"].as_str().unwrap().to_owned(), fingerprint(&server, 0));
    let root = tokio::task::block_in_place(|| server.cli(&["agent-ca", "show", "--json"]).run().json());
    let root = root["certificates"][0]["sha256"].as_str().unwrap().to_owned();
    for (id, why) in [
        (&old[..7], "first 8 digits"),
        ("zzzzzzzzzz", "first 8 digits"),
        ("0000000000", "no intermediate"),
        (root.as_str(), "no intermediate"),
    ] {
        let refused = revoke(&server, &[id]).failed();
        assert!(refused.stderr.contains(why), "{refused}");
    }
    let other = Key::p256().pem();
    let command = ["agent-ca", "revoke-intermediate", &serial];
    let refused = tokio::task::block_in_place(|| server.cli(&command).stdin(&other).run().failed());
    assert!(refused.stderr.contains("not the key of this agent CA's root"), "{refused}");
    // A list that does not name it, as a command of another make might bring.
    let renewal =
        json!({"certificate": "x", "root_list": "x", "sealed_key": "", "revoked": serial, "now": true});
    server
        .http()
        .post("/local/agent-ca/revoke-intermediate", &renewal)
        .await
        .refused(403, "permission_denied");
    assert_eq!(intermediates(&server), before);
    assert_eq!(fetch(&server).await.len(), 2);
}

/// A real agent hears of it in its session.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_in_session_rotates_and_then_the_list_is_published() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let agent = machine.run(&machine.configure(&server, None), &[]);
    agent.wait_for_log("session open", PATIENCE);
    let old = fingerprint(&server, 0);
    revoke(&server, &[&old]).json();
    until_published(&server, 1).await;
    let intermediate = keys::certificates(&machine.read("cert.pem")).remove(1);
    assert_ne!(keys::fingerprint(&intermediate), old, "the list waited for the agent");
    machine.assert_key_matches();
}

/// While relying parties still let in what the revoked one signed, somebody who asks is told, and can end it.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_waits_is_a_finding_until_now_publishes_it() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let identity = Identity::enroll(&server, "web-1").await;
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let session = connection.session().await.unwrap();
    let found = |server: &Server| {
        // Where no server runs, the command goes by its own clock.
        let command = clock
            .env()
            .into_iter()
            .fold(server.cli(&["check", "--json"]), |command, (name, value)| command.env(name, value));
        let told = tokio::task::block_in_place(|| command.run());
        let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|e| panic!("{e}: {told}"));
        let found = told["findings"].as_array().unwrap().iter().find(|it| it["code"] == "root_list_waiting");
        found.cloned().unwrap_or_default()
    };
    assert_eq!(found(&server), Value::Null);
    let old = fingerprint(&server, 0);
    let revoked = revoke(&server, &[&old]).json();
    let told = found(&server);
    assert_eq!((&told["severity"], &told["at"]), (&json!("soon"), &revoked["publish_by"]), "{told}");
    let since = intermediates(&server)[0]["revoked_at"].as_str().unwrap()[..19].to_owned();
    assert!(told["message"].as_str().unwrap().contains(&format!("waiting since {since}")), "{told}");
    let way_out = format!("muster agent-ca revoke-intermediate {} --now", &old[..12]);
    assert!(told["hint"].as_str().unwrap().contains(&way_out), "{told}");
    let admin = Client::admin(&server).await;
    let overview = admin.get("/v1/overview").await.expect(200);
    let shown = overview["warnings"].as_array().unwrap().iter().any(|it| it["code"] == "root_list_waiting");
    assert!(shown, "{overview}");

    // Where no server runs, nobody publishes it.
    drop((session, connection));
    server.stop();
    clock.set_off(SignedDuration::from_mins(12));
    assert_eq!(found(&server)["severity"], "critical");
    let again = revoke(&server, &[&old]).failed();
    assert!(again.stderr.contains("with --now they are told at once"), "{again}");
    // The root key is not asked for any more.
    let command = ["agent-ca", "revoke-intermediate", "--now", "--json", &old[..12]];
    let published = tokio::task::block_in_place(|| server.cli(&command).run().json());
    assert_eq!(published["revoked"]["sha256"], old, "{published}");
    assert_eq!(published["issuing"], revoked["issuing"], "{published}");
    assert_eq!((&published["publish_by"], found(&server)), (&Value::Null, Value::Null));
    server.start_again();
    assert_eq!(entries(fetch(&server).await.last().unwrap()), 1);
    assert_eq!(server.audit("agent_ca.publish_list").len(), 1);
}

/// The list that waits is on disk, and published by the server itself when its time comes, by whatever clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_waits_survives_a_restart_and_is_published_in_time() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let identity = Identity::enroll(&server, "web-1").await;
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let session = connection.session().await.unwrap();
    let old = fingerprint(&server, 0);
    revoke(&server, &[&old]).json();
    drop((session, connection));
    server.kill();
    server.start_again();
    // Nobody is back yet, which does not mean that everybody has rotated.
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let mut session = connection.session().await.unwrap();
    let asked = session.next(Duration::from_secs(30)).await.unwrap().unwrap();
    assert!(matches!(asked.message, Some(Message::Rotate(_))), "{asked:?}");
    assert_eq!(entries(fetch(&server).await.last().unwrap()), 0);
    clock.set_off(SignedDuration::from_mins(11));
    until_published(&server, 1).await;
    // Its session goes on.
    session.report().await;
    assert!(session.next(PATIENCE).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_brings_no_revoked_intermediate_back() {
    let mut server = Server::quickstart();
    let copy = server.room().join("copy");
    let copy = copy.to_str().unwrap();
    tokio::task::block_in_place(|| server.cli(&["backup", copy]).run().ok());
    let old = fingerprint(&server, 0);
    revoke(&server, &[&old[..12], "--now"]).ok();
    until_published(&server, 1).await;
    let restored = tokio::task::block_in_place(|| {
        server.stop();
        fs::remove_file(server.store_file()).unwrap();
        let restored = server.cli(&["restore", copy, "--json"]).run().json();
        server.start_again();
        restored
    });
    assert_eq!(restored["intermediates_revoked"], 1, "{restored}");
    // The new one was made after the backup, so nothing issues, and nobody is told to believe the old one.
    assert_eq!(server.http().get("/readyz").await.status, 503);
    let told = String::from_utf8(server.http().get("/agent-ca.crt").await.body).unwrap();
    assert_eq!(keys::certificates(&told).len(), 1, "{told}");

    revoke(&server, &[&old[..12], "--now"]).ok();
    until_published(&server, 1).await;
    Identity::enroll(&server, "web-1").await.peer(&server).reports().await.unwrap();
}
