//! The life of a host after its enrollment: found, decommissioned, re-enabled, deleted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tonic::Code;

use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::fleet::{host_by_secret, host_with_facts, mint, named_host, secret};
use crate::support::identity::{Identity, ROTATE, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::{PATIENCE, until_answered};

/// What an ended session may take to reach the client on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(1);

fn ids(hosts: &[Value]) -> Vec<String> {
    hosts.iter().map(|host| text(host, "id")).collect()
}

/// The kinds of a host's timeline, oldest first.
async fn timeline(admin: &Client, host: &str) -> Vec<String> {
    let mut kinds: Vec<_> = admin.items(&format!("/v1/hosts/{host}/events")).await;
    kinds.reverse();
    kinds.iter().map(|event| text(event, "kind")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn decommissioning_takes_every_live_certificate_and_the_session() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let first = named_host(&admin, "", "web-1").await;
    let second = first.rotate(&admin.http).await;
    let third = second.rotate(&admin.http).await;
    let peers = [first.peer(&server), second.peer(&server), third.peer(&server)];
    for peer in &peers {
        peer.reports().await.unwrap();
    }
    let bystander = named_host(&admin, "", "web-2").await;
    let host = first.host_id();
    let mut session = third.peer(&server).connect().await.unwrap().session().await.unwrap();
    assert_eq!(server.host(&host)["status"], "online");
    let ended = tokio::spawn(async move { (session.end(PATIENCE).await, Instant::now()) });

    let answer = admin.act(&format!("/v1/hosts/{host}/decommission")).await.expect(200);
    let told = Instant::now();
    assert_eq!(answer["status"], "offline", "{answer}");
    assert!(answer["decommissioned_at"].is_string(), "{answer}");
    let (outcome, at) = ended.await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied);
    assert!(at < told + AT_ONCE, "{:?} after the administrator was told", at - told);

    for peer in &peers {
        peer.assert_refused().await;
        peer.assert_never_resumed();
    }
    for identity in [&first, &second, &third] {
        identity.peer(&server).assert_refused().await;
        admin.http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    }
    let enrollments = admin.items(&format!("/v1/hosts/{host}/enrollments")).await;
    assert_eq!(enrollments.len(), 3);
    for enrollment in &enrollments {
        assert_eq!((&enrollment["revoked"], &enrollment["reason"]), (&json!(true), &json!("decommissioned")));
    }
    assert_eq!(server.host(&host)["status"], "offline", "whatever it said a moment ago");
    assert_eq!(ids(&admin.items("/v1/hosts").await), [bystander.host_id()]);
    assert_eq!(ids(&admin.items("/v1/hosts?decommissioned=true").await), [host.as_str()]);
    let overview = admin.get("/v1/overview").await.expect(200);
    assert_eq!((&overview["hosts_total"], &overview["hosts_decommissioned"]), (&json!(1), &json!(1)));
    bystander.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn decommissioning_and_re_enabling_twice_is_harmless() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let host = named_host(&admin, "", "web-1").await.host_id();
    for verb in ["decommission", "re-enable"] {
        let path = format!("/v1/hosts/{host}/{verb}");
        let once = admin.act(&path).await.expect(200);
        assert_eq!(admin.act(&path).await.expect(200), once);
    }
    assert_eq!(timeline(&admin, &host).await, ["enrolled", "decommissioned", "re_enabled"]);
    assert_eq!(server.audit("host.decommission").len(), 1);
    assert_eq!(server.audit("host.re_enable").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_enabled_host_comes_back_by_a_token_that_names_it() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let old = named_host(&admin, "", "web-1").await;
    let host = old.host_id();
    admin.act(&format!("/v1/hosts/{host}/decommission")).await.expect(200);
    let token = mint(&admin, "", &json!({"agent_id": "web-1"})).await;
    present_token(&admin.http, &token, &Key::p256().csr()).await.refused(403, "identity_revoked");

    let answer = admin.act(&format!("/v1/hosts/{host}/re-enable")).await.expect(200);
    assert_eq!(answer["decommissioned_at"], Value::Null, "{answer}");
    old.peer(&server).assert_refused().await;
    admin.http.post(ROTATE, &old.rotation(&Key::p256())).await.refused(403, "identity_revoked");

    // The refusal above has left the token good.
    let new = Identity::with_token(&admin.http, &token).await;
    assert_eq!((new.host_id(), new.agent_id()), (host.clone(), "web-1".to_owned()));
    new.peer(&server).reports().await.unwrap();
    old.peer(&server).assert_refused().await;
    admin.http.post(ROTATE, &old.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    assert_eq!(server.host(&host)["status"], "online");
    assert_eq!(ids(&admin.items("/v1/hosts").await), [host.as_str()]);
    assert!(admin.items("/v1/hosts?decommissioned=true").await.is_empty());
    assert_eq!(timeline(&admin, &host).await, ["enrolled", "decommissioned", "re_enabled", "enrolled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn decommissioning_and_re_enabling_survive_kill_9() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let out = named_host(&admin, "", "out").await;
    let back = named_host(&admin, "", "back").await;
    for identity in [&out, &back] {
        admin.act(&format!("/v1/hosts/{}/decommission", identity.host_id())).await.expect(200);
    }
    admin.act(&format!("/v1/hosts/{}/re-enable", back.host_id())).await.expect(200);
    server.kill();
    server.start_again();
    out.peer(&server).assert_refused().await;
    back.peer(&server).assert_refused().await;
    assert!(server.host(&out.host_id())["decommissioned_at"].is_string());
    let returned = Identity::enroll(&server, "back").await;
    assert_eq!(returned.host_id(), back.host_id());
    returned.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn re_enabling_reverses_a_revocation_too() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let old = named_host(&admin, "", "web-1").await;
    let revoked = admin.act("/v1/agents/web-1/revoke").await.expect(200);
    assert_eq!((&revoked["host_id"], &revoked["agent_id"]), (&json!(old.host_id()), &json!("web-1")));
    admin.act(&format!("/v1/hosts/{}/re-enable", old.host_id())).await.expect(200);
    let new = named_host(&admin, "", "web-1").await;
    assert_eq!(new.host_id(), old.host_id());
    new.peer(&server).reports().await.unwrap();
    old.peer(&server).assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_came_with_a_secret_come_back_by_their_own_id() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (_, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
    let [out, stays] = [host_by_secret(&admin, &secret).await, host_by_secret(&admin, &secret).await];
    assert_eq!(out.agent_id(), out.host_id());
    admin.act(&format!("/v1/hosts/{}/decommission", out.host_id())).await.expect(200);
    out.peer(&server).assert_refused().await;
    stays.peer(&server).reports().await.unwrap();
    admin.act(&format!("/v1/hosts/{}/re-enable", out.host_id())).await.expect(200);
    let back = named_host(&admin, "", &out.agent_id()).await;
    assert_eq!(back.host_id(), out.host_id());
    out.peer(&server).assert_refused().await;
    back.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_host_leaves_nothing_but_the_audit_record_and_frees_its_name() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    let rotated = identity.rotate(&admin.http).await;
    let host = identity.host_id();
    let mut session = rotated.peer(&server).connect().await.unwrap().session().await.unwrap();

    let answer = admin.delete(&format!("/v1/hosts/{host}")).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer}");
    assert_eq!(session.end(PATIENCE).await.unwrap_err().code(), Code::PermissionDenied);
    for path in ["", "/enrollments", "/events"] {
        admin.get(&format!("/v1/hosts/{host}{path}")).await.refused(404, "not_found");
    }
    admin.delete(&format!("/v1/hosts/{host}")).await.refused(404, "not_found");
    assert!(admin.items("/v1/hosts").await.is_empty());
    assert!(admin.items("/v1/hosts?decommissioned=true").await.is_empty());
    for gone in [&identity, &rotated] {
        gone.peer(&server).assert_refused().await;
        let refusal = admin.http.post(ROTATE, &gone.rotation(&Key::p256())).await;
        assert!([401, 403].contains(&refusal.status), "{refusal}");
    }

    let next = named_host(&admin, "", "web-1").await;
    assert_ne!(next.host_id(), host);
    next.peer(&server).reports().await.unwrap();
    identity.peer(&server).assert_refused().await;
    assert_eq!(admin.items(&format!("/v1/hosts/{}/enrollments", next.host_id())).await.len(), 1);
    assert_eq!(timeline(&admin, &next.host_id()).await, ["enrolled"]);
    let records = server.audit("host.delete");
    assert_eq!(records.len(), 1);
    assert_eq!((&records[0]["target"], &records[0]["actor"]), (&json!(host), &json!("user:admin")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_host_s_certificate_is_refused_after_kill_9() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    assert_eq!(admin.delete(&format!("/v1/hosts/{}", identity.host_id())).await.status, 204);
    server.kill();
    server.start_again();
    identity.peer(&server).assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_deletes_only_when_told_twice() {
    let server = Server::quickstart();
    let host = Identity::enroll(&server, "web-1").await.host_id();
    let refused = server.cli(&["host", "delete", &host]).run();
    assert_eq!(refused.code, Some(2), "a missing argument is wrong usage: {refused}");
    assert!(refused.stderr.contains("--yes"), "{refused}");
    assert_eq!(server.hosts().len(), 1);
    server.cli(&["host", "delete", &host, "--yes"]).run().ok();
    assert!(server.hosts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_found_by_name_address_and_system() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let facts = [
        json!({"hostname": "Web-1.example", "os": "Debian 12", "ips": ["10.0.0.5", "2001:db8::5"]}),
        json!({"hostname": "web-2.example", "os": "Fedora 42", "ips": ["10.0.0.6"]}),
        json!({"hostname": "100%_db", "os": "debian 11", "ips": ["192.0.2.7"]}),
    ];
    let mut hosts = Vec::new();
    for facts in &facts {
        hosts.push(host_with_facts(&admin, facts).await.host_id());
    }
    hosts.push(named_host(&admin, "", "nameless").await.host_id());
    let cases: &[(&str, &[usize])] = &[
        ("", &[0, 1, 2, 3]),
        ("WEB", &[0, 1]),
        ("web-1", &[0]),
        ("10.0.0.", &[0, 1]),
        ("2001:db8::5", &[0]),
        ("debian", &[0, 2]),
        ("%25_", &[2]),
        ("%25", &[2]),
        (".*", &[]),
        ("nameless", &[3]),
        ("nothing", &[]),
        ("web%20debian", &[0]),
        ("12%20web%2010.0.0.5", &[0]),
        ("web%20nothing", &[]),
    ];
    for (q, expected) in cases {
        let list = admin.get(&format!("/v1/hosts?q={q}")).await.expect(200);
        let expected: Vec<_> = expected.iter().rev().map(|index| hosts[*index].clone()).collect();
        assert_eq!(ids(list["items"].as_array().unwrap()), expected, "{q}");
        assert_eq!(list["total"], expected.len(), "{q}");
    }
    admin.get(&format!("/v1/hosts?q={}", "x".repeat(4_000))).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_filtered_by_status() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let [here, away] = [named_host(&admin, "", "here").await, named_host(&admin, "", "away").await];
    here.peer(&server).reports().await.unwrap();
    assert_eq!(ids(&admin.items("/v1/hosts?status=online").await), [here.host_id()]);
    assert_eq!(ids(&admin.items("/v1/hosts?status=offline").await), [away.host_id()]);
    admin.act(&format!("/v1/hosts/{}/decommission", here.host_id())).await.expect(200);
    assert!(admin.items("/v1/hosts?status=online").await.is_empty());
    assert!(admin.items("/v1/hosts?status=online&decommissioned=true").await.is_empty());
    for query in [
        "status=decommissioned",
        "status=",
        "status=Online",
        "decommissioned=1",
        "sort=id",
        "sort=",
        "state=offline",
        "flag=red",
        "version=new",
        "version=>0.1.0",
        "silent_for=soon",
        "silent_for=-1h",
        "secret=mes_x",
        "cursor=h.d2Vi.01890000-0000-7000-8000-000000000001",
        "limit=1&limit=2",
    ] {
        admin.get(&format!("/v1/hosts?{query}")).await.refused(400, "bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_host_once() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (_, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
    let mut enrolled = Vec::new();
    for _ in 0..7 {
        enrolled.push(host_by_secret(&admin, &secret).await.host_id());
    }
    enrolled.reverse();
    for limit in [1, 3, 7, 500] {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = admin.get(&format!("/v1/hosts?limit={limit}{next}")).await.expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(!items.is_empty() && items.len() <= limit, "{page}");
            assert_eq!(page["total"], 7, "{page}");
            seen.extend(ids(items));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("&cursor={cursor}");
        }
        assert_eq!(seen, enrolled, "pages of {limit}");
    }
    for query in
        ["limit=0", "limit=-1", "limit=501", "limit=1e9", "limit=abc", "limit=", "cursor=garbage", "cursor="]
    {
        for list in ["hosts", "users", "audit", "api-tokens", "enrollment-secrets", "agents/enroll-tokens"] {
            admin.get(&format!("/v1/{list}?{query}")).await.refused(400, "bad_request");
        }
        let path = format!("/v1/hosts/{}", enrolled[0]);
        admin.get(&format!("{path}/enrollments?{query}")).await.refused(400, "bad_request");
        admin.get(&format!("{path}/events?{query}")).await.refused(400, "bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_one_machine_are_flagged_and_never_merged() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let facts = json!({"hostname": "web-1", "machine_id": "0123456789abcdef0123456789abcdef"});
    let first = host_with_facts(&admin, &facts).await;
    assert_eq!(server.host(&first.host_id())["flags"], json!([]));
    let second = host_with_facts(&admin, &facts).await;
    let other = host_with_facts(&admin, &json!({"hostname": "web-1", "machine_id": "another"})).await;
    assert_ne!(first.host_id(), second.host_id());
    for host in [&first, &second] {
        assert_eq!(server.host(&host.host_id())["flags"], json!(["possible_duplicate"]));
        host.peer(&server).reports().await.unwrap();
    }
    assert_eq!(server.host(&other.host_id())["flags"], json!([]));
    assert_eq!(server.hosts().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_shows_what_its_machine_said() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let facts = json!({
        "hostname": "web-1", "os": "Debian 12", "arch": "x86_64", "ips": ["10.0.0.5", "2001:db8::5"],
        "machine_id": "abc", "agent_version": "0.1.0",
    });
    let identity = host_with_facts(&admin, &facts).await;
    let host = admin.get(&format!("/v1/hosts/{}", identity.host_id())).await.expect(200);
    for (name, fact) in facts.as_object().unwrap() {
        assert_eq!(&host[name], fact, "{name}");
    }
    for name in ["agent_id", "tenant_id", "spiffe_id"] {
        assert_eq!(text(&host, name), identity.field(name), "{name}");
    }
    assert_eq!(text(&host, "svid_not_after"), identity.field("not_after"));
    assert_eq!((&host["status"], &host["last_seen"]), (&json!("offline"), &Value::Null));
    assert!(host["first_enrolled_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_re_enabled_over_the_network_with_a_token() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let host = named_host(&admin, "", "web-1").await.host_id();
    let token = server.api_token(&["host.write", "agent.read"], None);
    let file = server.room().join("api-token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let hello = &server.hello;
    let remote = |args: &[&str]| {
        let place = [
            "--server",
            &hello.url,
            "--api-token-file",
            file.to_str().unwrap(),
            "--server-pin",
            &hello.ca_pin,
        ];
        Cli::new(server.room(), &[args, &place[..]].concat()).run()
    };

    remote(&["host", "decommission", &host]).ok();
    assert!(server.host(&host)["decommissioned_at"].is_string());
    remote(&["host", "re-enable", &host]).ok();
    assert_eq!(server.host(&host)["decommissioned_at"], Value::Null);
    assert_eq!(remote(&["enrollment", "list", &host, "--json"]).items().len(), 1);

    remote(&["host", "decommission", &host]).ok();
    let program = Client::bearer(&server, &token);
    let answer = program.act(&format!("/api/v1/hosts/{host}/re-enable")).await.expect(200);
    assert_eq!(answer["decommissioned_at"], Value::Null);

    let denied = remote(&["secret", "list"]).failed();
    assert!(denied.stderr.contains("not allowed"), "{denied}");
    let wrong_pin = "00".repeat(32);
    let args = [
        "host",
        "list",
        "--server",
        &hello.url,
        "--server-pin",
        &wrong_pin,
        "--api-token-file",
        file.to_str().unwrap(),
    ];
    Cli::new(server.room(), &args).run().failed();
    let by_token: Vec<_> = server.audit("host.re_enable").iter().map(|r| text(r, "actor")).collect();
    assert!(by_token.len() == 2 && by_token.iter().all(|actor| actor.starts_with("token:")), "{by_token:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollment_list_shows_every_certificate() {
    let server = Server::quickstart();
    let first = Identity::enroll(&server, "web-1").await;
    let second = first.rotate(&server.http()).await;
    let table = server.cli(&["enrollment", "list", &first.host_id()]).run().ok().stdout;
    for part in [&first.serial(), &second.serial(), "token", "rotation"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let rows = server.enrollments(&first.host_id());
    let serials: Vec<_> = rows.iter().map(|row| text(row, "serial")).collect();
    assert_eq!(serials, [second.serial(), first.serial()], "newest first");
    assert_eq!(rows[1]["via"], "token");
    assert!(rows[1]["credential_id"].is_string() && rows[1]["peer"] == "127.0.0.1", "{}", rows[1]);
    assert_eq!(
        (&rows[0]["via"], &rows[0]["revoked"], &rows[0]["reason"]),
        (&json!("rotation"), &json!(false), &Value::Null)
    );
    server.cli(&["enrollment", "list", "00000000-0000-7000-8000-000000000000"]).run().failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_tagged_and_noted_and_found_by_it() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let web = named_host(&admin, "", "web-1").await;
    let db = named_host(&admin, "", "db-1").await;
    let path = format!("/v1/hosts/{}", web.host_id());

    let answer = admin.patch(&path, &json!({"tags": ["role:web", "eu"], "note": "Rack 4\nunit 7"})).await;
    let host = answer.expect(200);
    assert_eq!((&host["tags"], &host["note"]), (&json!(["eu", "role:web"]), &json!("Rack 4\nunit 7")));
    // What is left out stays, and an empty note is none.
    assert_eq!(admin.patch(&path, &json!({"note": ""})).await.expect(200)["tags"], json!(["eu", "role:web"]));
    assert_eq!(server.host(&web.host_id())["note"], Value::Null);
    for (change, code) in [
        (json!({"tags": ["Role"]}), "invalid_tag"),
        (json!({"tags": (0..33).map(|n| n.to_string()).collect::<Vec<_>>()}), "invalid_tag"),
        (json!({"note": "a\u{1b}[31m"}), "invalid_note"),
    ] {
        admin.patch(&path, &change).await.refused(422, code);
    }
    admin.patch(&path, &json!({"tag": []})).await.refused(400, "bad_request");

    assert_eq!(ids(&admin.items("/v1/hosts?tag=role:web").await), [web.host_id()]);
    assert!(admin.items("/v1/hosts?tag=role").await.is_empty(), "a part of a tag is another tag");
    admin.get("/v1/hosts?tag=A").await.refused(400, "bad_request");
    // A machine that comes back is still what people say it is.
    let again = named_host(&admin, "", "web-1").await;
    assert_eq!(server.host(&again.host_id())["tags"], json!(["eu", "role:web"]));
    // Relying parties may ask for tags.
    let der: String = again.field("certificate").lines().filter(|line| !line.starts_with("--")).collect();
    let proxy = admin.clone().with("x-client-cert", &der);
    assert_eq!(proxy.get("/v1/forward-auth?tag=eu&tag=role:web").await.status, 204);
    proxy.get("/v1/forward-auth?tag=eu&tag=us").await.refused(403, "missing_tag");

    server.cli(&["host", "tag", "web-1", "db-1", "--add", "prod", "--remove", "eu"]).run().ok();
    assert_eq!(server.host(&db.host_id())["tags"], json!(["prod"]));
    assert_eq!(server.cli(&["host", "list", "--tag", "prod", "--json"]).run().items().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_done_to_all_or_to_none() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(named_host(&admin, "", &format!("web-{number}")).await);
    }
    let all: Vec<_> = hosts.iter().map(Identity::host_id).collect();
    let batch = async |body: &Value| admin.post("/v1/hosts/batch", body).await;
    let outcomes = |answer: &Value| -> Vec<String> {
        answer["items"].as_array().unwrap().iter().map(|item| text(item, "outcome")).collect()
    };

    let tag = json!({"action": "tag", "filter": {"q": "web"}, "expect": 2, "add": ["lab"]});
    assert_eq!(batch(&tag).await.refused(409, "set_changed")["found"], json!(3));
    assert!(admin.items("/v1/hosts?tag=lab").await.is_empty());
    let tag = json!({"action": "tag", "filter": {"q": "web"}, "expect": 3, "add": ["lab"]});
    assert_eq!(outcomes(&batch(&tag).await.expect(200)), ["done"; 3]);
    assert_eq!(outcomes(&batch(&tag).await.expect(200)), ["unchanged"; 3]);

    let nobody = "01a20522-8885-73ee-af22-1e008f0841d2";
    let ids = json!([all[0], all[1], all[1], nobody]);
    let out = json!({"action": "decommission", "ids": ids, "expect": 3});
    assert_eq!(batch(&out).await.refused(409, "set_changed")["found"], json!(2));
    assert_eq!(server.hosts().len(), 3);
    let out = json!({"action": "decommission", "ids": ids, "expect": 2});
    assert_eq!(outcomes(&batch(&out).await.expect(200)), ["done", "done", "not_found"]);
    for host in &hosts[..2] {
        host.peer(&server).assert_refused().await;
    }
    hosts[2].peer(&server).reports().await.unwrap();
    assert_eq!(server.audit("host.decommission").len(), 2);
    let back = json!({"action": "re_enable", "ids": all});
    assert_eq!(outcomes(&batch(&back).await.expect(200)), ["done", "done", "unchanged"]);

    for (body, code) in [
        (json!({"action": "decommission", "filter": {}, "expect": 3}), "bad_request"),
        (json!({"action": "tag", "filter": {}, "add": ["x"]}), "bad_request"),
        (json!({"action": "tag", "ids": all}), "bad_request"),
        (json!({"action": "tag", "add": ["x"]}), "bad_request"),
        (json!({"action": "re_enable", "ids": ["web-1"]}), "bad_request"),
    ] {
        batch(&body).await.refused(400, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_reports_and_does_not_renew_needs_somebody() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s")]);
    let admin = Client::admin(&server).await;
    let late = named_host(&admin, "", "late-1").await;
    late.peer(&server).reports().await.unwrap();
    named_host(&admin, "", "silent-1").await;
    let needs = async || {
        let overview = admin.get("/v1/overview").await.expect(200);
        let warnings = overview["warnings"].as_array().unwrap().clone();
        warnings.into_iter().find(|warning| warning["code"] == "agents_overdue")
    };
    assert_eq!(needs().await, None);
    let warning = until_answered("a warning", async || needs().await).await;
    assert_eq!((&warning["severity"], &warning["count"]), (&json!("soon"), &json!(1)));
    let listed = admin.items(&format!("/v1{}", text(&warning, "target"))).await;
    assert_eq!(ids(&listed), [late.host_id()], "what is linked is what is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_give_tags_and_a_secret_lets_in_from_its_networks_alone() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let body = json!({"name": "here", "tags": ["role:web", "eu"], "from": ["127.0.0.0/8", "::1"]});
    let (id, here) = secret(&admin, "", &body).await;
    let host = host_by_secret(&admin, &here).await;
    assert_eq!(server.host(&host.host_id())["tags"], json!(["eu", "role:web"]));
    let listed = admin.items("/v1/enrollment-secrets").await;
    let listed = listed.iter().find(|secret| secret["id"] == json!(id)).unwrap();
    assert_eq!(listed["from"], json!(["127.0.0.0/8", "::1/128"]));

    let (_, elsewhere) = secret(&admin, "", &json!({"name": "elsewhere", "from": ["192.0.2.0/24"]})).await;
    let answer = crate::support::identity::present_secret(&admin.http, &elsewhere, &Key::p256().csr()).await;
    answer.refused(401, "unauthorized");
    let refusals = server.audit("agent.enroll");
    assert!(refusals.iter().any(|record| record["reason"] == json!("other_network")), "{refusals:?}");
    for (body, code) in [
        (json!({"name": "x", "from": ["10.0.0.0/33"]}), "invalid_network"),
        (json!({"name": "x", "from": ["10.0.0.0/8,10.0.0.0/8"]}), "invalid_network"),
        (json!({"name": "x", "tags": ["X"]}), "invalid_tag"),
    ] {
        admin.post("/v1/enrollment-secrets", &body).await.refused(422, code);
    }

    // A token gives tags, too; those of a host that is there already are for whoever may change hosts.
    let token = mint(&admin, "", &json!({"agent_id": "web-1", "tags": ["lab"]})).await;
    let web = present_token(&admin.http, &token, &Key::p256().csr()).await.expect(201);
    assert_eq!(server.host(&text(&web, "host_id"))["tags"], json!(["lab"]));
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    let again = json!({"agent_id": "web-1", "tags": ["prod"]});
    operator.post("/v1/agents/enroll-tokens", &again).await.refused(403, "permission_denied");
    operator
        .post("/v1/agents/enroll-tokens", &json!({"agent_id": "web-2", "tags": ["prod"]}))
        .await
        .expect(201);
}
