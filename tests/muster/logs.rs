//! Logs: a line for each audit record, one name for a request in every line and refusal, expiries told every day, and no
//! credential, wherever it was put by mistake.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::identity::{Identity, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::until;

/// The lines that are JSON.
fn lines(server: &Server) -> Vec<Value> {
    server.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_audit_record_is_a_line_and_a_request_has_one_name_everywhere() {
    let server = Server::quickstart_with(&[("MUSTER_LOG_FORMAT", "json")]);
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    identity.rotate(&http).await;
    let token = server.join_token(&[]);
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
    let refused = present_token(&http, &token, &Key::p256().csr()).await;
    let problem = refused.refused(401, "token_used");
    let request = text(&problem, "request_id");
    assert_eq!(refused.header("x-request-id"), Some(request.as_str()));
    assert_eq!(request.len(), 16, "{request}");

    let records = server.cli(&["audit", "list", "--json"]).run().items();
    let logged = lines(&server);
    let of = |seq: &Value| logged.iter().find(|line| line["target"] == "audit" && &line["seq"] == seq);
    for record in &records {
        let line = of(&record["seq"]).unwrap_or_else(|| panic!("no line of {record}"));
        for field in ["at", "actor", "source", "action", "outcome", "hash"] {
            assert_eq!(line[field], record[field], "{field}: {line}");
        }
        assert_eq!(line["on"], record["target"], "{line}");
        // What the server does by itself is done for no request.
        let asked = line["source"] != "schedule" && line["source"] != "process";
        assert_eq!(line["request_id"].is_string(), asked, "{line}");
    }
    let refusals: Vec<_> = logged.iter().filter(|line| line["request_id"] == json!(request)).collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(
        (&refusals[0]["action"], &refusals[0]["outcome"]),
        (&json!("agent.enroll"), &json!("refused"))
    );
    let names: BTreeSet<_> = logged.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert!(names.len() >= 4, "each request has its own: {names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_was_put_in_the_wrong_place_is_in_no_line() {
    let mut server = Server::quickstart_with(&[("MUSTER_LOG", "trace")]);
    let http = server.http();
    let token = server.join_token(&[]);
    let (_, secret) = server.secret(&[]);
    for credential in [&token, &secret] {
        for path in [
            format!("/v1/hosts?token={credential}"),
            format!("/enroll/agent/{credential}"),
            format!("/v1/hosts/{credential}"),
            format!("/v1/{credential}/hosts?q={credential}"),
            format!("/agent-ca/crl/{credential}"),
            format!("/install/{credential}/muster"),
        ] {
            http.get(&path).await;
        }
        for (name, value) in [
            ("authorization", format!("Bearer {credential}")),
            ("authorization", format!("Basic {credential}")),
            ("x-request-id", credential.clone()),
            ("cookie", format!("__Host-muster={credential}")),
            ("x-api-key", credential.clone()),
            ("user-agent", credential.clone()),
            ("x-forwarded-for", credential.clone()),
            ("origin", format!("https://{credential}")),
            ("accept", credential.clone()),
        ] {
            http.exchange("GET", "/v1/hosts", &[(name.to_owned(), value)], Vec::new()).await.unwrap();
        }
        http.post("/v1/session", &json!({"username": credential, "password": "x"})).await;
        http.post("/enroll/agent", &json!({"token": "x", "csr": "x", credential.as_str(): 1})).await;
    }
    server.stop();
    let log = server.log();
    assert!(log.len() > 10_000, "the log was captured");
    for credential in [token, secret] {
        let secret = credential.rsplit_once('_').unwrap().1;
        let line = log.lines().find(|line| line.to_ascii_lowercase().contains(&secret.to_ascii_lowercase()));
        assert_eq!(line, None);
    }
}

#[test]
fn what_expires_is_told_every_day_from_three_months_before() {
    let clock = Clock::new();
    let day = SignedDuration::from_hours(24);
    let server = Server::quickstart_with(&clock.env());
    let told = || {
        let log = server.log();
        let of =
            |code: &str| log.lines().filter(|line| line.contains(code) && line.contains("days_left")).count();
        (of("intermediate_expiry"), of("root_expiry"))
    };
    // A year's intermediate; the times are those of the wall clock and of the monotonic one alike.
    let pass = |days: i32| {
        clock.set_off(day * days);
        clock.has_run_longer(day * days);
    };
    until("it serves", || server.log().contains("serving").then_some(()));
    assert_eq!(told(), (0, 0));
    pass(200);
    pass(276);
    until("the first day", || (told() == (1, 0)).then_some(()));
    pass(277);
    until("the next day", || (told() == (2, 0)).then_some(()));
    assert!(server.log().contains("The agent CA's intermediate expires"), "{}", server.log());
    pass(340);
    until("close to the end", || server.log().contains("EXPIRES SOON").then_some(()));
    assert!(server.log().contains("muster agent-ca renew"));
}
