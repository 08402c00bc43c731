//! Webhooks: told in order and until it has arrived, signed, and never where they may not go.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::cli::python;
use crate::support::client::{Client, PASSWORD};
use crate::support::files::contents;
use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::impostor::certified;
use crate::support::keys::Key;
use crate::support::receiver::{Received, Receiver};
use crate::support::server::{Server, text};
use crate::support::wait::{until, until_answered};

const FINE: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";

/// Adds one as the local operator, who may choose any address; its id and its key.
fn add(server: &Server, args: &[&str]) -> (String, String) {
    let args = [&["webhook", "add", "--json"], args].concat();
    let made = block_in_place(|| server.cli(&args).run().json());
    (text(&made, "id"), text(&made, "secret"))
}

fn listed(server: &Server, id: &str) -> Value {
    let all = block_in_place(|| server.cli(&["webhook", "list", "--json"]).run().items());
    all.into_iter().find(|it| it["id"] == id).unwrap()
}

/// Verifies a message as a receiver does that was written from the specification.
fn assert_signed(message: &Received, key: &str) {
    let key = BASE64.decode(key.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key);
    let [id, at, signature] =
        ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|it| message.header(it));
    let signature = BASE64.decode(signature.strip_prefix("v1,").unwrap().as_bytes()).unwrap();
    let signed = format!("{id}.{at}.{}", message.body);
    aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    let age = jiff::Timestamp::now().as_second() - at.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "{age}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_signed_and_in_its_order() {
    let mut server = Server::quickstart();
    let http = server.http();
    let tls = certified("localhost");
    let receiver = Receiver::at((Ipv4Addr::LOCALHOST, 0).into(), Some(tls.tls), |_| FINE.to_owned()).await;
    let ca = server.room().join("receiver-ca.pem");
    std::fs::write(&ca, &tls.ca_pem).unwrap();
    let url = format!("https://localhost:{}/hooks/a-secret-path?x=1", receiver.address.port());
    let (id, key) = add(&server, &[&url, "--ca-file", ca.to_str().unwrap()]);
    let chat = Receiver::answering(FINE).await;
    let chat_url = format!("http://{}/", chat.address);
    add(&server, &[&chat_url, "--format", "text", "--event", "host.decommissioned"]);

    let tested = block_in_place(|| server.cli(&["webhook", "test", &id]).run().ok());
    assert_eq!(tested.stdout, format!("Webhook {id} works (204).\n"));
    let identity = Identity::enroll(&server, "web-1").await;
    let (secret_id, secret) = block_in_place(|| server.secret(&["--max-uses", "1"]));
    present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
    block_in_place(|| server.cli(&["host", "decommission", "web-1"]).run().ok());
    let other = Identity::enroll(&server, "web-2").await;
    block_in_place(|| server.revoke("web-2"));
    for _ in 0..3 {
        present_secret(&http, &secret, &Key::p256().csr()).await.refused(401, "unauthorized");
    }
    let expected = [
        "webhook.test",
        "host.enrolled",
        "secret.exhausted",
        "host.enrolled",
        "host.decommissioned",
        "host.enrolled",
        "identity.revoked",
        "enrollment.refused",
    ];
    until("everything has arrived", || (receiver.types().len() >= expected.len()).then_some(()));
    let mut types = receiver.types();
    // What one decision comes to has no order of its own.
    types[2..4].sort_by_key(|kind| kind != "secret.exhausted");
    assert_eq!(types, expected, "one refusal a minute, whatever is repeated");
    let received = receiver.received();
    for message in &received {
        assert_signed(message, &key);
        assert!(message.head.starts_with("POST /hooks/a-secret-path?x=1 HTTP/1.1"), "{message:?}");
        assert_eq!(message.header("content-type"), "application/json");
    }
    let of =
        |kind: &str| received.iter().find(|it| it.json()["type"] == kind).unwrap().json()["data"].clone();
    let gone = of("host.decommissioned");
    assert_eq!(gone["host_id"], identity.host_id());
    assert_eq!((&gone["agent_id"], &gone["actor"]), (&json!("web-1"), &json!("local:0")));
    assert_eq!(of("identity.revoked")["host_id"], other.host_id());
    assert_eq!(of("secret.exhausted")["secret_id"], secret_id);
    assert_eq!(of("enrollment.refused")["reason"], "exhausted", "the true reason, as the trail has it");
    let ids: std::collections::BTreeSet<_> =
        received.iter().map(|it| it.header("webhook-id").to_owned()).collect();
    assert_eq!(ids.len(), expected.len());

    until("the chat was told", || (!chat.received().is_empty()).then_some(()));
    assert_eq!(chat.received()[0].json(), json!({"text": "web-1 was decommissioned by local:0."}));
    let shown = listed(&server, &id);
    assert_eq!(
        (&shown["waiting"], &shown["dropped"], &shown["last_status"]),
        (&json!(0), &json!(0), &json!(204))
    );
    server.stop();
    let octets = BASE64.decode(key.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    for (path, content) in contents(&server.data_dir()) {
        for form in
            [octets.clone(), BASE64.encode(&octets).into_bytes(), HEXLOWER.encode(&octets).into_bytes()]
        {
            let there = content.windows(form.len()).any(|part| part == form);
            assert!(!there, "the key lies open in {}", path.display());
        }
    }
    assert!(!server.log().contains("a-secret-path"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_away_has_everything_in_order_also_through_kill_9() {
    let mut server = Server::quickstart();
    let receiver = Receiver::answering(FINE).await;
    let address = receiver.address;
    let (id, key) = add(&server, &[&format!("http://{address}/")]);
    drop(receiver);
    let (a, b) = (Identity::enroll(&server, "a").await, Identity::enroll(&server, "b").await);
    block_in_place(|| server.cli(&["host", "decommission", "b"]).run().ok());
    until("it was tried", || listed(&server, &id)["failing_since"].is_string().then_some(()));
    assert_eq!(listed(&server, &id)["waiting"], 3);
    server.kill();
    server.start_again();
    block_in_place(|| server.cli(&["host", "decommission", "a"]).run().ok());
    // The first of a host is refused for a while; what comes after it waits, and the others do not.
    let refused = std::sync::atomic::AtomicU32::new(0);
    let host = a.host_id();
    let receiver = Receiver::at(address, None, move |message| {
        let its = message.json()["data"]["host_id"] == host;
        if its && refused.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 1 {
            return "HTTP/1.1 422 Unprocessable Content\r\nconnection: close\r\n\r\n".to_owned();
        }
        FINE.to_owned()
    })
    .await;
    until("everything has arrived", || (listed(&server, &id)["waiting"] == 0).then_some(()));
    let told = |identity: &Identity| {
        let its = |message: &Received| message.json()["data"]["host_id"] == identity.host_id();
        let received = receiver.received();
        let kinds = received.iter().filter(|it| its(it)).map(|it| text(&it.json(), "type"));
        kinds.collect::<Vec<_>>()
    };
    assert_eq!(told(&a), ["host.enrolled", "host.enrolled", "host.decommissioned"], "refused once");
    assert_eq!(told(&b), ["host.enrolled", "host.decommissioned"]);
    let received = receiver.received();
    let again: Vec<_> =
        received.iter().filter(|it| it.json()["data"]["host_id"] == a.host_id()).take(2).collect();
    assert_eq!(again[0].header("webhook-id"), again[1].header("webhook-id"), "the same message");
    received.iter().for_each(|message| assert_signed(message, &key));
    assert_eq!(listed(&server, &id)["failing_since"], Value::Null);
}

/// What hostile receivers answer, and what is told of it.
const HOSTILE: &[(&str, &str, Option<u16>)] = &[
    (
        "leads to the metadata service",
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest/meta-data/\r\n\r\n",
        Some(302),
    ),
    (
        "keeps the method on the way there",
        "HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\n\r\n",
        Some(307),
    ),
    ("fails", "HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\nsecret words of the receiver", Some(500)),
    ("is gone", "HTTP/1.1 410 Gone\r\nconnection: close\r\n\r\n", Some(410)),
    (
        "promises ten gigabytes",
        "HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\nsecret words",
        Some(200),
    ),
    (
        "never ends its parts",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\nsecret words",
        Some(200),
    ),
    ("speaks no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", None),
    ("says nothing", "", None),
    ("answers twice", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n", Some(204)),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_receivers_get_nothing_and_keep_nobody_waiting() {
    let server = Server::quickstart();
    // One that takes the connection and never answers.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    add(&server, &[&format!("http://{}/", silent.local_addr().unwrap())]);
    // One whose head never ends.
    let endless = "HTTP/1.1 200 OK\r\n".to_owned() + &"x-a: 1\r\n".repeat(20_000);
    let endless = Receiver::at((Ipv4Addr::LOCALHOST, 0).into(), None, move |_| endless.clone()).await;
    let (endless_id, _) = add(&server, &[&format!("http://{}/", endless.address)]);
    let fine = Receiver::answering(FINE).await;
    add(&server, &[&format!("http://{}/", fine.address)]);
    let before = server.resident_memory();
    let asked = Instant::now();
    for (what, answer, status) in HOSTILE {
        let receiver = Receiver::answering(answer).await;
        let (id, _) = add(&server, &[&format!("http://{}/{}", receiver.address, status.unwrap_or(0))]);
        let tested = block_in_place(|| server.cli(&["webhook", "test", &id]).run());
        let arrived = status.is_some_and(|status| (200..300).contains(&status));
        assert_eq!(tested.code, Some(i32::from(!arrived)), "{what}: {tested}");
        if let Some(status) = status.filter(|_| !arrived) {
            assert!(tested.stderr.contains(&status.to_string()), "{what}: {tested}");
        }
        assert!(!tested.to_string().contains("secret words"), "{what}: {tested}");
        assert_eq!(receiver.received().len(), 1, "{what}");
        block_in_place(|| server.cli(&["webhook", "remove", &id]).run().ok());
    }
    let tested = block_in_place(|| server.cli(&["webhook", "test", &endless_id]).run().failed());
    assert!(tested.stderr.contains("broke"), "{tested}");
    Identity::enroll(&server, "web-1").await;
    until("the others hear of it", || fine.types().contains(&"host.enrolled".to_owned()).then_some(()));
    assert!(asked.elapsed() < Duration::from_secs(30));
    assert!(server.resident_memory() < before + (64 << 20));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_people_send_nothing_inside_and_see_their_own_alone() {
    let server = Server::quickstart();
    let tenant = block_in_place(|| server.tenant("acme"));
    block_in_place(|| server.add_user("eve", "admin", Some("acme")));
    let eve = Client::sign_in(&server, "eve@acme", PASSWORD).await;
    let admin = Client::admin(&server).await;
    let inside = Receiver::answering(FINE).await;
    let port = inside.address.port();
    for url in [
        format!("http://192.0.2.1:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        format!("https://localhost:{port}/"),
        format!("https://a.localhost:{port}/"),
        format!("https://[::1]:{port}/"),
        format!("https://[::ffff:127.0.0.1]:{port}/"),
        format!("https://0.0.0.0:{port}/"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[fe80::1]/".to_owned(),
        "https://user:pw@example.org/".to_owned(),
        "https://example.org\\@127.0.0.1/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1/".to_owned(),
        format!("https://2130706433:{port}/"),
    ] {
        eve.post("/v1/webhooks", &json!({"url": url})).await.refused(422, "invalid_url");
    }
    eve.post("/v1/webhooks", &json!({"url": "https://192.0.2.1/", "events": []}))
        .await
        .refused(422, "invalid_events");
    let unknown = json!({"url": "https://192.0.2.1/", "events": ["host.exploded"]});
    eve.post("/v1/webhooks", &unknown).await.refused(400, "bad_request");
    let bad = json!({"url": "https://192.0.2.1/", "ca_pem": "no certificate"});
    eve.post("/v1/webhooks", &bad).await.refused(422, "invalid_ca");

    let hers = eve.post("/v1/webhooks", &json!({"url": "https://192.0.2.1/"})).await.expect(201);
    assert_eq!(hers["tenant_id"], tenant);
    let all =
        admin.post("/v1/webhooks", &json!({"url": format!("http://{}/", inside.address)})).await.expect(201);
    assert_eq!(eve.items("/v1/webhooks").await.len(), 1);
    assert_eq!(admin.items("/v1/webhooks").await.len(), 2);
    let path = format!("/v1/webhooks/{}", text(&all, "id"));
    eve.delete(&path).await.refused(404, "not_found");
    eve.act(&format!("{path}/test")).await.refused(404, "not_found");
    // Of another tenant's hosts she is told nothing.
    Identity::enroll(&server, "web-1").await;
    until("the other one is told", || (inside.types() == ["host.enrolled"]).then_some(()));
    let waiting = || async { eve.items("/v1/webhooks").await[0]["waiting"].clone() };
    assert_eq!(waiting().await, 0);
    let minted = eve.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
    present_token(&eve.http, &text(&minted, "token"), &Key::p256().csr()).await.expect(201);
    until_answered("she is told of hers", async || (waiting().await == 1).then_some(())).await;
    for _ in 1..20 {
        eve.post("/v1/webhooks", &json!({"url": "https://192.0.2.1/"})).await.expect(201);
    }
    eve.post("/v1/webhooks", &json!({"url": "https://192.0.2.1/"})).await.refused(422, "too_many");
    assert_eq!(
        inside.received().len(),
        2,
        "the deployment's webhook has both, and hers went nowhere near it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_verifier_accepts_a_webhook() {
    let server = Server::quickstart();
    let receiver = Receiver::answering(FINE).await;
    let (id, key) = add(&server, &[&format!("http://{}/", receiver.address)]);
    block_in_place(|| server.cli(&["webhook", "test", &id]).run().ok());
    let message = receiver.received().remove(0);
    let headers: Value = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .map(|name| (name.to_owned(), Value::from(message.header(name))))
        .into_iter()
        .collect::<serde_json::Map<_, _>>()
        .into();
    let verify = |body: &str| {
        python(server.room(), "verify_webhook.py", &[key.as_str(), headers.to_string().as_str(), body])
    };
    block_in_place(|| verify(&message.body).ok());
    let forged = message.body.replace("webhook.test", "host.enrolled");
    assert_ne!(block_in_place(|| verify(&forged)).code, Some(0));
}
