//! The stream of what happens: live, resumable, and only for those who may see it.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{host_by_secret, named_host, secret};
use crate::support::server::{Server, text};
use crate::support::stream::Stream;
use crate::support::wait::until_answered;

async fn make_secret(admin: &Client) -> String {
    secret(admin, "", &json!({"name": "fleet"})).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_as_it_happens() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut stream = Stream::open(&admin, "/v1/events").await;
    let (id, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
    assert_eq!(stream.wait_for("secret").await.data["secret_id"], json!(id));

    let host = host_by_secret(&admin, &secret).await;
    assert_eq!(stream.wait_for("enrollment").await.data["host_id"], json!(host.host_id()));
    host.peer(&server).reports().await.unwrap();
    assert_eq!(stream.wait_for("host").await.data["host_id"], json!(host.host_id()));

    admin.act(&format!("/v1/agents/{}/revoke", host.agent_id())).await.expect(200);
    assert_eq!(stream.wait_for("revocation").await.data["agent_id"], json!(host.agent_id()));

    let gone = named_host(&admin, "", "web-1").await;
    stream.wait_for("enrollment").await;
    admin.act(&format!("/v1/hosts/{}/decommission", gone.host_id())).await.expect(200);
    assert_eq!(stream.wait_for("revocation").await.data["agent_id"], "web-1");
    admin.act(&format!("/v1/enrollment-secrets/{id}/revoke")).await.expect(200);
    assert_eq!(stream.wait_for("secret").await.data["secret_id"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_goes_on_where_it_left_off() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut stream = Stream::open(&admin, "/v1/events").await;
    make_secret(&admin).await;
    let last = stream.wait_for("secret").await.id.unwrap();
    drop(stream);

    let missed = [make_secret(&admin).await, make_secret(&admin).await];
    let mut again = Stream::resume(&admin, &last).await;
    let live = make_secret(&admin).await;
    for expected in [&missed[0], &missed[1], &live] {
        assert_eq!(again.wait_for("secret").await.data["secret_id"], json!(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_cannot_go_on_is_told_to_look_again() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut stream = Stream::open(&admin, "/v1/events").await;
    make_secret(&admin).await;
    let last = stream.wait_for("secret").await.id.unwrap();
    for unknown in ["1-1", "99999999999999-1", "garbage", "-", "18446744073709551616-0"] {
        let mut again = Stream::resume(&admin, unknown).await;
        assert_eq!(again.next().await.unwrap().kind, "resync", "{unknown}");
        let id = make_secret(&admin).await;
        assert_eq!(again.wait_for("secret").await.data["secret_id"], json!(id), "live from here on");
    }
    server.stop();
    stream.ends().await;
    server.start_again_on_the_same_ports();
    assert_eq!(Stream::resume(&admin, &last).await.next().await.unwrap().kind, "resync");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_hears_of_nothing_but_its_own() {
    let server = Server::quickstart();
    let [ours, theirs] = [server.tenant("ours"), server.tenant("theirs")];
    server.add_user("ours", "admin", Some(&ours));
    let admin = Client::admin(&server).await;
    let us = Client::sign_in(&server, "ours@ours", PASSWORD).await;
    let mut stream = Stream::open(&us, "/v1/events").await;
    let mut chosen = Stream::open(&admin, &format!("/v1/events?tenant={ours}")).await;

    let query = format!("?tenant={theirs}");
    secret(&admin, &query, &json!({"name": "theirs"})).await;
    let host = named_host(&admin, &query, "web-1").await;
    host.peer(&server).reports().await.unwrap();
    admin.act(&format!("/v1/hosts/{}/decommission{query}", host.host_id())).await.expect(200);
    let own = make_secret(&us).await;
    for stream in [&mut stream, &mut chosen] {
        let first = stream.next().await.unwrap();
        assert_eq!((first.kind.as_str(), &first.data["secret_id"]), ("secret", &json!(own)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_right_to_listen() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mut kept = Stream::open(&admin, "/v1/events").await;
    for case in ["sign out", "disable", "demote", "new password", "revoke token", "disable maker"] {
        let name = case.replace(' ', "-");
        let id = server.add_user(&name, "admin", None);
        let person = Client::sign_in(&server, &name, PASSWORD).await;
        let body = json!({"name": "tool", "permissions": ["agent.read", "secret.write"]});
        let made = person.post("/v1/api-tokens", &body).await.expect(201);
        let program = Client::bearer(&server, &text(&made, "token"));
        let listener = if case.contains("token") || case.contains("maker") { &program } else { &person };
        let mut stream = Stream::open(listener, "/v1/events").await;
        make_secret(&admin).await;
        stream.wait_for("secret").await;

        let user = format!("/v1/users/{id}");
        let answer = match case {
            "sign out" => person.delete("/v1/session").await,
            "disable" | "disable maker" => admin.patch(&user, &json!({"disabled": true})).await,
            "demote" => admin.patch(&user, &json!({"role": "viewer"})).await,
            "new password" => admin.patch(&user, &json!({"password": "another fine long one"})).await,
            _ => admin.delete(&format!("/v1/api-tokens/{}", text(&made, "id"))).await,
        };
        assert!([200, 204].contains(&answer.status), "{case}: {answer}");
        stream.ends().await;
    }
    let id = make_secret(&admin).await;
    loop {
        if kept.wait_for("secret").await.data["secret_id"] == json!(id) {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_shows_that_it_lives_and_no_proxy_holds_it_back() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let answer = admin.get("/v1/events").await;
    assert_eq!(answer.header("x-accel-buffering"), Some("no"), "{answer}");
    assert_eq!(answer.header("cache-control"), Some("no-store, no-transform"), "{answer}");
    let mut stream = Stream::open(&admin, "/v1/events").await;
    let first = stream.heartbeat(Duration::from_secs(5)).await;
    assert_eq!((first.id, first.data), (None, json!({"kind": "heartbeat"})));
    // Pages say that a stream is dead after three that did not come, 15 seconds each.
    stream.heartbeat(Duration::from_secs(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_has_a_bounded_number_of_streams() {
    const STREAMS_MAX: usize = 16;
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let token = server.api_token(&["agent.read"], None);
    let program = Client::bearer(&server, &token);
    for holder in [&admin, &program] {
        let mut streams = Vec::new();
        for _ in 0..STREAMS_MAX {
            streams.push(Stream::open(holder, "/v1/events").await);
        }
        holder.get("/v1/events").await.refused(429, "too_many_streams");
        streams.pop();
        let freed = until_answered("a stream that ended gives its place back", async || {
            let answer = holder.get("/v1/events").await;
            (answer.status == 200).then_some(answer)
        });
        freed.await;
    }
    // Another session of the same person has streams of its own.
    let again = Client::admin(&server).await;
    let _stream = Stream::open(&again, "/v1/events").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_of_rows_that_they_may_not_read() {
    let server = Server::quickstart();
    server.add_user("viewer", "viewer", None);
    server.add_user("operator", "operator", None);
    let admin = Client::admin(&server).await;
    let mut streams = Vec::new();
    for name in ["viewer", "operator"] {
        let person = Client::sign_in(&server, name, PASSWORD).await;
        streams.push(Stream::open(&person, "/v1/events").await);
    }
    for permissions in [["agent.read"].as_slice(), &["agent.read", "agent.write", "audit.read"]] {
        let program = Client::bearer(&server, &server.api_token(permissions, None));
        streams.push(Stream::open(&program, "/v1/events").await);
    }
    let mut told = Stream::open(&admin, "/v1/events").await;
    let program = Client::bearer(&server, &server.api_token(&["agent.read", "secret.write"], None));
    let mut also_told = Stream::open(&program, "/v1/events").await;

    let (id, text) = secret(&admin, "", &json!({"name": "fleet"})).await;
    let host = host_by_secret(&admin, &text).await;
    for stream in [&mut told, &mut also_told] {
        assert_eq!(stream.wait_for("secret").await.data["secret_id"], json!(id));
    }
    // Where an enrollment has used a secret, the secret's event came before what comes now.
    admin.act(&format!("/v1/agents/{}/revoke", host.agent_id())).await.expect(200);
    for stream in &mut streams {
        loop {
            let event = stream.next().await.unwrap();
            assert_ne!(event.kind, "secret", "{event:?}");
            if event.kind == "revocation" {
                break;
            }
        }
    }
}
