//! What stands in the audit trail: bounded whatever strangers send, by name and findable, and for those of one tenant
//! without a hint of how much others do.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::cli::Cli;
use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{host_with_facts, mint, named_host, secret};
use crate::support::identity::ENROLL;
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::stream::Stream;

async fn found(client: &Client, query: &str) -> Vec<Value> {
    client.items(&format!("/v1/audit?limit=500&{query}")).await
}

/// A request to enroll with a credential, of a machine that claims this name.
async fn knock(client: &Client, kind: &str, credential: &str, hostname: &str) {
    let body = json!({kind: credential, "csr": Key::p256().csr().pem, "host": {"hostname": hostname}});
    let answer = client.http.post(ENROLL, &body).await;
    assert_eq!(answer.status, 401, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_request_is_recorded_by_its_route_and_a_parsed_id() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    let long = "x".repeat(15_000);
    viewer.delete(&format!("/v1/hosts/{long}")).await.refused(403, "permission_denied");
    let host = named_host(&admin, "", "web-1").await.host_id();
    viewer.act(&format!("/api/v1/hosts/{host}/decommission")).await.refused(403, "permission_denied");
    viewer.act("/v1/agents/web-1/revoke").await.refused(403, "permission_denied");
    let records = found(&admin, "q=request.denied&order=oldest").await;
    assert!(records.iter().all(|record| record.to_string().len() < 1_000), "{records:?}");
    let told: Vec<_> =
        records.iter().map(|record| (text(record, "target"), record["detail"]["id"].clone())).collect();
    let expected = [
        ("/v1/hosts/{id}", Value::Null),
        ("/api/v1/hosts/{id}/decommission", json!(host)),
        ("/v1/agents/{agent_id}/revoke", json!("web-1")),
    ];
    assert_eq!(told, expected.map(|(route, id)| (route.to_owned(), id)));
    // The same again, and often, is a count.
    for _ in 0..50 {
        viewer.delete(&format!("/v1/hosts/{long}")).await.refused(403, "permission_denied");
    }
    assert_eq!(found(&admin, "q=request.denied").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_repeat_are_one_record_and_a_count() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let token = mint(&admin, "", &json!({})).await;
    let body = json!({"token": token, "csr": Key::p256().csr().pem});
    admin.http.post(ENROLL, &body).await.expect(201);
    let name = format!("{}\n", "w".repeat(300));
    for _ in 0..20 {
        knock(&admin, "token", &token, "web-1").await;
    }
    for _ in 0..10 {
        knock(&admin, "token", &token, &name).await;
    }
    for number in 0..30 {
        // Made up, each another one.
        knock(&admin, "secret", &format!("mes_{number}"), "web-1").await;
    }
    let refused =
        async |admin: &Client| found(admin, "action=agent.enroll&outcome=refused&order=oldest").await;
    let at_once = refused(&admin).await;
    let names: Vec<_> = at_once.iter().map(|record| record["names"]["hostname"]["name"].clone()).collect();
    assert_eq!(names, [json!("web-1"), json!("w".repeat(64)), Value::Null], "{at_once:?}");
    let metrics = admin.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).unwrap();
    let counted = r#"muster_refusals_total{action="agent.enroll",reason="token_used"} 30"#;
    assert!(metrics.contains(counted), "{metrics}");

    server.stop();
    server.start_again();
    let admin = Client::bearer(&server, &server.api_token(&["audit.read"], None));
    let all = refused(&admin).await;
    let mut counts: Vec<_> =
        all[3..].iter().map(|record| text(&record["detail"], "repeats").parse::<u32>().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [9, 19, 29], "{all:?}");
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_of_a_revoked_token_and_of_a_junk_session_leave_a_trace() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let body = json!({"name": "tool", "permissions": ["agent.read"]});
    let made = admin.post("/v1/api-tokens", &body).await.expect(201);
    let program = Client::bearer(&server, &text(&made, "token"));
    program.get("/v1/hosts").await.expect(200);
    assert_eq!(admin.delete(&format!("/v1/api-tokens/{}", text(&made, "id"))).await.status, 204);
    for _ in 0..20 {
        program.get("/v1/hosts").await.refused(401, "unauthenticated");
    }
    let used = found(&admin, "action=api_token.use").await;
    assert_eq!(used.len(), 1, "{used:?}");
    assert_eq!((&used[0]["target"], &used[0]["reason"]), (&made["id"], &json!("unknown_token")));
    assert_eq!(used[0]["source"], "127.0.0.1");

    for junk in ["x".repeat(4_000), "a".repeat(52)] {
        let browser = Client::nobody(&server).with_cookie(&junk);
        browser.get("/v1/hosts").await.refused(401, "unauthenticated");
    }
    let used = found(&admin, "action=session.use").await;
    assert_eq!(used.len(), 1, "{used:?}");
    assert!(used[0].to_string().len() < 1_000, "{used:?}");
    // Nobody at all is no cause for alarm.
    Client::nobody(&server).get("/v1/hosts").await.refused(401, "unauthenticated");
    assert_eq!(found(&admin, "outcome=refused").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_outcome_name_actor_action_and_time() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let host = host_with_facts(&admin, &json!({"hostname": "web-17.example.org"})).await;
    admin.act(&format!("/v1/hosts/{}/decommission", host.host_id())).await.expect(200);
    Client::nobody(&server)
        .try_sign_in("admin", "not the password at all")
        .await
        .refused(401, "unauthenticated");
    let (_, used_up) = secret(&admin, "", &json!({"name": "fleet", "max_uses": 1})).await;
    let csr = Key::p256().csr();
    admin.http.post(ENROLL, &json!({"secret": used_up, "csr": csr.pem})).await.expect(201);
    knock(&admin, "secret", &used_up, "late-1").await;

    let actions = async |query: &str| -> Vec<String> {
        found(&admin, query).await.iter().map(|record| text(record, "action")).collect()
    };
    assert_eq!(actions("q=WEB-17").await, ["host.decommission", "agent.enroll"]);
    assert_eq!(actions("q=refused").await, ["agent.enroll", "session.create"]);
    assert_eq!(actions("outcome=refused&q=late-1").await, ["agent.enroll"]);
    assert_eq!(actions("actor=user:admin&action=host.decommission").await, ["host.decommission"]);
    assert!(actions("actor=user:adm").await.is_empty(), "an actor is named as a whole");
    let at = text(&found(&admin, "action=host.decommission").await[0], "at");
    assert!(!actions(&format!("from={at}")).await.contains(&"tenant.create".to_owned()));
    assert!(actions(&format!("from={at}")).await.contains(&"host.decommission".to_owned()));
    assert!(!actions(&format!("until={at}")).await.contains(&"host.decommission".to_owned()));
    assert!(actions(&format!("until={at}")).await.contains(&"join_token.mint".to_owned()));
    for wrong in ["outcome=maybe", "from=yesterday", "until="] {
        admin.get(&format!("/v1/audit?{wrong}")).await.refused(400, "bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_hosts_name_is_gone_and_the_chain_still_holds() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let host = host_with_facts(&admin, &json!({"hostname": "secretive-7"})).await;
    let kept = host_with_facts(&admin, &json!({"hostname": "kept-8"})).await;
    let renewed = host.rotate(&admin.http).await;
    admin.act(&format!("/v1/hosts/{}/decommission", host.host_id())).await.expect(200);
    let named = found(&admin, &format!("q={}", host.host_id())).await;
    let names = |records: &[Value]| {
        records.iter().filter(|record| record["names"]["hostname"]["name"] == "secretive-7").count()
    };
    assert_eq!(names(&named), 3, "enrolled, rotated and decommissioned: {named:?}");
    let export = server.room().join("before.jsonl");
    server.cli(&["audit", "export", export.to_str().unwrap()]).run().ok();

    assert_eq!(admin.delete(&format!("/v1/hosts/{}", host.host_id())).await.status, 204);
    assert!(found(&admin, "q=secretive-7").await.is_empty());
    let left = found(&admin, &format!("q={}", renewed.serial())).await;
    assert_eq!(left[0]["names"]["hostname"]["salt"], Value::Null, "{left:?}");
    assert_eq!(left[0]["hash"], named[1]["hash"], "the record is the same one");
    assert_eq!(found(&admin, "q=kept-8").await.len(), 1);
    server.cli(&["audit", "verify"]).run().ok();
    let after = server.room().join("after.jsonl");
    server.cli(&["audit", "export", after.to_str().unwrap()]).run().ok();
    for export in [&export, &after] {
        server.cli(&["audit", "verify", export.to_str().unwrap()]).run().ok();
    }
    assert!(!std::fs::read_to_string(&after).unwrap().contains("secretive-7"));
    assert_eq!(admin.get(&format!("/v1/hosts/{}", kept.host_id())).await.status, 200);
    server.stop();
    server.cli(&["check"]).run().well();
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exported_trail_is_verified_anywhere() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    host_with_facts(&admin, &json!({"hostname": "web-1"})).await;
    for number in 0..5 {
        admin.post("/v1/tenants", &json!({"name": format!("Tenant {number}")})).await.expect(201);
    }
    let export = server.cli(&["audit", "export", "-"]).run().ok().stdout;
    let lines: Vec<&str> = export.lines().collect();
    let file = server.room().join("trail.jsonl");
    // Without a server: somewhere else, with no data directory.
    let elsewhere = tempfile::tempdir().unwrap();
    let verify = |text: &str, json: &[&str]| {
        std::fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let args = [&["audit", "verify", file.to_str().unwrap()], json].concat();
        let nowhere = elsewhere.path().join("none");
        Cli::new(elsewhere.path(), &args).env("MUSTER_DATA_DIR", nowhere.to_str().unwrap()).run()
    };
    let whole = verify(&export, &["--json"]).json();
    assert_eq!((&whole["records"], &whole["intact"]), (&json!(lines.len()), &json!(true)));
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    assert_eq!(
        verify(&joined(&lines[..3]), &["--json"]).json()["records"],
        3,
        "a part from the beginning holds together"
    );

    let enrolled = lines.iter().position(|line| line.contains("web-1")).unwrap();
    let changed = |from: &str, to: &str| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        assert!(lines[enrolled].contains(from), "{}", lines[enrolled]);
        lines[enrolled] = lines[enrolled].replacen(from, to, 1);
        lines.iter().map(|line| format!("{line}\n")).collect::<String>()
    };
    let cases = [
        ("an action", changed("agent.enroll", "agent.enrolL")),
        ("a name", changed("web-1", "web-2")),
        ("an added field", changed("{\"action\"", "{\"note\":\"x\",\"action\"")),
        ("no record", changed("{", "")),
        ("a line taken out", joined(&[&lines[..enrolled], &lines[enrolled + 1..]].concat())),
        ("a line twice", joined(&[&lines[..enrolled], &lines[enrolled - 1..]].concat())),
    ];
    for (case, text) in cases {
        let refused = verify(&text, &[]).failed();
        let place = format!("at record {}", enrolled + 1);
        assert!(refused.stderr.contains(&place), "{case}: {place}: {refused}");
    }
    let missing = server.cli(&["audit", "verify", "/nonexistent.jsonl"]).run().failed();
    assert!(missing.stderr.contains("/nonexistent.jsonl"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_one_tenant_see_their_own_numbers_and_no_hashes() {
    let server = Server::quickstart();
    let [ours, theirs] = [server.tenant("ours"), server.tenant("theirs")];
    server.add_user("ours", "admin", Some(&ours));
    let admin = Client::admin(&server).await;
    let us = Client::sign_in(&server, "ours@ours", PASSWORD).await;
    let mut events = Stream::open(&us, "/v1/events").await;
    let first = secret(&us, "", &json!({"name": "one"})).await.0;
    let before = events.wait_for("secret").await;
    assert_eq!(before.data["secret_id"], json!(first));
    let seen = found(&us, "").await;
    for _ in 0..7 {
        secret(&admin, &format!("?tenant={theirs}"), &json!({"name": "theirs"})).await;
    }
    secret(&us, "", &json!({"name": "two"})).await;
    let now = found(&us, "").await;
    let seqs: Vec<_> = now.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).rev().collect::<Vec<_>>(), "{now:?}");
    assert_eq!(now.len(), seen.len() + 1);
    assert!(now.iter().all(|record| record["hash"].is_null() && record["prev_hash"].is_null()), "{now:?}");
    let number = |id: &str| id.rsplit_once('-').unwrap().1.parse::<u64>().unwrap();
    let after = events.wait_for("secret").await;
    assert_eq!(number(&after.id.unwrap()), number(&before.id.unwrap()) + 1);
    // Page by page it is the same.
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page = us.get(&format!("/v1/audit?limit=2&order=oldest{next}")).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    paged.reverse();
    assert_eq!(paged, now);
    let verified = us.get("/v1/audit/verify").await.expect(200);
    assert_eq!((&verified["records"], &verified["intact"]), (&json!(now.len()), &json!(true)));
    // Those who see all tenants see the chain, of one tenant too.
    let chosen = found(&admin, &format!("tenant={ours}")).await;
    assert_eq!(chosen.len(), now.len());
    assert!(chosen.iter().all(|record| record["hash"].is_string()), "{chosen:?}");
    assert!(chosen[0]["seq"].as_u64().unwrap() > now[0]["seq"].as_u64().unwrap());
    // An export of a tenant would prove nothing.
    let token = server.api_token(&["audit.read"], Some(&ours));
    let refused = server
        .cli(&["audit", "export", "-"])
        .env("MUSTER_SERVER", &server.hello.url)
        .env("MUSTER_API_TOKEN", &token)
        .env("MUSTER_SERVER_CA", server.file("tls/ca.crt").to_str().unwrap())
        .run()
        .failed();
    assert!(refused.stderr.contains("belongs to no tenant"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_a_line_of_the_log() {
    let server = Server::quickstart_with(&[("MUSTER_LOG_FORMAT", "json")]);
    let admin = Client::admin(&server).await;
    let made = admin.post("/v1/enrollment-secrets", &json!({"name": "fleet"})).await.expect(201);
    let records = found(&admin, "").await;
    let log = server.log();
    let lines: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "audit" || line["message"] == "audit record")
        .collect();
    for record in &records {
        let line = lines.iter().find(|line| line["seq"] == record["seq"]);
        let line = line.unwrap_or_else(|| panic!("{record} is not in {log}"));
        for field in ["actor", "source", "action", "outcome", "hash"] {
            assert_eq!(line[field], record[field], "{line}");
        }
    }
    let told = lines.iter().find(|line| line["action"] == "enrollment_secret.create").unwrap();
    assert!(told.to_string().contains(&text(&made, "id")), "{told}");
    assert!(!log.contains(&text(&made, "secret")) && !log.contains(PASSWORD));
}
