//! Hosts by the handful, made through the API as an operator and the machines would make them.

use serde_json::{Value, json};

use super::client::Client;
use super::identity::{ENROLL, Identity, present_secret, present_token};
use super::keys::Key;
use super::server::text;

/// A join token of the tenant that `query` chooses (`""` or `?tenant=…`), with what `body` asks for.
pub async fn mint(operator: &Client, query: &str, body: &Value) -> String {
    let path = format!("/v1/agents/enroll-tokens{query}");
    text(&operator.post(&path, body).await.expect(201), "token")
}

/// A new enrollment secret: its id and its text.
pub async fn secret(admin: &Client, query: &str, body: &Value) -> (String, String) {
    let made = admin.post(&format!("/v1/enrollment-secrets{query}"), body).await.expect(201);
    (text(&made, "id"), text(&made, "secret"))
}

/// A new host that came with a secret.
pub async fn host_by_secret(client: &Client, secret: &str) -> Identity {
    let key = Key::p256();
    let answer = present_secret(&client.http, secret, &key.csr()).await.expect(201);
    Identity { key, answer }
}

/// A host that says these things of itself.
pub async fn host_with_facts(operator: &Client, facts: &Value) -> Identity {
    let token = mint(operator, "", &json!({})).await;
    let key = Key::p256();
    let body = json!({"token": token, "csr": key.csr().pem, "host": facts});
    let answer = operator.http.post(ENROLL, &body).await.expect(201);
    Identity { key, answer }
}

/// Enrolls with a token that names the agent id.
pub async fn named_host(operator: &Client, query: &str, agent: &str) -> Identity {
    let token = mint(operator, query, &json!({"agent_id": agent})).await;
    let key = Key::p256();
    let answer = present_token(&operator.http, &token, &key.csr()).await.expect(201);
    Identity { key, answer }
}
