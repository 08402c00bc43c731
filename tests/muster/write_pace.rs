//! What people and programs may change in a time: a pace for each, quotas, and nothing written when nothing changes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{mint, named_host};
use crate::support::http::Answer;
use crate::support::identity::present_token;
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::until_answered;

/// Changes per second that servers of these tests allow, and how many at once.
const PACE: &str = "5";
const PER_SECOND: f64 = 5.0;
const AT_ONCE: f64 = 100.0;

fn paced() -> Server {
    Server::quickstart_with(&[("MUSTER_WRITE_PACE", PACE)])
}

/// What has been let through of the changes that were made as fast as answers came, by what made them.
#[track_caller]
fn assert_paced(passed: usize, took: Duration) {
    let most = AT_ONCE + PER_SECOND * took.as_secs_f64() + 1.0;
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let passed = passed as f64;
    assert!(passed <= most, "{passed} changes of at most {most}");
    assert!(passed >= AT_ONCE, "{passed} changes; a burst of {AT_ONCE} is allowed");
}

async fn records(admin: &Client, query: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = admin.get(&format!("/v1/audit?limit=500&{query}{cursor}")).await.expect(200);
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_changes_preferences_to_and_fro_is_slowed_down() {
    let server = paced();
    let admin = Client::admin(&server).await;
    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    let began = Instant::now();
    let mut passed = 0;
    let mut throttled = None;
    for number in 0..400 {
        let zone = if number % 2 == 0 { "utc" } else { "local" };
        let answer = viewer.put("/v1/session/preferences", &json!({"time_zone": zone, "clock": "24h"})).await;
        if answer.status == 200 {
            passed += 1;
        } else {
            answer.refused(429, "throttled");
            throttled = Some(answer);
        }
    }
    assert_paced(passed, began.elapsed());
    let wait: u64 = throttled.unwrap().header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(records(&admin, "action=user.preferences").await.len() <= passed);
    // Others, and whoever only looks, notice nothing.
    viewer.get("/v1/hosts").await.expect(200);
    admin.post("/v1/tenants", &json!({"name": "other"})).await.expect(201);
    until_answered("the viewer is heard again", async || {
        let answer =
            viewer.put("/v1/session/preferences", &json!({"time_zone": "utc", "clock": "12h"})).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_mints_without_end_is_slowed_down() {
    let server = paced();
    let program = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    let other = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    let began = Instant::now();
    let mut passed = 0;
    for _ in 0..300 {
        match program.post("/v1/agents/enroll-tokens", &json!({})).await.status {
            201 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert_paced(passed, began.elapsed());
    other.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
    // The local operator owns the disk.
    server.cli(&["enroll-token", "--json"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_changes_something_keeps_the_pace() {
    let server = Server::quickstart_with(&[("MUSTER_WRITE_PACE", "1")]);
    let admin = Client::admin(&server).await;
    let document = admin.get("/openapi.json").await.expect(200);
    let mut tried = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            // Strangers have doors of their own, signing out ends what would be tried, and vouching changes nothing.
            let open = operation["security"] == json!([]);
            let apart = operation["operationId"] == "signOut" || operation["operationId"] == "vouch";
            if method == "get" || open || apart {
                continue;
            }
            let path = path.replace(['{', '}'], "");
            let mut attempts = 0;
            loop {
                let answer = admin.send(&method.to_uppercase(), &path, Some(&json!({}))).await;
                if answer.status == 429 {
                    answer.refused(429, "throttled");
                    break;
                }
                attempts += 1;
                assert!(attempts < 60, "{method} {path} goes on for ever: {answer}");
            }
            assert!(operation["responses"]["429"].is_object(), "{method} {path} does not say so");
            tried += 1;
        }
    }
    assert!(tried >= 14, "{tried}");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_join_tokens_of_a_tenant_are_counted() {
    let server = Server::quickstart_with(&[("MUSTER_MAX_OPEN_JOIN_TOKENS", "3")]);
    let admin = Client::admin(&server).await;
    let refused = async |query: &str| {
        let answer = admin.post(&format!("/v1/agents/enroll-tokens{query}"), &json!({})).await;
        assert!(answer.refused(422, "too_many")["detail"].as_str().unwrap().contains('3'), "{answer}");
    };
    // The first start has minted one.
    let first = mint(&admin, "", &json!({})).await;
    let third = admin.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
    refused("").await;
    let told = server.cli(&["enroll-token"]).run().failed();
    assert!(told.stderr.contains("void some"), "{told}");
    // Another tenant has a count of its own.
    let query = format!("?tenant={}", server.tenant("other"));
    for _ in 0..3 {
        mint(&admin, &query, &json!({})).await;
    }
    refused(&query).await;
    // What is used or void is not open any more.
    present_token(&admin.http, &first, &Key::p256().csr()).await.expect(201);
    mint(&admin, "", &json!({})).await;
    refused("").await;
    admin.delete(&format!("/v1/agents/enroll-tokens/{}", text(&third, "id"))).await.expect(200);
    mint(&admin, "", &json!({})).await;
    refused("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_writes_nothing() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let host = named_host(&admin, "", "web-1").await.host_id();
    let person = server.add_user("viewer", "viewer", None);
    let token = admin.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
    let secret = admin.post("/v1/enrollment-secrets", &json!({"name": "fleet"})).await.expect(201);
    let preferences = json!({"time_zone": "utc", "clock": "12h"});
    let steps: Vec<(&str, String, Option<Value>)> = vec![
        ("PUT", "/v1/session/preferences".to_owned(), Some(preferences)),
        ("PATCH", format!("/v1/users/{person}"), Some(json!({"role": "operator"}))),
        ("PATCH", format!("/v1/users/{person}"), Some(json!({"disabled": true}))),
        ("PATCH", format!("/v1/users/{person}"), Some(json!({"disabled": false}))),
        ("POST", format!("/v1/hosts/{host}/decommission"), None),
        ("POST", format!("/v1/hosts/{host}/re-enable"), None),
        ("POST", "/v1/agents/web-1/revoke".to_owned(), None),
        ("DELETE", format!("/v1/agents/enroll-tokens/{}", text(&token, "id")), None),
        ("POST", format!("/v1/enrollment-secrets/{}/revoke", text(&secret, "id")), None),
    ];
    for (method, path, body) in steps {
        let ask = async || -> Answer { admin.send(method, &path, body.as_ref()).await };
        ask().await.expect(200);
        let after_first = records(&admin, "").await;
        let again = ask().await.expect(200);
        let after_second = records(&admin, "").await;
        assert_eq!(after_second[0], after_first[0], "{method} {path} again is on record: {again}");
    }
    let nothing = admin.patch(&format!("/v1/users/{person}"), &json!({})).await.expect(200);
    assert_eq!(nothing["role"], "operator");
    assert_eq!(records(&admin, "action=user.change").await.len(), 3);
}
