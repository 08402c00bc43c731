//! After a restore: agents that rotated since the backup come back without a token, and nothing comes back that was taken away.

use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::SignedDuration;
use muster::grpc::proto::{TrustUpdate, WatchTrustRequest};
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::cli::Output;
use crate::support::client::{Client, PASSWORD};
use crate::support::clock::Clock;
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
    let webhook = server.cli(&["webhook", "add", "http://127.0.0.1:9/", "--json"]).run().json();
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
    server.cli(&["webhook", "remove", &text(&webhook, "id")]).run().ok();
    server.cli(&["user", "disable", "disabled"]).run().ok();
    server.cli(&["user", "set-role", "lowered", "viewer"]).run().ok();
    server.cli(&["user", "set-password", "changed"]).stdin("another good pass phrase").run().ok();
    lose(&mut server);
    let restored = restore(&server, &[]).json();
    let withdrawn = json!({
        "secrets_revoked": 1, "secrets_used": 1, "api_tokens_revoked": 1, "webhooks_removed": 1,
        "hosts_deleted": 0, "people_restricted": 2, "passwords_void": 1,
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
    assert_eq!(server.cli(&["webhook", "list", "--json"]).run().items().len(), 0);
    let users = server.cli(&["user", "list", "--json"]).run().items();
    assert_eq!(users.iter().find(|user| user["username"] == "lowered").unwrap()["role"], "viewer");
    server.cli(&["user", "set-password", "changed"]).stdin("yet another pass phrase").run().ok();
    assert!(signs_in("changed", "yet another pass phrase").await, "a new password needs nobody's word");
}

/// The codes of what `muster check` finds.
fn findings(server: &Server) -> Vec<String> {
    let checked: Value = serde_json::from_str(&server.cli(&["check", "--json"]).run().stdout).unwrap();
    checked["findings"].as_array().unwrap().iter().map(|finding| text(finding, "code")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_everything_waits_for_the_operator() {
    let mut server = Server::quickstart();
    let password = server.hello.admin_password.clone().unwrap();
    let (secret_id, secret) = server.secret(&[]);
    let token = server.api_token(&["agent.read"], None);
    server.add_user("ada", "viewer", None);
    let agent = Identity::enroll(&server, "web-1").await;
    backup(&server);
    let since = agent.rotate(&server.http()).await;
    lose(&mut server);
    std::fs::remove_file(server.file("revocations.log")).unwrap();
    restore(&server, &[]).failed();
    let restored = restore(&server, &["--accept-revocation-loss"]).json();
    let suspended = json!({"secrets_suspended": 1, "api_tokens_suspended": 1, "people_suspended": 2});
    assert_eq!((&restored["suspended"], &restored["lost_at_by"]), (&suspended, &json!("backup")));
    server.start_again();
    let http = server.http();
    // Agents come back all the same.
    since.rotate(&http).await;
    let sign_in = async |name: &str| Client::nobody(&server).try_sign_in(name, PASSWORD).await;
    sign_in("ada").await.refused(401, "unauthenticated");
    present_secret(&http, &secret, &Key::p256().csr()).await.refused(401, "unauthorized");
    let hosts = async || Client::bearer(&server, &token).get("/v1/hosts").await;
    hosts().await.refused(401, "unauthenticated");
    let found = findings(&server);
    assert!(found.contains(&"suspended".to_owned()) && found.contains(&"restored".to_owned()), "{found:?}");

    let waiting = server.cli(&["restore", "confirm", "people", "--list", "--json"]).run().items();
    assert_eq!(waiting.iter().map(|item| text(item, "name")).collect::<Vec<_>>(), ["admin", "ada"]);
    server.cli(&["restore", "confirm", "people", "ada", "nobody"]).run().failed();
    sign_in("ada").await.refused(401, "unauthenticated");
    server.cli(&["restore", "confirm", "people", "ADA"]).run().ok();
    sign_in("ada").await.expect(200);
    let confirmed = server.cli(&["restore", "confirm", "secrets", "--json"]).run().json();
    assert_eq!(confirmed["confirmed"][0]["id"], secret_id);
    present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
    server.cli(&["restore", "confirm", "api-tokens"]).run().ok();
    hosts().await.expect(200);
    server.cli(&["restore", "confirm", "people"]).run().ok();
    assert!(!findings(&server).contains(&"suspended".to_owned()));
    // Until an administrator has seen it, and for a while after that.
    let admin = Client::sign_in(&server, "admin", &password).await;
    for _ in 0..2 {
        let overview = admin.get("/v1/overview").await.expect(200);
        let warnings = overview["warnings"].as_array().unwrap();
        assert!(warnings.iter().any(|warning| warning["code"] == "restored"), "{warnings:?}");
    }
    let records = server.audit("store.confirm");
    assert_eq!(records.len(), 4, "{records:?}");
}

/// The data directory is copied back from an hour ago by hand: nothing says so but what agents show.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_wakes_older_is_noticed_and_its_agents_come_back() {
    let mut server = Server::quickstart();
    let before = enrolled(&server, &["back", "revoked", "still"]).await;
    let (secret_id, secret) = server.secret(&[]);
    server.stop();
    let files = ["muster.redb", "revocations.log"];
    for file in files {
        std::fs::copy(server.file(file), server.room().join(file)).unwrap();
    }
    server.start_again();
    let http = server.http();
    let (back, revoked) = (before[0].rotate(&http).await, before[1].rotate(&http).await);
    server.revoke("revoked");
    server.cli(&["secret", "revoke", &secret_id]).run().ok();
    server.kill();
    let journal = server.room().join("kept.log");
    std::fs::copy(server.file("revocations.log"), &journal).unwrap();
    for file in files {
        std::fs::copy(server.room().join(file), server.file(file)).unwrap();
    }
    std::fs::remove_dir_all(server.file("changes")).unwrap();
    server.start_again();
    assert!(!findings(&server).contains(&"rolled_back".to_owned()), "nobody has told yet");

    refused(&server, &back, 401, "unknown_serial").await;
    let noticed = async || findings(&server).contains(&"rolled_back".to_owned()).then_some(());
    until_answered("the store is found to be older than it was", noticed).await;
    server.wait_for_log("THE STORE IS OLDER THAN IT WAS", Duration::from_secs(10));
    assert_eq!(server.cli(&["check"]).run().code, Some(1));
    let declare = |more: &[&str]| server.cli(&[&["restore", "declare", "--json"], more].concat()).run();
    let refusal = declare(&[]).failed();
    assert!(refusal.stderr.contains("--accept-revocation-loss"), "{refusal}");
    let other = Server::quickstart();
    let refusal = declare(&["--journal", other.file("revocations.log").to_str().unwrap()]).failed();
    assert!(refusal.stderr.contains("another store's"), "{refusal}");
    refused(&server, &back, 401, "unknown_serial").await;

    let declared = declare(&["--journal", journal.to_str().unwrap()]).json();
    assert_eq!((&declared["certificates_denied"], &declared["identities_denied"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&declared["lost_at_by"], &declared["suspended"]["people_suspended"]),
        (&json!("journal"), &json!(0))
    );
    assert_eq!(declared["withdrawn"]["secrets_revoked"], 1);
    let http = server.http();
    present_secret(&http, &secret, &Key::p256().csr()).await.refused(401, "unauthorized");
    back.rotate(&http).await.peer(&server).reports().await.unwrap();
    refused(&server, &revoked, 403, "identity_revoked").await;
    before[1].assert_out(&server).await;
    before[2].rotate(&http).await.peer(&server).reports().await.unwrap();
    assert!(!findings(&server).contains(&"rolled_back".to_owned()));
    assert!(!server.file(".declared.log").exists());
    assert_eq!((server.audit("store.rolled_back").len(), server.audit("store.declare").len()), (1, 1));
    server.cli(&["audit", "verify"]).run().ok();
    server.stop();
    server.start_again();
    refused(&server, &revoked, 403, "identity_revoked").await;
}

/// The agent CA was renewed since the backup: the intermediate is as unknown as what it has signed, and a root vouches for both.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_intermediate_of_the_lost_time_has_signed_comes_back_until_one_is_revoked() {
    let mut server = Server::quickstart();
    let before = enrolled(&server, &["soon", "late"]).await;
    backup(&server);
    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    server.cli(&["agent-ca", "renew", "--now"]).stdin(&root_key).run().ok();
    let http = server.http();
    let (soon, late) = (before[0].rotate(&http).await, before[1].rotate(&http).await);
    assert_ne!(soon.field("intermediate"), before[0].field("intermediate"));
    // A sign of life after the backup.
    server.stop();
    std::fs::remove_file(server.file("muster.redb")).unwrap();
    restore(&server, &[]).ok();
    server.start_again();
    let back = soon.rotate(&server.http()).await;
    assert_eq!(back.field("intermediate"), before[0].field("intermediate"));
    back.peer(&server).reports().await.unwrap();
    let shown = server.cli(&["agent-ca", "show", "--json"]).run().json();
    let old = text(&shown["certificates"][1], "sha256");
    server.cli(&["agent-ca", "revoke-intermediate", "--now", &old]).stdin(&root_key).run().ok();
    refused(&server, &late, 401, "unknown_serial").await;
    // What is on record rotates all the same.
    back.rotate(&server.http()).await.peer(&server).reports().await.unwrap();
}

/// Who had run out while the server of before lived stays out; and the new machine's clock is three minutes behind.
#[tokio::test(flavor = "multi_thread")]
async fn who_had_run_out_before_the_loss_stays_out_and_a_clock_that_is_behind_leaves_nobody_out() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let before = enrolled(&server, &["expired", "honest", "never"]).await;
    backup(&server);
    let http = server.http();
    let (expired, first) = (before[0].rotate(&http).await, before[1].rotate(&http).await);
    let hours = SignedDuration::from_hours;
    clock.set_off(hours(23));
    let second = first.rotate(&http).await;
    clock.set_off(hours(25));
    let last = second.rotate(&http).await;
    server.stop();
    std::fs::remove_file(server.file("muster.redb")).unwrap();
    clock.set_off(hours(25) - SignedDuration::from_mins(3));
    let backup = server.room().join("backup.age");
    let [(preload, library), (file, place)] = clock.env();
    let restoring = server.cli(&["restore", backup.to_str().unwrap(), "--json"]).env(preload, library);
    let restored = restoring.env(file, place).run().json();
    assert_eq!(restored["lost_at_by"], "journal");
    assert!(restored["lost_at"].as_str() > restored["restored_at"].as_str(), "{restored}");
    server.start_again();
    let http = server.http();
    for identity in [&expired, &first, &before[2], &before[0]] {
        refused(&server, identity, 401, "svid_expired").await;
    }
    let back = last.rotate(&http).await;
    assert!(back.serial() > last.serial(), "by whichever clock");
    back.peer(&server).reports().await.unwrap();
    let flags = || server.host(&back.host_id())["flags"].clone();
    assert!(!flags().to_string().contains("possible_clone"));
    // A thief who has the key of before, which is still good, is let in as well, and told of.
    second.rotate(&http).await;
    assert!(flags().to_string().contains("possible_clone"));
}
