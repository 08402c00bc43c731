//! The audit trail: every change once, every refusal with its true reason, and no way to edit it unseen.

use std::collections::BTreeSet;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use muster::domain::insight::audit_action::AuditAction;
use redb::{Database, ReadableTable, TableDefinition};
use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD, session_cookie};
use crate::support::files;
use crate::support::fleet::{host_by_secret, mint};
use crate::support::identity::{Identity, ROTATE, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};

/// Reads the trail as it grows.
struct Trail {
    admin: Client,
    seen: u64,
    /// The actions of all records up to here.
    actions: BTreeSet<String>,
}

impl Trail {
    async fn new(server: &Server) -> Self {
        let mut this = Self { admin: Client::admin(server).await, seen: 0, actions: BTreeSet::new() };
        this.news().await;
        this
    }

    /// What has been recorded since the last look, oldest first.
    async fn news(&mut self) -> Vec<Value> {
        let page = self.admin.get("/v1/audit?limit=500").await.expect(200);
        let records = page["items"].as_array().unwrap();
        let mut news: Vec<_> =
            records.iter().filter(|record| record["seq"].as_u64().unwrap() > self.seen).cloned().collect();
        news.reverse();
        self.actions.extend(news.iter().map(|record| text(record, "action")));
        self.seen = records[0]["seq"].as_u64().unwrap();
        news
    }

    /// Demands exactly one new record, of something done.
    async fn one(&mut self, action: &str, actor: &str, source: &str) -> Value {
        let news = self.news().await;
        assert_eq!(news.len(), 1, "{action}: {news:?}");
        let record = news[0].clone();
        assert_eq!((&record["action"], &record["outcome"]), (&json!(action), &json!("success")), "{record}");
        assert_eq!((&record["actor"], &record["source"]), (&json!(actor), &json!(source)), "{record}");
        assert_eq!(record["reason"], Value::Null, "{record}");
        assert!(record["at"].as_str().unwrap().ends_with('Z'), "{record}");
        record
    }

    /// Demands exactly one new record, of something refused.
    async fn refusal(&mut self, action: &str, reason: &str) -> Value {
        let news = self.news().await;
        assert_eq!(news.len(), 1, "{action} {reason}: {news:?}");
        let record = news[0].clone();
        assert_eq!((&record["action"], &record["outcome"]), (&json!(action), &json!("refused")), "{record}");
        assert_eq!(record["reason"], reason, "{record}");
        record
    }
}

/// What asks and changes nothing, although its method could.
const ASKS: &[(&str, &str)] = &[("POST", "/v1/vouch"), ("POST", "/v1/webhooks/{id}/test")];

/// What only the local operator reaches, and the action of the record that it leaves.
const LOCAL: &[(&str, Option<AuditAction>)] = &[
    ("/backup", Some(AuditAction::StoreBackup)),
    ("/check", None),
    ("/replicas", None),
    ("/restore/declare", Some(AuditAction::StoreDeclare)),
    ("/restore/confirm", Some(AuditAction::StoreConfirm)),
    ("/agent-ca", Some(AuditAction::AgentCaInit)),
    ("/agent-ca/request", None),
    ("/agent-ca/request-revocation", None),
    ("/agent-ca/renew", Some(AuditAction::AgentCaRenew)),
    ("/agent-ca/revoke-intermediate", Some(AuditAction::AgentCaRevokeIntermediate)),
    ("/agent-ca/publish-revocation", Some(AuditAction::AgentCaPublishList)),
    ("/agent-ca/issue-now", Some(AuditAction::AgentCaRenew)),
    ("/agent-ca/root/request", Some(AuditAction::AgentCaRequest)),
    ("/agent-ca/root/install", Some(AuditAction::AgentCaRenew)),
    ("/agent-ca/root/request-root", None),
    ("/agent-ca/root/prepare", Some(AuditAction::AgentCaPrepareRoot)),
    ("/agent-ca/root/activate", Some(AuditAction::AgentCaActivateRoot)),
    ("/agent-ca/root/retire", Some(AuditAction::AgentCaRetireRoot)),
    ("/hosts/server-trust", None),
    ("/envelope/recovery", Some(AuditAction::EnvelopeAddRecovery)),
    ("/envelope/recovery/remove", Some(AuditAction::EnvelopeRemoveRecovery)),
];

