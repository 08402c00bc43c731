//! What everybody may do about themselves, whatever their role.

use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD};
use crate::support::server::{Server, text};

const OTHER_PASSWORD: &str = "another fine long password";

async fn change(person: &Client, current: &str, new: &str) -> crate::support::http::Answer {
    person.put("/v1/account/password", &json!({"current": current, "new": new})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_their_own_account() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    let account = viewer.get("/v1/account").await.expect(200);
    assert_eq!((&account["username"], &account["role"]), (&json!("viewer"), &json!("viewer")));
    assert_eq!(account["permissions"], json!(["agent.read"]));
    assert_eq!((&account["tenant_id"], &account["api_tokens"]), (&Value::Null, &json!([])));
    assert!(account.get("password").is_none(), "{account}");

    let admin = Client::admin(&server).await;
    let body = json!({"name": "tool", "permissions": ["agent.read"]});
    let made = admin.post("/v1/api-tokens", &body).await.expect(201);
    let account = admin.get("/v1/account").await.expect(200);
    assert_eq!(account["api_tokens"][0]["id"], made["id"], "{account}");
    let program = Client::bearer(&server, &text(&made, "token"));
    program.get("/v1/account").await.refused(403, "permission_denied");
    Client::nobody(&server).get("/v1/account").await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_changes_their_own_password() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    let [here, elsewhere] = [
        Client::sign_in(&server, "viewer", PASSWORD).await,
        Client::sign_in(&server, "viewer", PASSWORD).await,
    ];
    change(&here, "not the password at all", OTHER_PASSWORD).await.refused(422, "wrong_password");
    change(&here, "", OTHER_PASSWORD).await.refused(422, "wrong_password");
    for bad in ["short", "Password123!", "aaaaaaaaaaaa", "viewer-12345"] {
        change(&here, PASSWORD, bad).await.refused(422, "invalid_password");
    }
    for body in
        [json!({"new": OTHER_PASSWORD}), json!({"current": PASSWORD, "new": OTHER_PASSWORD, "role": "admin"})]
    {
        here.put("/v1/account/password", &body).await.refused(400, "bad_request");
    }
    let foreign = here.clone().with("origin", "https://evil.example");
    change(&foreign, PASSWORD, OTHER_PASSWORD).await.refused(403, "permission_denied");
    elsewhere.get("/v1/session").await.expect(200);

    let answer = change(&here, PASSWORD, OTHER_PASSWORD).await.expect(200);
    assert_eq!(answer, json!({"ended_api_tokens": []}));
    here.get("/v1/session").await.expect(200);
    elsewhere.get("/v1/session").await.refused(401, "unauthenticated");
    let nobody = Client::nobody(&server);
    nobody.try_sign_in("viewer", PASSWORD).await.refused(401, "unauthenticated");
    nobody.try_sign_in("viewer", OTHER_PASSWORD).await.expect(200);
    let records = server.audit("user.change");
    assert!(records.iter().any(|record| record["reason"] == "wrong_password"), "{records:?}");
    assert!(records.iter().any(|r| r["outcome"] == "success" && r["actor"] == "user:viewer"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_s_own_tokens_end_with_the_password_only_when_asked_for() {
    let server = Server::quickstart();
    let password = server.hello.admin_password.clone().unwrap();
    let admin = Client::admin(&server).await;
    let body = json!({"name": "tool", "permissions": ["agent.read"]});
    let made = admin.post("/v1/api-tokens", &body).await.expect(201);
    let program = Client::bearer(&server, &text(&made, "token"));
    change(&admin, &password, OTHER_PASSWORD).await.expect(200);
    program.get("/v1/hosts").await.expect(200);

    let body = json!({"current": OTHER_PASSWORD, "new": PASSWORD, "end_api_tokens": true});
    let answer = admin.put("/v1/account/password", &body).await.expect(200);
    assert_eq!(answer["ended_api_tokens"][0]["id"], made["id"], "{answer}");
    program.get("/v1/hosts").await.refused(401, "unauthenticated");
    assert!(admin.items("/v1/api-tokens").await.is_empty());
    let ended = server.audit("api_token.revoke");
    assert_eq!((ended.len(), &ended[0]["target"]), (1, &made["id"]), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_session_is_no_place_to_guess_the_password() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    let viewer = Client::sign_in(&server, "viewer", PASSWORD).await;
    let mut guesses = 0;
    while change(&viewer, "not the password at all", OTHER_PASSWORD).await.status != 429 {
        guesses += 1;
        assert!(guesses < 100, "nothing stops the guessing");
    }
    change(&viewer, PASSWORD, OTHER_PASSWORD).await.refused(429, "throttled");
    Client::nobody(&server).try_sign_in("viewer", PASSWORD).await.refused(429, "throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_and_ends_their_own_sessions_and_no_other() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    let here = Client::sign_in(&server, "viewer", PASSWORD).await;
    let away = Client::nobody(&server).at_address([127, 0, 0, 9].into());
    let cookie = crate::support::client::session_cookie(&away.try_sign_in("viewer", PASSWORD).await);
    let away = away.with_cookie(&cookie);
    let admin = Client::admin(&server).await;

    let sessions = here.items("/v1/account/sessions").await;
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let current = sessions.iter().find(|session| session["current"] == true).unwrap();
    let other = sessions.iter().find(|session| session["current"] == false).unwrap();
    assert_eq!((&current["address"], &other["address"]), (&json!("127.0.0.1"), &json!("127.0.0.9")));
    assert!(!cookie.contains(&text(other, "id")));
    let page = here.get("/v1/account/sessions?limit=1").await.expect(200);
    let rest = here.items(&format!("/v1/account/sessions?cursor={}", text(&page, "next_cursor"))).await;
    assert_eq!([&page["items"][0], &rest[0]], [&sessions[0], &sessions[1]]);

    let path = format!("/v1/account/sessions/{}", text(other, "id"));
    admin.delete(&path).await.refused(404, "not_found");
    away.get("/v1/session").await.expect(200);
    assert_eq!(here.delete(&path).await.status, 204);
    away.get("/v1/session").await.refused(401, "unauthenticated");
    here.delete(&path).await.refused(404, "not_found");
    for id in ["x", "..", &"0".repeat(32), &"f".repeat(64)] {
        here.delete(&format!("/v1/account/sessions/{id}")).await.refused(404, "not_found");
    }
    assert_eq!(here.delete(&format!("/v1/account/sessions/{}", text(current, "id"))).await.status, 204);
    here.get("/v1/session").await.refused(401, "unauthenticated");
    admin.get("/v1/session").await.expect(200);
}
