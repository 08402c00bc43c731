//! After a restore: agents that rotated since the backup come back without a token, and nothing comes back that was taken away.

use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use muster::grpc::proto::{TrustUpdate, WatchTrustRequest};
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::cli::Output;
use crate::support::client::{Client, PASSWORD};
use crate::support::identity::{Identity, ROTATE, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::until_answered;

fn backup(server: &Server) -> PathBuf {
    let path = server.room().join("backup.age");
    server.cli(&["backup", path.to_str().unwrap()]).run().ok();
    path
}

/// The machine dies, and the store with it.
fn lose(server: &mut Server) {
    server.kill();
    std::fs::remove_file(server.file("muster.redb")).unwrap();
}

fn restore(server: &Server, more: &[&str]) -> Output {
    let path = server.room().join("backup.age");
    server.cli(&[&["restore", path.to_str().unwrap(), "--json"], more].concat()).run()
}

async fn refused(server: &Server, identity: &Identity, status: u16, code: &str) {
    server.http().post(ROTATE, &identity.rotation(&Key::p256())).await.refused(status, code);
}

/// A host that was enrolled before and rotated after the backup, which everybody here has.
async fn enrolled(server: &Server, agents: &[&str]) -> Vec<Identity> {
    let mut identities = Vec::new();
    for agent in agents {
        identities.push(Identity::enroll(server, agent).await);
    }
    identities
}

fn host<'h>(hosts: &'h [Value], agent: &str) -> &'h Value {
    let found = hosts.iter().find(|host| host["agent_id"] == agent);
    found.unwrap_or_else(|| panic!("{agent} in {hosts:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_come_back_without_a_token_and_nobody_who_was_taken_out() {
    let mut server = Server::quickstart();
    let names = ["twice", "still", "revoked", "re-enabled", "deleted", "later", "back", "moved"];
    let before = enrolled(&server, &names).await;
    backup(&server);

    let http = server.http();
    let mut since = Vec::new();
    for identity in &before {
        since.push(identity.rotate(&http).await);
    }
    let [twice, _, revoked, re_enabled, deleted, later, back, moved] = &since[..] else { panic!() };
    let newest = twice.rotate(&http).await;
    let new = Identity::enroll(&server, "new").await;
    let lab = server.tenant("lab");
    let token = server.join_token(&["--agent", "far", "--tenant", &lab]);
    let far = Identity::with_token(&http, &token).await;
    let gone = Identity::enroll(&server, "gone").await;
    server.revoke("revoked");
    server.revoke("gone");
    let host_id = re_enabled.host_id();
    server.cli(&["host", "decommission", &host_id]).run().ok();
    server.cli(&["host", "re-enable", &host_id]).run().ok();
    server.cli(&["host", "delete", &deleted.host_id(), "--yes"]).run().ok();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("runs"));
    let config = machine.configure(&server, None);

    lose(&mut server);
    let restored = restore(&server, &[]).json();
    assert_eq!((&restored["lost_at_by"], &restored["hosts_in_service"]), (&json!("journal"), &json!(8)));
    assert_eq!(restored["withdrawn"]["hosts_deleted"], 1);
    assert_eq!(restored["suspended"]["people_suspended"], 0, "the journal tells");
    assert!(restored["comes_back_until"].as_str() > restored["restored_at"].as_str());
    server.start_again_on_the_same_ports();
    let http = server.http();

    // An agent as it is: its session is refused, and it comes back by itself.
    let mut agent = machine.run(&config, &[]);
    // Whoever had not rotated since goes on.
    before[1].peer(&server).reports().await.unwrap();
    for identity in [&newest, &new, &far] {
        identity.peer(&server).assert_refused().await;
        let key = Key::p256();
        let back = http.post(ROTATE, &identity.rotation(&key)).await.expect(200);
        assert_eq!(back["spiffe_id"], identity.answer["spiffe_id"]);
        // An answer that was lost is given again; beyond that each counts once.
        let again = http.post(ROTATE, &identity.rotation(&key)).await.expect(200);
        assert_eq!(again["serial"], back["serial"]);
        refused(&server, identity, 401, "unknown_serial").await;
        let back = Identity { key, answer: back };
        back.peer(&server).reports().await.unwrap();
        back.rotate(&http).await.peer(&server).reports().await.unwrap();
    }
    refused(&server, revoked, 403, "identity_revoked").await;
    refused(&server, &gone, 403, "identity_revoked").await;
    refused(&server, re_enabled, 403, "identity_revoked").await;
    refused(&server, &before[3], 403, "identity_revoked").await;
    refused(&server, deleted, 401, "unknown_serial").await;
    refused(&server, &before[4], 401, "unknown_serial").await;
    // Another of the same identity is let in while it is good, and is told of.
    twice.rotate(&http).await;

    let hosts = server.hosts();
    assert!(hosts.iter().all(|host| host["agent_id"] != "deleted"), "{hosts:#?}");
    let flagged =
        |agent: &str, flag: &str| host(&hosts, agent)["flags"].as_array().unwrap().contains(&json!(flag));
    for (agent, recovered, clone) in [("twice", true, true), ("new", true, false), ("still", false, false)] {
        let found = (flagged(agent, "recovered"), flagged(agent, "possible_clone"));
        assert_eq!(found, (recovered, clone), "{agent}");
    }
    assert_eq!(server.cli(&["host", "list", "--flag", "recovered", "--json"]).run().items().len(), 3);
    let tenants = server.cli(&["tenant", "list", "--json"]).run().items();
    assert!(tenants.iter().any(|tenant| tenant["id"] == lab && tenant["name"] == lab), "{tenants:?}");
    let recorded = server.audit("agent.rotate").into_iter().filter(|it| it["detail"]["recovered"] == "true");
    assert!(recorded.count() >= 4);

    // Revoked, let in again or taken over after the restore, before they came back.
    let mut watch = before[1].peer(&server).connect().await.unwrap();
    let mut watch = watch.watch(WatchTrustRequest::default()).await.unwrap();
    watch.message().await.unwrap().unwrap();
    server.revoke("later");
    for step in ["decommission", "re-enable"] {
        server.cli(&["host", step, &back.host_id()]).run().ok();
    }
    let taken = present_token(&http, &server.join_token_for("moved"), &Key::p256().csr()).await.expect(201);
    let told = |update: &TrustUpdate, agent: &str| {
        let id = format!("spiffe://muster/tenant/{}/agent/{agent}", server.hello.tenant_id);
        let hash = digest(&SHA256, id.as_bytes()).as_ref().to_vec();
        let barred = update.barred.iter().find(|barred| barred.id == hash);
        (update.denied_ids.contains(&hash), barred.map(|barred| barred.made_before_ms))
    };
    let made_ms = i64::from_str_radix(&text(&taken, "serial")[..12], 16).unwrap();
    let (mut denied, mut barred, mut took_over) = (false, false, false);
    while !(denied && barred && took_over) {
        let update = tokio::time::timeout(Duration::from_secs(30), watch.message()).await.unwrap();
        let update = update.unwrap().unwrap();
        denied |= told(&update, "later").0;
        barred |= told(&update, "back").1.is_some() && !told(&update, "back").0;
        took_over |= told(&update, "moved").1 == Some(made_ms);
    }
    refused(&server, later, 403, "identity_revoked").await;
    refused(&server, back, 403, "identity_revoked").await;
    refused(&server, moved, 403, "identity_revoked").await;

    let online = || async { (host(&server.hosts(), "runs")["status"] == "online").then_some(()) };
    until_answered("the agent is back", online).await;
    agent.kill();
    server.cli(&["audit", "verify"]).run().ok();
    let checked = server.cli(&["check", "--json"]).run();
    assert!(
        checked.stdout.contains("\"damage\":null") || checked.stdout.contains("\"damage\": null"),
        "{checked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_withdrawn_from_people_and_programs_stays_withdrawn() {
    let mut server = Server::quickstart();
    let (revoked_id, revoked) = server.secret(&[]);
    let (_, capped) = server.secret(&["--max-uses", "2"]);
    let token = server.api_token(&["agent.read"], None);
    for (name, role) in
        [("disabled", "admin"), ("lowered", "admin"), ("changed", "viewer"), ("same", "viewer")]
    {
        server.add_user(name, role, None);
    }
    backup(&server);
    let http = server.http();
    present_secret(&http, &capped, &Key::p256().csr()).await.expect(201);
    present_secret(&http, &capped, &Key::p256().csr()).await.expect(201);
    server.cli(&["secret", "revoke", &revoked_id]).run().ok();
    let tokens = server.cli(&["api-token", "list", "--json"]).run().items();
    server.cli(&["api-token", "revoke", &text(&tokens[0], "id")]).run().ok();
    server.cli(&["user", "disable", "disabled"]).run().ok();
    server.cli(&["user", "set-role", "lowered", "viewer"]).run().ok();
    server.cli(&["user", "set-password", "changed"]).stdin("another good pass phrase").run().ok();
    lose(&mut server);
    let restored = restore(&server, &[]).json();
    let withdrawn = json!({
        "secrets_revoked": 1, "secrets_used": 1, "api_tokens_revoked": 1, "hosts_deleted": 0,
        "people_restricted": 2, "passwords_void": 1,
    });
    assert_eq!(restored["withdrawn"], withdrawn);
    server.start_again();
    let http = server.http();
    for secret in [&revoked, &capped] {
        present_secret(&http, secret, &Key::p256().csr()).await.refused(401, "unauthorized");
    }
    Client::bearer(&server, &token).get("/v1/hosts").await.refused(401, "unauthenticated");
    let signs_in = async |name: &str, password: &str| {
        Client::nobody(&server).try_sign_in(name, password).await.status == 200
    };
    assert!(signs_in("same", PASSWORD).await);
    assert!(signs_in("lowered", PASSWORD).await);
    for (name, password) in
        [("disabled", PASSWORD), ("changed", PASSWORD), ("changed", "another good pass phrase")]
    {
        assert!(!signs_in(name, password).await, "{name}");
    }
    let users = server.cli(&["user", "list", "--json"]).run().items();
    assert_eq!(users.iter().find(|user| user["username"] == "lowered").unwrap()["role"], "viewer");
    server.cli(&["user", "set-password", "changed"]).stdin("yet another pass phrase").run().ok();
    assert!(signs_in("changed", "yet another pass phrase").await, "a new password needs nobody's word");
}
