//! Rights by way of those who hold them: nobody comes to more than they have by making, changing or being somebody
//! else, and what was made with a right ends with it.

use serde_json::{Value, json};

use crate::support::client::{Client, PASSWORD};
use crate::support::server::{Server, text};

const OTHER_PASSWORD: &str = "another fine long password";

async fn make(maker: &Client, permissions: &[&str], ttl: Option<u32>) -> Value {
    let body = json!({"name": "made", "permissions": permissions, "ttl_seconds": ttl});
    maker.post("/v1/api-tokens", &body).await.expect(201)
}

fn program(server: &Server, made: &Value) -> Client {
    Client::bearer(server, &text(made, "token"))
}

async fn user_path(admin: &Client, name: &str) -> String {
    let users = admin.items("/v1/users").await;
    format!("/v1/users/{}", text(users.iter().find(|user| user["username"] == name).unwrap(), "id"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_changes_or_takes_over_somebody_mightier() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    server.add_user("operator", "operator", None);
    let admin = Client::admin(&server).await;
    let clerk = program(&server, &make(&admin, &["user.write", "agent.read"], None).await);
    let only = program(&server, &make(&admin, &["user.write"], None).await);
    let operators = ["user.write", "agent.read", "agent.vouch", "agent.write", "audit.read"];
    let chief = program(&server, &make(&admin, &operators, None).await);
    // Everything but to make tenants: less than an administrator of all of them may.
    let most = [
        "agent.read",
        "agent.vouch",
        "agent.write",
        "audit.read",
        "host.write",
        "secret.write",
        "user.write",
        "token.write",
        "webhook.write",
    ];
    let deputy = program(&server, &make(&admin, &most, None).await);

    let mut made = 0;
    for (caller, roles) in [
        (&only, [403, 403, 403]),
        (&clerk, [201, 403, 403]),
        (&chief, [201, 201, 403]),
        (&deputy, [201, 201, 403]),
        (&admin, [201, 201, 201]),
    ] {
        for (role, expected) in ["viewer", "operator", "admin"].into_iter().zip(roles) {
            made += 1;
            let body = json!({"username": format!("made-{made}"), "password": PASSWORD, "role": role});
            let answer = caller.post("/v1/users", &body).await;
            assert_eq!(answer.status, expected, "{role}: {answer}");
            if expected == 403 {
                answer.refused(403, "permission_denied");
            }
        }
    }
    let [of_admin, of_operator, of_viewer] = [
        user_path(&admin, "admin").await,
        user_path(&admin, "operator").await,
        user_path(&admin, "viewer").await,
    ];
    for change in [
        json!({"password": OTHER_PASSWORD}),
        json!({"disabled": true}),
        json!({"disabled": false}),
        json!({"role": "viewer"}),
        json!({}),
    ] {
        for (caller, path) in
            [(&clerk, &of_admin), (&deputy, &of_admin), (&clerk, &of_operator), (&only, &of_viewer)]
        {
            caller.patch(path, &change).await.refused(403, "permission_denied");
        }
    }
    for (caller, path, role) in
        [(&clerk, &of_viewer, "operator"), (&chief, &of_viewer, "admin"), (&deputy, &of_operator, "admin")]
    {
        caller.patch(path, &json!({"role": role})).await.refused(403, "permission_denied");
    }
    Client::admin(&server).await;
    Client::sign_in(&server, "operator", PASSWORD).await;
    clerk.patch(&of_viewer, &json!({"password": OTHER_PASSWORD})).await.expect(200);
    chief.patch(&of_viewer, &json!({"role": "operator"})).await.expect(200);
    let refused = server.audit("permission_denied");
    for action in ["user.create", "user.change"] {
        assert!(refused.iter().any(|record| record["action"] == action), "{action}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_of_one_tenant_is_less_than_one_of_all() {
    let server = Server::quickstart();
    let tenant = server.tenant("acme");
    server.add_user("anna", "admin", Some(&tenant));
    let anna = Client::sign_in(&server, "anna@acme", PASSWORD).await;
    let second = json!({"username": "second", "password": PASSWORD, "role": "admin"});
    anna.post("/v1/users", &second).await.expect(201);
    anna.patch(&user_path(&anna, "second@acme").await, &json!({"password": OTHER_PASSWORD}))
        .await
        .expect(200);
    let admin = Client::admin(&server).await;
    anna.patch(&user_path(&admin, "admin").await, &json!({"password": OTHER_PASSWORD}))
        .await
        .refused(404, "not_found");
    // A token that is confined to the tenant makes nobody who is not.
    let body = json!({"name": "t", "permissions": ["user.write", "agent.read"]});
    let made = admin.post(&format!("/v1/api-tokens?tenant={tenant}"), &body).await.expect(201);
    let person = json!({"username": "third", "password": PASSWORD, "role": "viewer"});
    let third = program(&server, &made).post("/v1/users", &person).await.expect(201);
    assert_eq!((&third["tenant_id"], &third["username"]), (&json!(tenant), &json!("third@acme")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_with_a_token_ends_with_it() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let both = ["token.write", "agent.read"];
    let parent = make(&admin, &both, Some(3_600)).await;
    let child = make(&program(&server, &parent), &both, None).await;
    assert_eq!(child["expires_at"], parent["expires_at"], "it does not claim to outlive its maker");
    assert_eq!((&child["created_with"], &parent["created_with"]), (&parent["id"], &Value::Null));
    let longer = make(&program(&server, &parent), &["agent.read"], Some(7_200)).await;
    assert_eq!(longer["expires_at"], parent["expires_at"]);
    let shorter = make(&program(&server, &parent), &["agent.read"], Some(60)).await;
    assert_ne!(shorter["expires_at"], parent["expires_at"]);
    let grandchild = make(&program(&server, &child), &["agent.read"], None).await;
    program(&server, &grandchild).get("/v1/hosts").await.expect(200);
    let unrelated = make(&admin, &["agent.read"], None).await;

    assert_eq!(admin.delete(&format!("/v1/api-tokens/{}", text(&parent, "id"))).await.status, 204);
    for ended in [&parent, &child, &longer, &shorter, &grandchild] {
        program(&server, ended).get("/v1/hosts").await.refused(401, "unauthenticated");
    }
    program(&server, &unrelated).get("/v1/hosts").await.expect(200);
    let listed = admin.items("/v1/api-tokens").await;
    assert_eq!(listed.iter().map(|token| &token["id"]).collect::<Vec<_>>(), [&unrelated["id"]]);
    assert_eq!(server.audit("api_token.revoke").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_made_with_the_operator_s_token_ends_with_it_too() {
    let server = Server::quickstart();
    let parent = server.api_token(&["token.write", "agent.read"], None);
    let mut makers = vec![Client::bearer(&server, &parent)];
    // What goes back to too many others makes no more.
    for _ in 0..8 {
        let made = make(makers.last().unwrap(), &["token.write", "agent.read"], None).await;
        makers.push(program(&server, &made));
    }
    let last = makers.last().unwrap();
    last.get("/v1/hosts").await.expect(200);
    let body = json!({"name": "one more", "permissions": ["agent.read"]});
    last.post("/v1/api-tokens", &body).await.refused(422, "too_many");
    let admin = Client::admin(&server).await;
    let id = parent.split('_').nth(1).unwrap();
    assert_eq!(admin.delete(&format!("/v1/api-tokens/{id}")).await.status, 204);
    last.get("/v1/hosts").await.refused(401, "unauthenticated");
    assert!(admin.items("/v1/api-tokens").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_somebody_else_sets_ends_sessions_and_tokens() {
    let server = Server::quickstart();
    let id = server.add_user("alice", "admin", None);
    let admin = Client::admin(&server).await;
    let alice = Client::sign_in(&server, "alice", PASSWORD).await;
    let made = make(&alice, &["token.write", "agent.read"], None).await;
    let child = make(&program(&server, &made), &["agent.read"], None).await;
    let others = make(&admin, &["agent.read"], None).await;

    let changed =
        admin.patch(&format!("/v1/users/{id}"), &json!({"password": OTHER_PASSWORD})).await.expect(200);
    let ended: Vec<_> =
        changed["ended_api_tokens"].as_array().unwrap().iter().map(|t| text(t, "id")).collect();
    assert_eq!(ended.len(), 2, "{changed}");
    assert!(ended.contains(&text(&made, "id")) && ended.contains(&text(&child, "id")), "{changed}");
    alice.get("/v1/session").await.refused(401, "unauthenticated");
    for token in [&made, &child] {
        program(&server, token).get("/v1/hosts").await.refused(401, "unauthenticated");
    }
    program(&server, &others).get("/v1/hosts").await.expect(200);

    // The command names them before it asks for the password.
    let alice = Client::sign_in(&server, "alice", OTHER_PASSWORD).await;
    let token = text(&make(&alice, &["agent.read"], None).await, "id");
    let out = server.cli(&["user", "set-password", "alice"]).stdin("").run();
    assert_eq!(out.code, Some(2), "{out}");
    assert!(out.stderr.contains(&format!("{token} ('made') will end")), "{out}");
    assert_eq!(admin.items("/v1/api-tokens").await.len(), 2);
    let out = server.cli(&["user", "set-password", "alice"]).stdin(PASSWORD).run().ok();
    assert!(out.stderr.contains(&format!("{token} ('made') has ended")), "{out}");
    assert_eq!(admin.items("/v1/api-tokens").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_about_a_person_is_not_recorded() {
    let server = Server::quickstart();
    let id = server.add_user("alice", "viewer", None);
    let admin = Client::admin(&server).await;
    let alice = Client::sign_in(&server, "alice", PASSWORD).await;
    for same in [json!({}), json!({"role": "viewer"}), json!({"disabled": false})] {
        admin.patch(&format!("/v1/users/{id}"), &same).await.expect(200);
    }
    alice.get("/v1/session").await.expect(200);
    assert_eq!(server.audit("user.change").len(), 0);
}
