//! JWT-SVIDs: signed by the server, fetched and checked through the agent, judged by libraries of others.

use std::time::Duration;

use jiff::SignedDuration;
use muster::grpc::proto::SignJwtRequest;
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tonic::{Code, Status};

use crate::support::agent::Machine;
use crate::support::cli::python;
use crate::support::clock::Clock;
use crate::support::grpc::Connection;
use crate::support::identity::Identity;
use crate::support::served::Served;
use crate::support::server::Server;
use crate::support::wait;

const ISSUER: &str = "https://id.example/muster";

fn alg(token: &str) -> Value {
    let header = data_encoding::BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["alg"].clone()
}

/// What a token says, unchecked.
fn claims(token: &str) -> Value {
    let body = data_encoding::BASE64URL_NOPAD.decode(token.split('.').nth(1).unwrap().as_bytes()).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// The keys of JWT-SVIDs in the SPIFFE bundle, and its sequence.
async fn bundle(server: &Server) -> (Vec<String>, u64) {
    let bundle = server.http().get("/.well-known/spiffe-bundle").await.expect(200);
    let of_jwt = |key: &&Value| key["use"] == "jwt-svid";
    let keys = bundle["keys"].as_array().unwrap().iter().filter(of_jwt);
    let kids = keys.map(|key| key["kid"].as_str().unwrap().to_owned()).collect();
    (kids, bundle["spiffe_sequence"].as_u64().unwrap())
}

/// Waits until the bundle's keys are as they should be.
async fn bundle_with(server: &Server, what: &str, wanted: impl Fn(&[String]) -> bool) -> (Vec<String>, u64) {
    wait::until_answered(what, async || {
        let found = bundle(server).await;
        wanted(&found.0).then_some(found)
    })
    .await
}

#[test]
fn python_s_libraries_believe_a_token_and_the_keys_of_agent_and_server() {
    let served = Served::start(&[("MUSTER_JWT_ISSUER", ISSUER)]);
    let ca = served.machine.file("server-ca.pem");
    let url = served.server.hello.url.trim_end_matches('/');
    let args = [served.socket.to_str().unwrap(), url, ca.to_str().unwrap(), ISSUER];
    let result = python(served.machine.home(), "jwt_svids.py", &args).json();
    let id = served.id();
    let expected = json!({
        "ids": [id], "audience": ["api", "db"], "lives": 300, "issuer": true, "jwks_uri": true,
        "header": ["alg", "kid", "typ"], "same_again": true, "other_audience": "INVALID_ARGUMENT",
        "rubbish": "INVALID_ARGUMENT", "no_audience": "INVALID_ARGUMENT", "no_header": "INVALID_ARGUMENT",
    });
    assert_eq!(result, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_algorithm_s_key_is_made_at_once_and_the_one_before_signs_on() {
    let mut served = tokio::task::block_in_place(|| Served::start(&[("MUSTER_JWT_SVID_ALG", "RS256")]));
    let client = served.client().await;
    let old = client.fetch_jwt_svid(["db"], None).await.unwrap();
    assert_eq!(alg(old.token()), "RS256");
    let mut bundles = client.stream_jwt_bundles().await.unwrap();
    let domain = old.spiffe_id().trust_domain().clone();
    let first = tokio::time::timeout(wait::PATIENCE, bundles.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.get(&domain).unwrap().jwt_authorities().count(), 1);
    let (before, sequence) = bundle(&served.server).await;

    tokio::task::block_in_place(|| served.sign_with("ES256"));
    let (after, grown) = bundle_with(&served.server, "two keys", |kids| kids.len() == 2).await;
    assert!(after[0] == before[0] && grown > sequence, "{before:?} {sequence}, {after:?} {grown}");
    // Another audience is another token. Verifiers that fetch keys once a day don't know the new one yet.
    let new =
        wait::until_answered("the agent is back", async || client.fetch_jwt_svid(["mail"], None).await.ok())
            .await;
    assert_eq!(alg(new.token()), "RS256");
    for (token, audience) in [(&old, "db"), (&new, "mail")] {
        let valid = client.validate_jwt_token(audience, token.token()).await.unwrap();
        assert_eq!(valid.spiffe_id(), old.spiffe_id());
    }

    // Where keys are replaced at once, that a token's key is new tells the agent to ask for the keys.
    tokio::task::block_in_place(|| served.replace_keys());
    let (kids, _) =
        bundle_with(&served.server, "another key alone", |kids| kids.len() == 1 && !after.contains(&kids[0]))
            .await;
    let newest = wait::until_answered("a token of the new key", async || {
        client.fetch_jwt_svid(["web"], None).await.ok().filter(|token| alg(token.token()) == "ES256")
    })
    .await;
    loop {
        let seen = tokio::time::timeout(wait::PATIENCE, bundles.next()).await.unwrap().unwrap().unwrap();
        if seen.get(&domain).unwrap().find_jwt_authority(&kids[0]).is_some() {
            break;
        }
    }
    assert_eq!(client.validate_jwt_token("web", newest.token()).await.unwrap().spiffe_id(), old.spiffe_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_agent_s_token_is_refused_before_it_expires() {
    let served = tokio::task::block_in_place(|| Served::start(&[]));
    let identity = Identity::enroll(&served.server, "web-2").await;
    let mut other = identity.peer(&served.server).connect().await.unwrap();
    let request = SignJwtRequest { audience: vec!["db".to_owned()], ttl_seconds: 0 };
    let token = other.client().sign_jwt(request).await.unwrap().into_inner().svid;
    let client = served.client().await;
    let own = client.fetch_jwt_svid(["db"], None).await.unwrap();
    client.validate_jwt_token("db", &token).await.unwrap();
    tokio::task::block_in_place(|| served.server.revoke("web-2"));
    wait::until_answered("the token is refused", async || {
        client.validate_jwt_token("db", &token).await.err()
    })
    .await;
    client.validate_jwt_token("db", own.token()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_intermediate_takes_the_keys_of_tokens_with_it() {
    let server = Server::quickstart();
    let (before, sequence) = bundle(&server).await;
    let ca = server.cli(&["agent-ca", "show", "--json"]).run().json();
    let of_role = |role: &str| {
        let found = ca["certificates"].as_array().unwrap().iter().find(|it| it["role"] == role).unwrap();
        found["serial"].as_str().unwrap().to_owned()
    };
    let key = server.data_dir().join("root-key.pem");
    let intermediate = of_role("intermediate");
    server
        .cli(&["agent-ca", "revoke-intermediate", &intermediate, "--root-key", key.to_str().unwrap()])
        .run()
        .ok();
    let others = |kids: &[String]| !kids.is_empty() && kids.iter().all(|kid| !before.contains(kid));
    let (_, later) = bundle_with(&server, "other keys", others).await;
    assert!(later > sequence, "{later}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_checks_tokens_with_the_keys_it_kept() {
    let mut served = tokio::task::block_in_place(|| Served::start(&[]));
    let client = served.client().await;
    let svid = client.fetch_jwt_svid(["db"], None).await.unwrap();
    client.validate_jwt_token("db", svid.token()).await.unwrap();
    tokio::task::block_in_place(|| {
        served.server.stop();
        served.start_agent_again();
    });
    let client = served.client().await;
    wait::until_answered("the agent has its identity", async || client.fetch_x509_svid().await.ok()).await;
    client.validate_jwt_token("db", svid.token()).await.unwrap();
    client.fetch_jwt_bundles().await.unwrap();
    let away = client.fetch_jwt_svid(["db"], None).await.unwrap_err();
    assert!(format!("{away:?}").contains("Unavailable"), "{away:?}");
    assert!(client.validate_jwt_token("api", svid.token()).await.is_err());
}

async fn sign(agent: &mut Connection, audience: &[&str], ttl_seconds: u32) -> Result<Value, Status> {
    let audience = audience.iter().map(|text| (*text).to_owned()).collect();
    let signed = agent.client().sign_jwt(SignJwtRequest { audience, ttl_seconds }).await?.into_inner();
    let claims = claims(&signed.svid);
    assert_eq!(signed.expires_at_ms, claims["exp"].as_i64().unwrap() * 1000);
    Ok(claims)
}

fn code_of(status: &Status) -> (Code, &str) {
    (status.code(), status.metadata().get("muster-code").map_or("", |code| code.to_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_signs_for_whom_it_knows_within_bounds() {
    let server = Server::quickstart_with(&[("MUSTER_JWT_SVID_TTL", "10m")]);
    bundle_with(&server, "a key", |kids| kids.len() == 1).await;
    let identity = Identity::enroll(&server, "web-1").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    let long = "x".repeat(10 * 1024);
    for (what, audience) in [
        ("none", vec![]),
        ("an empty one", vec!["a", ""]),
        ("many", vec!["a"; 9]),
        ("10 kB", vec![long.as_str()]),
        ("a control character", vec!["a\u{0}"]),
        ("a line break", vec!["a\nb"]),
    ] {
        let refused = sign(&mut agent, &audience, 0).await.unwrap_err();
        assert_eq!(code_of(&refused), (Code::InvalidArgument, "bad_request"), "{what}: {refused:?}");
    }
    for (asked, lives) in [(0, 600), (1, 1), (60, 60), (601, 600), (u32::MAX, 600)] {
        let claims = sign(&mut agent, &["db"], asked).await.unwrap();
        let lived = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lived, lives, "{asked}");
        assert_eq!(claims["svid_serial"], identity.serial(), "{claims}");
        assert_eq!((&claims["iss"], &claims["aud"]), (&Value::Null, &json!(["db"])), "{claims}");
    }
    // Its pace is its own: a burst of a hundred, and heartbeats go on.
    let hasty = (0..8).map(|_| {
        let mut client = agent.client().clone();
        tokio::spawn(async move {
            let request = || SignJwtRequest { audience: vec!["db".to_owned()], ttl_seconds: 0 };
            for _ in 0..500 {
                if let Err(refused) = client.sign_jwt(request()).await {
                    return Some(refused);
                }
            }
            None
        })
    });
    for hasty in hasty.collect::<Vec<_>>() {
        let refused = hasty.await.unwrap().unwrap();
        assert_eq!(code_of(&refused), (Code::ResourceExhausted, "throttled"));
    }
    agent.heartbeat().await.unwrap();

    let bystander = Identity::enroll(&server, "web-2").await;
    let mut bystander = bystander.peer(&server).connect().await.unwrap();
    tokio::task::block_in_place(|| server.revoke("web-1"));
    let refused = sign(&mut agent, &["db"], 0).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
    sign(&mut bystander, &["db"], 0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_the_certificate_that_asked() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "60s")]);
    bundle_with(&server, "a key", |kids| kids.len() == 1).await;
    let identity = Identity::enroll(&server, "web-1").await;
    let end: jiff::Timestamp = identity.field("not_after").parse().unwrap();
    let mut agent = identity.peer(&server).connect().await.unwrap();
    let claims = sign(&mut agent, &["db"], 0).await.unwrap();
    assert_eq!(claims["exp"], end.as_second());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_there_is_no_discovery_and_the_bundle_has_the_keys_all_the_same() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["/.well-known/openid-configuration", "/.well-known/jwks.json"] {
        let refused = http.get(path).await.refused(404, "not_found");
        assert!(refused["detail"].as_str().unwrap().contains("MUSTER_JWT_ISSUER"), "{refused}");
    }
    bundle_with(&server, "a key", |kids| kids.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_signs_for_a_week_and_the_next_is_public_a_day_before() {
    let clock = Clock::new();
    let server = tokio::task::block_in_place(|| Server::quickstart_with(&clock.env()));
    let (first, sequence) = bundle_with(&server, "a key", |kids| kids.len() == 1).await;
    clock.set_off(SignedDuration::from_hours(6 * 24 + 1));
    let (both, grown) = bundle_with(&server, "the next key", |kids| kids.len() == 2).await;
    assert!(both[0] == first[0] && grown > sequence, "{first:?}, {both:?}");
    clock.set_off(SignedDuration::from_hours(7 * 24 + 3));
    let (second, grown_again) = bundle_with(&server, "the first key is gone", |kids| kids.len() == 1).await;
    assert!(second[0] == both[1] && grown_again > grown, "{both:?}, {second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_envelope_keeps_the_keys_and_a_restore_makes_others() {
    let mut server = tokio::task::block_in_place(Server::quickstart);
    let (before, _) = bundle_with(&server, "a key", |kids| kids.len() == 1).await;
    let copy = server.room().join("copy");
    tokio::task::block_in_place(|| {
        server.stop();
        server.cli(&["agent-ca", "reseal"]).run().ok();
        server.start_again();
    });
    let identity = Identity::enroll(&server, "web-1").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    wait::until_answered("tokens are signed again", async || sign(&mut agent, &["db"], 0).await.ok()).await;
    let (kept, sequence) = bundle(&server).await;
    assert_eq!(kept, before);
    tokio::task::block_in_place(|| {
        server.cli(&["backup", copy.to_str().unwrap()]).run().ok();
        server.stop();
        std::fs::remove_file(server.store_file()).unwrap();
        server.cli(&["restore", copy.to_str().unwrap()]).run().ok();
        server.start_again();
    });
    let (made, grown) = bundle_with(&server, "another key", |kids| kids.len() == 1).await;
    assert!(made != before && grown > sequence, "{before:?}, {made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_there_is_an_identity_to_give() {
    let served = tokio::task::block_in_place(|| Served::start(&[]));
    let socket = served.socket.clone();
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = tonic::transport::Endpoint::from_static("http://localhost");
    let channel = channel.connect_with_connector(connector).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    for service in ["", "SpiffeWorkloadAPI", "envoy.service.secret.v3.SecretDiscoveryService"] {
        let asked = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(asked).await.unwrap().into_inner();
        assert_eq!(
            answer.status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving,
            "{service}"
        );
    }
    let unknown = tonic_health::pb::HealthCheckRequest { service: "other".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

    // One that runs and is not enrolled yet.
    let machine = Machine::new();
    let enroll = json!({"server": "https://127.0.0.1:9", "ca_pin": served.server.hello.ca_pin});
    let config = machine.configure(&served.server, Some(enroll));
    let waiting = machine.with_workload_api(&config);
    let token = tokio::task::block_in_place(|| served.server.join_token(&[]));
    let agent = machine.run(&config, &[("MUSTER_AGENT_JOIN_TOKEN", &token)]);
    tokio::task::block_in_place(|| agent.wait_for_log("trying again", wait::PATIENCE));
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let socket = waiting.clone();
        async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel =
        tonic::transport::Endpoint::from_static("http://localhost").timeout(Duration::from_secs(20));
    let channel = channel.connect_with_connector(connector).await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let answer = health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::NotServing);
}
