//! A decommissioned machine whose image still holds an enrollment secret is not back at once.

use serde_json::json;

use crate::support::client::Client;
use crate::support::fleet::{mint, secret};
use crate::support::http::Answer;
use crate::support::identity::{ENROLL, Identity};
use crate::support::keys::Key;
use crate::support::server::{Server, text};

const MACHINE: &str = "8f0c2b7a6d5e4f3a9b1c0d2e3f405162";

async fn come(client: &Client, kind: &str, credential: &str, machine: &str) -> Answer {
    let host = json!({"hostname": "web-1", "machine_id": machine});
    let body = json!({kind: credential, "csr": Key::p256().csr().pem, "host": host});
    client.http.post(ENROLL, &body).await
}

async fn decommission(admin: &Client, answer: Answer) -> String {
    let id = text(&answer.expect(201), "host_id");
    admin.act(&format!("/v1/hosts/{id}/decommission")).await.expect(200);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_does_not_let_a_decommissioned_machine_in_again() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (secret_id, secret) = secret(&admin, "", &json!({"name": "image", "max_uses": 5})).await;
    let gone = decommission(&admin, come(&admin, "secret", &secret, MACHINE).await).await;
    for _ in 0..10 {
        come(&admin, "secret", &secret, MACHINE).await.refused(403, "host_decommissioned");
    }
    assert_eq!(server.uses(&secret_id), 1, "no slot is taken");
    let events = admin.items(&format!("/v1/hosts/{gone}/events")).await;
    let attempts: Vec<_> = events.iter().filter(|event| event["kind"] == "enrollment_refused").collect();
    assert!((1..=5).contains(&attempts.len()), "told, and not without end: {events:?}");
    assert_eq!(attempts[0]["detail"]["secret"], secret_id.as_str());
    let refused = server.audit("host_decommissioned");
    assert!(refused.iter().any(|record| record["reason"] == "host_decommissioned"), "{refused:?}");
    let host = admin.get(&format!("/v1/hosts/{gone}")).await.expect(200);
    assert_eq!(host["credential"]["state"], "active");
    assert_eq!(host["credential"]["name"], "image");

    // Another machine, and one that says nothing of itself, come in; a restart changes nothing.
    come(&admin, "secret", &secret, &"0".repeat(31)).await.expect(201);
    come(&admin, "secret", &secret, "uninitialized").await.expect(201);
    let program = server.api_token(&["agent.write"], None);
    server.kill();
    server.start_again();
    let admin = Client::bearer(&server, &program);
    come(&admin, "secret", &secret, MACHINE).await.refused(403, "host_decommissioned");
    let token = mint(&admin, "", &json!({})).await;
    let back = come(&admin, "token", &token, MACHINE).await.expect(201);
    assert_ne!(text(&back, "host_id"), gone);
    // Its machine id is a host's in service now, so it says nothing any more.
    come(&admin, "secret", &secret, MACHINE).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_id_that_two_hosts_had_says_nothing() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (_, secret) = secret(&admin, "", &json!({"name": "image"})).await;
    let both =
        [come(&admin, "secret", &secret, MACHINE).await, come(&admin, "secret", &secret, MACHINE).await];
    for answer in both {
        decommission(&admin, answer).await;
    }
    come(&admin, "secret", &secret, MACHINE).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_lets_decommissioned_machines_in_again_and_an_answer_that_was_lost_is_no_return() {
    let server = Server::quickstart_with(&[("MUSTER_READMIT_DECOMMISSIONED", "true")]);
    let admin = Client::admin(&server).await;
    let (_, secret_text) = secret(&admin, "", &json!({"name": "image"})).await;
    let gone = decommission(&admin, come(&admin, "secret", &secret_text, MACHINE).await).await;
    let answer = come(&admin, "secret", &secret_text, MACHINE).await.expect(201);
    assert_ne!(text(&answer, "host_id"), gone);
    let identity = Identity { key: Key::p256(), answer };
    assert_eq!(text(&server.host(&identity.host_id()), "machine_id"), MACHINE);
}