/// The test that has the record of an action, where `every_change_leaves_one_record` has not.
const ELSEWHERE: &[(AuditAction, &str)] = &[
    (
        AuditAction::AgentCaDestroyKey,
        "app::keep::old_keys::a_key_goes_when_its_last_svid_is_over_and_its_last_list_stays",
    ),
    (
        AuditAction::AgentCaActivateRoot,
        "root_rotation::a_root_is_replaced_under_live_agents_and_nobody_is_refused",
    ),
    (
        AuditAction::AgentCaPrepareRoot,
        "root_rotation::a_root_is_replaced_under_live_agents_and_nobody_is_refused",
    ),
    (AuditAction::AgentCaRequest, "offline_root::a_root_is_asked_signs_elsewhere_and_forgets_nothing"),
    (
        AuditAction::AgentCaRetireRoot,
        "root_rotation::a_root_is_replaced_under_live_agents_and_nobody_is_refused",
    ),
    (AuditAction::AgentCaReseal, "reseal::the_new_key_opens_everything_and_the_old_one_nothing"),
    (AuditAction::ApiTokenUse, "trail::uses_of_a_revoked_token_and_of_a_junk_session_leave_a_trace"),
    (AuditAction::AuditRecordsMissing, "audit::an_older_copy_of_the_trail_is_found_out"),
    (AuditAction::CertificateDeny, "vouch::who_is_not_a_live_agent_of_the_tenant_is_refused_with_the_reason"),
    (AuditAction::HostPossibleClone, "clones::a_second_live_successor_is_a_sign_of_a_clone"),
    (AuditAction::RequestDenied, "audit::refusals_are_recorded_with_their_true_reason"),
    (
        AuditAction::ServerCertificateRenew,
        "server_certificate::it_is_made_anew_after_two_thirds_of_its_life_with_its_key_and_its_names",
    ),
    (AuditAction::SessionUse, "trail::uses_of_a_revoked_token_and_of_a_junk_session_leave_a_trace"),
    (AuditAction::StoreConfirm, "restored::without_a_journal_everything_waits_for_the_operator"),
    (AuditAction::StoreDeclare, "restored::a_store_that_wakes_older_is_noticed_and_its_agents_come_back"),
    (AuditAction::StoreReplayRevocations, "journal::an_older_copy_of_the_store_brings_nobody_back"),
    (AuditAction::StoreRolledBack, "restored::a_store_that_wakes_older_is_noticed_and_its_agents_come_back"),
    (AuditAction::StoreRestore, "backup::who_was_revoked_after_the_backup_stays_out_by_the_journal"),
];

/// Demands that `every_change_leaves_one_record` has left nothing out: no route that changes something, none of the local
/// operator, no action.
async fn assert_complete(trail: &Trail) {
    let done = trail.admin.http.done();
    let document = trail.admin.get("/openapi.json").await.expect(200);
    let matches = |template: &str, path: &str| {
        let path = path.split('?').next().unwrap();
        let (wanted, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let fits = |(wanted, given): (&&str, &&str)| wanted.starts_with('{') || wanted == given;
        wanted.len() == given.len() && wanted.iter().zip(&given).all(fits)
    };
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            let changes = method != "GET" && !ASKS.contains(&(&method, path));
            let tried = done.iter().any(|(by, at)| *by == method && matches(path, at));
            assert!(tried || !changes, "what record does {method} {path} leave?");
        }
    }
    let table = include_str!("../../src/http/routes/table.rs");
    let local = table.split("pub(crate) fn local()").nth(1).unwrap().split("\n}").next().unwrap();
    let routes = local.split(".route(\"").skip(1).map(|route| route.split('"').next().unwrap());
    assert_eq!(routes.collect::<Vec<_>>(), LOCAL.iter().map(|(path, _)| *path).collect::<Vec<_>>());
    for action in AuditAction::ALL {
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| other == action).map(|(_, test)| *test);
        match elsewhere {
            None => assert!(trail.actions.contains(action.as_str()), "no record of {action}"),
            Some(test) => assert!(crate::claims::tests().contains(test), "{action}: there is no test {test}"),
        }
    }
    let elsewhere = |action: &AuditAction| ELSEWHERE.iter().any(|(other, _)| other == action);
    for action in LOCAL.iter().filter_map(|(_, action)| *action).filter(|action| !elsewhere(action)) {
        assert!(trail.actions.contains(action.as_str()), "no record of {action}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_one_record() {
    let server = Server::quickstart();
    let mut trail = Trail::new(&server).await;
    let admin = trail.admin.clone();
    let (me, here) = ("user:admin", "127.0.0.1");
    let default = json!(server.hello.tenant_id);

    let minted = admin.post("/v1/agents/enroll-tokens", &json!({"agent_id": "web-1"})).await.expect(201);
    let record = trail.one("join_token.mint", me, here).await;
    assert_eq!((&record["target"], &record["tenant_id"]), (&minted["id"], &default));
    let identity = Identity::with_token(&admin.http, &text(&minted, "token")).await;
    let record = trail.news().await.remove(0);
    assert_eq!((&record["action"], &record["target"]), (&json!("agent.enroll"), &json!(identity.host_id())));
    assert_eq!(record["detail"]["serial"], json!(identity.serial()));
    assert_eq!(record["detail"]["credential"], minted["id"]);
    let rotated = identity.rotate(&admin.http).await;
    let news = trail.news().await;
    assert_eq!(news.len(), 1, "{news:?}");
    assert_eq!(news[0]["action"], "agent.rotate");
    assert!(news[0].to_string().contains(&rotated.serial()), "{}", news[0]);

    let other = admin.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
    trail.one("join_token.mint", me, here).await;
    let path = format!("/v1/agents/enroll-tokens/{}", text(&other, "id"));
    admin.delete(&path).await.expect(200);
    trail.one("join_token.void", me, here).await;

    let host = identity.host_id();
    let path = format!("/v1/hosts/{host}");
    admin.patch(&path, &json!({"tags": ["eu", "role:web"], "note": "the note itself"})).await.expect(200);
    let record = trail.one("host.change", me, here).await;
    assert_eq!((&record["target"], &record["detail"]["added"]), (&json!(host), &json!("eu role:web")));
    assert!(!record.to_string().contains("the note itself"), "{record}");
    let batch = json!({"action": "tag", "ids": [host], "remove": ["eu"]});
    admin.post("/v1/hosts/batch", &batch).await.expect(200);
    assert_eq!(trail.one("host.change", me, here).await["detail"]["removed"], json!("eu"));
    for (verb, action) in [("decommission", "host.decommission"), ("re-enable", "host.re_enable")] {
        admin.act(&format!("/v1/hosts/{host}/{verb}")).await.expect(200);
        let record = trail.one(action, me, here).await;
        assert_eq!(record["target"], json!(host));
    }
    admin.act("/v1/agents/web-1/revoke").await.expect(200);
    trail.one("agent.revoke", me, here).await;
    assert_eq!(admin.delete(&format!("/v1/hosts/{host}")).await.status, 204);
    trail.one("host.delete", me, here).await;

    let made =
        admin.post("/v1/enrollment-secrets", &json!({"name": "fleet", "max_uses": 3})).await.expect(201);
    let record = trail.one("enrollment_secret.create", me, here).await;
    assert_eq!((&record["target"], &record["detail"]["name"]), (&made["id"], &json!("fleet")));
    admin.act(&format!("/v1/enrollment-secrets/{}/revoke", text(&made, "id"))).await.expect(200);
    trail.one("enrollment_secret.revoke", me, here).await;

    let tenant = admin.post("/v1/tenants", &json!({"name": "other"})).await.expect(201);
    assert_eq!(trail.one("tenant.create", me, here).await["target"], tenant["id"]);
    let person =
        json!({"username": "alice", "password": PASSWORD, "role": "viewer", "tenant_id": tenant["id"]});
    let alice = admin.post("/v1/users", &person).await.expect(201);
    let record = trail.one("user.create", me, here).await;
    assert_eq!((&record["target"], &record["tenant_id"]), (&alice["id"], &tenant["id"]));
    for change in
        [json!({"role": "operator"}), json!({"password": "another fine long one"}), json!({"disabled": true})]
    {
        admin.patch(&format!("/v1/users/{}", text(&alice, "id")), &change).await.expect(200);
        let record = trail.one("user.change", me, here).await;
        assert!(!record.to_string().contains("another fine"), "{record}");
    }
    admin.put("/v1/session/preferences", &json!({"time_zone": "utc", "clock": "24h"})).await.expect(200);
    trail.one("user.preferences", me, here).await;
    let token = admin
        .post("/v1/api-tokens", &json!({"name": "tool", "permissions": ["tenant.write"]}))
        .await
        .expect(201);
    trail.one("api_token.create", me, here).await;
    let program = Client::bearer(&server, &text(&token, "token"));
    program.post("/v1/tenants", &json!({"name": "more"})).await.expect(201);
    trail.one("tenant.create", &format!("token:{}", text(&token, "id")), here).await;
    assert_eq!(admin.delete(&format!("/v1/api-tokens/{}", text(&token, "id"))).await.status, 204);
    trail.one("api_token.revoke", me, here).await;
    let webhook = admin.post("/v1/webhooks", &json!({"url": "https://127.0.0.1:9/hooks/secret-path"})).await;
    let webhook = webhook.expect(201);
    let record = trail.one("webhook.create", me, here).await;
    assert!(!record.to_string().contains("secret-path"), "{record}");
    let path = format!("/v1/webhooks/{}", text(&webhook, "id"));
    assert_eq!(admin.act(&format!("{path}/test")).await.expect(200)["delivered"], false);
    assert_eq!(admin.delete(&path).await.status, 204);
    trail.one("webhook.delete", me, here).await;

    // From elsewhere, by the client that counts.
    let elsewhere = admin.clone().without("cookie");
    let sign_in = async || {
        let answer = elsewhere.try_sign_in("admin", server.hello.admin_password.as_deref().unwrap()).await;
        answer.expect(200);
        session_cookie(&answer)
    };
    let again = elsewhere.clone().with_cookie(&sign_in().await);
    trail.one("session.create", me, here).await;
    again.delete("/v1/session").await;
    trail.one("session.end", me, here).await;
    sign_in().await;
    trail.one("session.create", me, here).await;
    let sessions = admin.items("/v1/account/sessions").await;
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    let ended = admin.delete(&format!("/v1/account/sessions/{}", text(other, "id"))).await;
    assert_eq!(ended.status, 204, "{ended}");
    trail.one("session.end", me, here).await;
    let password = json!({"current": server.hello.admin_password, "new": PASSWORD});
    admin.put("/v1/account/password", &password).await.expect(200);
    let record = trail.one("user.change", me, here).await;
    assert!(!record.to_string().contains(PASSWORD), "{record}");

    // What the local operator does.
    let (operator, socket) = (format!("local:{}", rustix::process::getuid().as_raw()), "socket");
    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    let run = |arguments: &[&str]| {
        tokio::task::block_in_place(|| server.cli(arguments).stdin(&root_key).run()).ok().stdout
    };
    let backup = server.room().join("backup");
    run(&["backup", backup.to_str().unwrap()]);
    trail.one("store.backup", &operator, socket).await;
    // Signed in advance, and then made to issue.
    run(&["agent-ca", "renew"]);
    trail.one("agent_ca.renew", &operator, socket).await;
    run(&["agent-ca", "renew", "--now"]);
    trail.one("agent_ca.renew", &operator, socket).await;
    let shown: Value = serde_json::from_str(&run(&["agent-ca", "show", "--json"])).unwrap();
    let [old, new] = [1, 2].map(|place| text(&shown["certificates"][place], "sha256"));
    let holder = Identity::enroll(&server, "holder").await;
    let mut connection = holder.peer(&server).connect().await.unwrap();
    // The list waits for it.
    let session = connection.session().await.unwrap();
    trail.news().await;
    run(&["agent-ca", "revoke-intermediate", &new]);
    let record = trail.one("agent_ca.revoke_intermediate", &operator, socket).await;
    assert_eq!(record["detail"]["revoked"], new, "{record}");
    run(&["agent-ca", "revoke-intermediate", "--now", &new]);
    trail.one("agent_ca.publish_list", &operator, socket).await;
    run(&["agent-ca", "revoke-intermediate", "--now", &old]);
    let record = trail.one("agent_ca.revoke_intermediate", &operator, socket).await;
    assert_eq!(record["detail"]["revoked"], old, "{record}");
    drop((session, connection));
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    for (command, action) in [("add", "envelope.add_recovery"), ("remove", "envelope.remove_recovery")] {
        run(&["envelope", "recovery", command, recipient]);
        let record = trail.one(action, &operator, socket).await;
        assert_eq!(record["target"], recipient, "{record}");
    }
    tokio::task::block_in_place(|| server.cli(&["check"]).run());

    // Looking leaves no trace, and neither does what was wrong in itself.
    admin.get("/v1/hosts").await.expect(200);
    admin.post("/v1/tenants", &json!({"name": ""})).await.refused(422, "invalid_name");
    admin.delete(&format!("/v1/hosts/{host}")).await.refused(404, "not_found");
    assert_eq!(trail.news().await, Vec::<Value>::new());
    server.cli(&["audit", "verify"]).run().ok();
    assert_complete(&trail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_recorded_with_their_true_reason() {
    let server = Server::quickstart();
    let mut trail = Trail::new(&server).await;
    let admin = trail.admin.clone();
    let nobody = Client::nobody(&server);
    nobody.try_sign_in("admin", "not the password at all").await.refused(401, "unauthenticated");
    let record = trail.refusal("session.create", "wrong_credentials").await;
    assert_eq!((&record["actor"], &record["target"]), (&json!("anonymous"), &json!("admin")));

    let made =
        admin.post("/v1/enrollment-secrets", &json!({"name": "fleet", "max_uses": 1})).await.expect(201);
    let secret = text(&made, "secret");
    let token = mint(&admin, "", &json!({"agent_id": "web-1"})).await;
    let identity = host_by_secret(&admin, &secret).await;
    Identity::with_token(&admin.http, &token).await;
    trail.news().await;
    let csr = Key::p256().csr();
    present_secret(&admin.http, &secret, &csr).await.refused(401, "unauthorized");
    trail.refusal("agent.enroll", "exhausted").await;
    admin.act(&format!("/v1/enrollment-secrets/{}/revoke", text(&made, "id"))).await.expect(200);
    trail.news().await;
    present_secret(&admin.http, &secret, &csr).await.refused(401, "unauthorized");
    trail.refusal("agent.enroll", "revoked").await;
    let at = secret.len() - 10;
    let other = if secret[at..].starts_with('a') { "b" } else { "a" };
    let wrong = secret[..at].to_owned() + other + &secret[at + 1..];
    present_secret(&admin.http, &wrong, &csr).await.refused(401, "unauthorized");
    let record = trail.news().await.remove(0);
    assert_eq!(record["outcome"], "refused", "{record}");
    assert!(["wrong_secret", "malformed_credential"].contains(&text(&record, "reason").as_str()), "{record}");
    present_token(&admin.http, &token, &csr).await.refused(401, "token_used");
    trail.refusal("agent.enroll", "token_used").await;

    admin.act(&format!("/v1/agents/{}/revoke", identity.agent_id())).await.expect(200);
    trail.news().await;
    admin.http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    trail.refusal("agent.rotate", "identity_revoked").await;

    let program = Client::bearer(&server, &server.api_token(&["agent.read"], None));
    trail.news().await;
    program.post("/v1/tenants", &json!({"name": "x"})).await.refused(403, "permission_denied");
    let record = trail.refusal("request.denied", "permission_denied").await;
    assert_eq!(record["detail"]["permission"], "tenant.write", "{record}");
    assert!(text(&record, "actor").starts_with("token:"), "{record}");
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_operator_is_named_by_user_id() {
    let mut server = Server::quickstart();
    let uid = rustix::process::getuid().as_raw();
    server.tenant("by-socket");
    server.stop();
    server.tenant("by-process");
    server.start_again();
    let records = server.audit("tenant.create");
    let told: Vec<_> = records.iter().map(|r| (text(r, "actor"), text(r, "source"))).collect();
    let me = format!("local:{uid}");
    assert_eq!(told, [(me.clone(), "process".to_owned()), (me, "socket".to_owned())]);
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_is_listed_searched_and_exported() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    for number in 0..7 {
        admin.post("/v1/tenants", &json!({"name": format!("Tenant {number}")})).await.expect(201);
    }
    let all = admin.items("/v1/audit?limit=500").await;
    let seqs: Vec<_> = all.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).rev().collect::<Vec<_>>(), "newest first, without a gap");
    for pair in all.windows(2) {
        assert_eq!(pair[0]["prev_hash"], pair[1]["hash"]);
    }
    assert_eq!(admin.items("/v1/audit?q=tenant+3&limit=500").await.len(), 1, "whatever the case");
    assert_eq!(admin.items("/v1/audit?q=TENANT.CREATE&limit=500").await.len(), 7);
    assert!(admin.items("/v1/audit?q=nothing-like-it").await.is_empty());
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/v1/audit?limit=3{next}")).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(paged, all);
    let exported = server.cli(&["audit", "export", "-"]).run().ok().stdout;
    let exported: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let chain: Vec<Value> = all.iter().rev().cloned().collect();
    assert_eq!(exported, chain, "oldest first, as the chain grows");
    let file = server.room().join("trail.jsonl");
    std::fs::write(&file, "an earlier export").unwrap();
    server.cli(&["audit", "export", file.to_str().unwrap()]).run().ok();
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        written.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>(),
        chain
    );
    assert_eq!(admin.items("/v1/audit?order=oldest&limit=500").await, chain);
    admin.get("/v1/audit?order=random").await.refused(400, "bad_request");
    let table = server.cli(&["audit", "list", "--search", "tenant.create", "--limit", "2"]).run().ok().stdout;
    assert_eq!(table.matches("tenant.create").count(), 2, "{table}");
    assert!(table.starts_with("SEQ  AT "), "{table}");

    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    viewer.get("/v1/audit").await.refused(403, "permission_denied");
    viewer.get("/v1/audit/verify").await.refused(403, "permission_denied");
    let verified = admin.get("/v1/audit/verify").await.expect(200);
    assert_eq!((&verified["intact"], &verified["first_broken"]), (&json!(true), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_of_a_record_is_found() {
    let mut server = Server::quickstart();
    server.tenant("before");
    server.secret(&[]);
    let seq = server.audit("enrollment_secret.create")[0]["seq"].clone();
    for number in 0..20 {
        server.tenant(&format!("after-{number}"));
    }
    server.stop();
    let file = server.store_file();
    let mut bytes = std::fs::read(&file).unwrap();
    let wanted = b"enrollment_secret.create";
    let places: Vec<_> =
        (0..bytes.len() - wanted.len()).filter(|&at| bytes[at..].starts_with(wanted)).collect();
    assert!(!places.is_empty(), "records are stored as text");
    for at in places {
        bytes[at] ^= 1;
    }
    std::fs::write(&file, bytes).unwrap();

    // The store notices before anybody can ask for the trail, or the trail names the record.
    let verified = server.cli(&["audit", "verify"]).run().failed();
    let named = verified.stderr.contains(&format!("record {seq}:"));
    assert!(named || verified.stderr.contains("damaged"), "record {seq}: {verified}");
    if !named {
        let refused = server.try_start_again().unwrap_err();
        assert!(refused.stderr.contains("damaged") && !refused.stderr.contains("panicked"), "{refused:?}");
    }
}

/// Where the trail is kept: sequence number → checksum and record.
const TRAIL: &str = "audit_v1";
const CHECKSUM: usize = 8;

/// A record's row as somebody would write it who knows how rows are protected.
fn row(key: &[u8], record: &str) -> Vec<u8> {
    let length = u32::try_from(key.len()).unwrap().to_be_bytes();
    let protected = [TRAIL.as_bytes(), &[0], &length, key, record.as_bytes()].concat();
    [&digest(&SHA256, &protected).as_ref()[..CHECKSUM], record.as_bytes()].concat()
}

/// A record with another source, and with the hash that belongs to it.
fn forged(record: &str) -> String {
    let mut fields: Value = serde_json::from_str(record).unwrap();
    fields["source"] = json!("elsewhere");
    fields.as_object_mut().unwrap().remove("hash");
    let hash = data_encoding::HEXLOWER.encode(digest(&SHA256, fields.to_string().as_bytes()).as_ref());
    fields["hash"] = json!(hash);
    fields.to_string()
}

/// Tampers with the trail of a stopped server, around the record `seq`.
fn tamper(store: &Path, how: &str, seq: u64) {
    let database = Database::open(store).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let definition = TableDefinition::<&[u8], &[u8]>::new(TRAIL);
        let mut table = transaction.open_table(definition).unwrap();
        let [key, next] = [seq, seq + 1].map(u64::to_be_bytes);
        let read = |key: &[u8]| table.get(key).unwrap().unwrap().value().to_vec();
        let (before, after) = (read(&key), read(&next));
        let [record, other] =
            [&before, &after].map(|row| String::from_utf8(row[CHECKSUM..].to_vec()).unwrap());
        assert_eq!(row(&key, &record), before, "this test knows how rows are written");
        let edited = record.replace("socket", "sockets");
        assert_ne!(edited, record);
        let mut put = |key: [u8; 8], row: Vec<u8>| drop(table.insert(&key[..], &row[..]).unwrap());
        match how {
            "edited" => put(key, row(&key, &edited)),
            "edited carelessly" => put(key, [&before[..CHECKSUM], edited.as_bytes()].concat()),
            "forged" => put(key, row(&key, &forged(&record))),
            "swapped" => {
                put(key, row(&key, &other));
                put(next, row(&next, &record));
            }
            "doubled" => put(next, row(&next, &record)),
            _ => drop(table.remove(&key[..]).unwrap()),
        }
    }
    transaction.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_that_was_tampered_with_is_named() {
    let mut server = Server::quickstart();
    for number in 0..6 {
        server.tenant(&format!("tenant-{number}"));
    }
    let seq = server.audit("tenant-2")[0]["seq"].as_u64().unwrap();
    server.stop();
    let cases = [
        ("edited", seq),
        ("edited carelessly", seq),
        // It hangs together in itself; what follows it tells.
        ("forged", seq + 1),
        ("swapped", seq),
        ("doubled", seq + 1),
        ("removed", seq),
    ];
    for (how, named) in cases {
        let dir = server.room().join(how);
        files::copy(&server.data_dir(), &dir);
        let store = dir.join(server.store_file().file_name().unwrap());
        tamper(&store, how, seq);
        let verify = |json: &[&str]| {
            let args = [&["audit", "verify", "--data-dir", dir.to_str().unwrap()], json].concat();
            server.cli(&args).run()
        };
        let told = verify(&[]).failed();
        assert!(told.stderr.contains(&format!("record {named}:")), "{how}: {told}");
        let told = verify(&["--json"]);
        assert_eq!(told.code, Some(1), "{how}: {told}");
        let answer: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!((&answer["intact"], &answer["first_broken"]), (&json!(false), &json!(named)), "{how}");
    }
    server.cli(&["audit", "verify"]).run().ok();
}

/// Removes everything behind the record `seq` from a stopped server's trail.
fn cut_after(store: &Path, seq: u64) {
    let database = Database::open(store).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(TRAIL)).unwrap();
        table.retain(|key, _| u64::from_be_bytes(key.try_into().unwrap()) <= seq).unwrap();
    }
    transaction.commit().unwrap();
}

/// Demands that looking at the trail tells of records that are missing after `seq`, as often as one looks.
#[track_caller]
fn assert_cut_after(server: &Server, seq: u64) {
    for _ in 0..2 {
        let told = server.cli(&["audit", "verify"]).run().failed();
        assert!(told.stderr.contains(&format!("records after seq {seq} are missing")), "{told}");
        let answer: Value =
            serde_json::from_str(&server.cli(&["audit", "verify", "--json"]).run().stdout).unwrap();
        assert_eq!((&answer["intact"], &answer["first_broken"]), (&json!(false), &json!(seq + 1)));
    }
}

/// Demands that the start said so loudly, put it on record, and goes on from there.
#[track_caller]
fn assert_owned_up(server: &mut Server, seq: u64) {
    assert!(server.log().contains("THE AUDIT TRAIL IS CUT SHORT"), "{}", server.log());
    let told = server.audit("audit.records_missing");
    assert_eq!(
        (&told[0]["actor"], &told[0]["detail"]["records_after"]),
        (&json!("muster"), &json!(seq.to_string()))
    );
    server.cli(&["audit", "verify"]).run().ok();
    server.stop();
    server.start_again();
    assert!(!server.log().contains("CUT SHORT"), "{}", server.log());
    assert_eq!(server.audit("audit.records_missing").len(), told.len());
    server.cli(&["audit", "verify"]).run().ok();
}

fn newest(server: &Server) -> u64 {
    server.audit("")[0]["seq"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trail_that_was_cut_short_is_found_out() {
    let mut server = Server::quickstart();
    for number in 0..4 {
        server.tenant(&format!("tenant-{number}"));
    }
    let end = newest(&server);
    server.stop();
    cut_after(&server.store_file(), end - 2);
    assert_cut_after(&server, end - 2);
    server.start_again();
    assert_owned_up(&mut server, end - 2);

    // After a crash the change log has the end, too, and nothing is lost of it.
    Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    let end = newest(&server);
    server.kill();
    cut_after(&server.store_file(), end - 4);
    assert_eq!(newest(&server), end);
    server.cli(&["audit", "verify"]).run().ok();
    // Not even a crash hides it otherwise, once a revocation has been answered.
    cut_after(&server.store_file(), end - 1);
    assert_cut_after(&server, end - 1);
}

#[test]
fn an_older_copy_of_the_trail_is_found_out() {
    let mut server = Server::quickstart();
    server.tenant("before");
    let end = newest(&server);
    server.stop();
    let yesterday = server.room().join("yesterday");
    std::fs::copy(server.store_file(), &yesterday).unwrap();
    server.start_again();
    server.tenant("after");
    server.stop();
    std::fs::copy(&yesterday, server.store_file()).unwrap();
    assert_cut_after(&server, end);
    // What is written meanwhile does not hide it.
    server.tenant("between");
    server.tenant("between as well");
    assert_cut_after(&server, end);
    server.start_again();
    assert_owned_up(&mut server, end);
}
