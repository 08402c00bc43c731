//! Enrollment over HTTPS: who gets a certificate, who doesn't, and what each of them is told.

use std::sync::Arc;

use rcgen::CertificateParams;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::support::client::Client;
use crate::support::http::Answer;
use crate::support::identity::{ENROLL, Identity, present_secret, present_token};
use crate::support::keys::{Key, certificates, pem};
use crate::support::profile::assert_only_what_the_server_decides;
use crate::support::server::{Server, text};
use crate::support::specimens::{self, greedy_request};
use crate::support::wait;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_admits_the_agent_it_names() {
    let server = Server::quickstart();
    let http = server.http();
    let key = Key::p256();
    let request = json!({
        "token": server.join_token_for("web-1"), "csr": key.csr().pem,
        "host": {"hostname": "web-1.example", "os": "Debian 12", "arch": "x86_64", "ips": ["10.0.0.5"],
                 "machine_id": "m", "agent_version": "0.1.0"},
    });
    let answer = http.post(ENROLL, &request).await.expect(201);

    let tenant = &server.hello.tenant_id;
    assert_eq!(answer["agent_id"], "web-1");
    assert_eq!(answer["tenant_id"], *tenant);
    assert_eq!(answer["spiffe_id"], format!("spiffe://muster/tenant/{tenant}/agent/web-1"));
    assert_eq!(answer["grpc_addr"], server.hello.grpc_addr);
    assert_eq!(answer["server_ca"], server.server_ca());
    for (name, count) in [("certificate", 1), ("intermediate", 1), ("trust_bundle", 1)] {
        assert_eq!(certificates(&text(&answer, name)).len(), count, "{name}");
    }
    let serial = text(&answer, "serial");
    assert!(serial.len() == 32 && serial.bytes().all(|b| b"0123456789abcdef".contains(&b)), "{serial}");

    let host = server.host(&text(&answer, "host_id"));
    assert_eq!(host["agent_id"], "web-1");
    assert_eq!(host["hostname"], "web-1.example");
    assert_eq!(host["ips"], json!(["10.0.0.5"]));
    let enrollments = server.enrollments(&text(&answer, "host_id"));
    assert_eq!(enrollments.len(), 1);
    assert_eq!(enrollments[0]["serial"], serial);
    assert_eq!(enrollments[0]["via"], "token");
    assert_eq!(enrollments[0]["revoked"], false);
    assert!(text(&enrollments[0], "peer").starts_with("127.0.0.1"), "{enrollments:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_a_name_makes_the_agent_id_the_host_id() {
    let server = Server::quickstart();
    let identity = Identity::with_token(&server.http(), &server.join_token(&[])).await;
    assert_eq!(identity.agent_id(), identity.host_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_makes_a_new_host_each_time() {
    let server = Server::quickstart();
    let http = server.http();
    let (id, secret) = server.secret(&[]);
    let mut hosts = Vec::new();
    for _ in 0..3 {
        let answer = present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
        hosts.push(text(&answer, "host_id"));
        assert_eq!(server.enrollments(&text(&answer, "host_id"))[0]["via"], "secret");
    }
    hosts.dedup();
    assert_eq!(hosts.len(), 3);
    assert_eq!(server.uses(&id), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_look_alike() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let (revoked_id, revoked) = server.secret(&[]);
    server.cli(&["secret", "revoke", &revoked_id]).run().ok();
    let (_, exhausted) = server.secret(&["--max-uses", "1"]);
    present_secret(&http, &exhausted, &Key::p256().csr()).await.expect(201);

    let mut told = Vec::new();
    for secret in [&revoked, &exhausted, &other_secret_part(&revoked), &unknown_id(&revoked)] {
        told.push(present_secret(&http, secret, &Key::p256().csr()).await.refused(401, "unauthorized"));
    }
    let trimmed = &token[..token.len() - 1];
    for bad in [other_secret_part(&token), unknown_id(&token), trimmed.to_owned()] {
        told.push(present_token(&http, &bad, &Key::p256().csr()).await.refused(401, "unauthorized"));
    }
    for other in &told[1..] {
        assert_eq!(without_instance(other), without_instance(&told[0]));
    }
    // The guesses have cost the real token nothing.
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_taken_exactly_as_written() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let variants = [
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("\u{feff}{token}"),
        token.to_uppercase(),
        token.replace('_', "%5f"),
        token.strip_prefix("mjt_").unwrap().to_owned(),
    ];
    for variant in variants {
        let answer = present_token(&http, &variant, &Key::p256().csr()).await;
        assert!(matches!(answer.status, 400 | 401), "{variant:?}: {answer}");
    }
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_or_voided_token_says_so_to_whoever_holds_it() {
    let server = Server::quickstart();
    let http = server.http();
    let used = server.join_token(&[]);
    present_token(&http, &used, &Key::p256().csr()).await.expect(201);
    present_token(&http, &used, &Key::p256().csr()).await.refused(401, "token_used");
    present_token(&http, &other_secret_part(&used), &Key::p256().csr()).await.refused(401, "unauthorized");

    let minted = server.cli(&["enroll-token", "--json"]).run().json();
    server.cli(&["enroll-token", "void", &text(&minted, "id")]).run().ok();
    let voided = text(&minted, "token");
    present_token(&http, &voided, &Key::p256().csr()).await.refused(401, "token_voided");
    present_token(&http, &other_secret_part(&voided), &Key::p256().csr()).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_admit_nobody() {
    let server = Server::quickstart();
    let http = server.http();
    let minted = server.cli(&["enroll-token", "--ttl", "60s", "--json"]).run().json();
    let args = ["secret", "create", "--name", "short", "--ttl", "60s", "--json"];
    let secret = server.cli(&args).run().json();
    wait::until_past(&text(&minted, "expires_at")).await;
    wait::until_past(&text(&secret, "expires_at")).await;
    let token = text(&minted, "token");
    present_token(&http, &token, &Key::p256().csr()).await.refused(401, "token_expired");
    present_token(&http, &other_secret_part(&token), &Key::p256().csr()).await.refused(401, "unauthorized");
    let listed = Client::admin(&server).await.items("/v1/enrollment-secrets?state=active").await;
    assert_eq!(listed.len(), 1, "an expired secret is not a revoked one");
    assert_eq!((&listed[0]["id"], &listed[0]["expires_at"]), (&secret["id"], &secret["expires_at"]));
    let secret = text(&secret, "secret");
    present_secret(&http, &secret, &Key::p256().csr()).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_can_be_asked_for_again() {
    let server = Server::quickstart();
    let http = server.http();
    let (token, key) = (server.join_token(&[]), Key::p256());
    let first = present_token(&http, &token, &key.csr()).await.expect(201);
    // ECDSA requests are randomised: the key is what makes a request the same one.
    let again = present_token(&http, &token, &key.csr()).await.expect(201);
    assert_eq!(again["certificate"], first["certificate"]);
    assert_eq!(again["serial"], first["serial"]);
    assert_eq!(server.enrollments(&text(&first, "host_id")).len(), 1);
    assert_eq!(server.hosts().len(), 1);

    let (id, secret) = server.secret(&["--max-uses", "1"]);
    let first = present_secret(&http, &secret, &key.csr()).await;
    assert_eq!((first.status, first.code().as_str()), (400, "bad_csr"), "another identity holds the key");
    let key = Key::p256();
    let first = present_secret(&http, &secret, &key.csr()).await.expect(201);
    let again = present_secret(&http, &secret, &key.csr()).await.expect(201);
    assert_eq!(again["serial"], first["serial"], "even at a full cap");
    assert_eq!(server.uses(&id), 1);
    server.cli(&["secret", "revoke", &id]).run().ok();
    present_secret(&http, &secret, &key.csr()).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_survives_kill_9() {
    let mut server = Server::quickstart();
    let (token, key) = (server.join_token(&[]), Key::p256());
    let first = present_token(&server.http(), &token, &key.csr()).await.expect(201);
    server.kill();
    server.start_again();
    let again = present_token(&server.http(), &token, &key.csr()).await.expect(201);
    assert_eq!(again["certificate"], first["certificate"]);
    present_token(&server.http(), &token, &Key::p256().csr()).await.refused(401, "token_used");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_bring_a_revoked_certificate_back() {
    let server = Server::quickstart();
    let http = server.http();
    let (token, key) = (server.join_token_for("web-1"), Key::p256());
    present_token(&http, &token, &key.csr()).await.expect(201);
    server.revoke("web-1");
    let answer = present_token(&http, &token, &key.csr()).await;
    let told = (answer.status, answer.code());
    assert!(
        told == (401, "token_used".to_owned()) || told == (403, "identity_revoked".to_owned()),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_one_identity() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let token = server.join_token_for("web-2");
    present_token(&http, &token, &identity.key.csr()).await.refused(400, "bad_csr");
    let (id, secret) = server.secret(&[]);
    present_secret(&http, &secret, &identity.key.csr()).await.refused(400, "bad_csr");
    assert_eq!(server.uses(&id), 0);
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_admits_one_of_64_racers() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let answers = race(64, |_| {
        let (http, token) = (http.clone(), token.clone());
        async move { present_token(&http, &token, &Key::p256().csr()).await }
    })
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.refused(401, "token_used");
    }
    let hosts = server.hosts();
    assert_eq!(hosts.len(), 1);
    assert_eq!(server.enrollments(&text(&hosts[0], "id")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_32_times_at_once_is_one_enrollment() {
    let server = Server::quickstart();
    let http = server.http();
    let (token, csr) = (server.join_token(&[]), Key::p256().csr());
    let answers = race(32, |_| {
        let (http, token, csr) = (http.clone(), token.clone(), csr.clone());
        async move { present_token(&http, &token, &csr).await }
    })
    .await;
    let mut serials: Vec<_> = answers.iter().map(|answer| text(&answer.expect(201), "serial")).collect();
    serials.dedup();
    assert_eq!(serials.len(), 1);
    assert_eq!(server.hosts().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capped_secret_admits_its_cap_however_many_race() {
    let server = Server::quickstart();
    let http = server.http();
    for cap in [1, 8] {
        let (id, secret) = server.secret(&["--max-uses", &cap.to_string()]);
        let answers = race(40, |_| {
            let (http, secret) = (http.clone(), secret.clone());
            async move { present_secret(&http, &secret, &Key::p256().csr()).await }
        })
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), cap);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            let told = (answer.status, answer.code());
            assert!(
                told == (401, "unauthorized".to_owned()) || told == (403, "secret_exhausted".to_owned()),
                "{answer}"
            );
        }
        assert_eq!(server.uses(&id), cap as u64);
    }
    assert_eq!(server.hosts().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn voiding_and_redeeming_a_token_have_one_winner() {
    let server = Server::quickstart();
    let http = server.http();
    for _ in 0..8 {
        let minted = server.cli(&["enroll-token", "--json"]).run().json();
        let (id, token) = (text(&minted, "id"), text(&minted, "token"));
        let redeeming = tokio::spawn({
            let http = http.clone();
            async move { present_token(&http, &token, &Key::p256().csr()).await }
        });
        let voided = server.cli(&["enroll-token", "void", &id]).run();
        let redeemed = redeeming.await.unwrap();
        if redeemed.status == 201 {
            assert_eq!(voided.code, Some(1), "voided a used token: {voided}");
        } else {
            redeemed.refused(401, "token_voided");
            voided.ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_known_agent_enrolls_its_host_again() {
    let server = Server::quickstart();
    let http = server.http();
    let first = Identity::enroll(&server, "web-1").await;
    let second = Identity::enroll(&server, "web-1").await;
    assert_eq!(second.host_id(), first.host_id());
    assert_ne!(second.serial(), first.serial());
    let enrollments = server.enrollments(&first.host_id());
    let old = enrollments.iter().find(|e| e["serial"] == first.serial()).unwrap();
    assert_eq!((&old["revoked"], &old["reason"]), (&json!(true), &json!("superseded")));
    first.peer(&server).assert_refused().await;
    second.peer(&server).reports().await.unwrap();
    second.rotate(&http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_ids_are_case_sensitive_and_never_cleaned() {
    let server = Server::quickstart();
    let longest = "a".repeat(64);
    let mut hosts = Vec::new();
    for good in ["A", "a", "web-1", "a.b_c-D", "...", &longest] {
        let identity = Identity::enroll(&server, good).await;
        assert_eq!(identity.agent_id(), good);
        hosts.push(identity.host_id());
    }
    hosts.sort_unstable();
    hosts.dedup();
    assert_eq!(hosts.len(), 6);
    let too_long = "a".repeat(65);
    for bad in ["", ".", "..", "a/b", "a%2fb", "a b", "ä", " a", &too_long] {
        let refused = server.cli(&["enroll-token", "--agent", bad, "--json"]).run();
        assert!(matches!(refused.code, Some(1 | 2)), "{bad:?}: {refused}");
        assert_eq!(refused.stdout, "", "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_shape_are_refused_and_consume_nothing() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let (id, secret) = server.secret(&[]);
    let csr = Key::p256().csr().pem;
    let shapes = [
        json!({}),
        json!([]),
        json!(null),
        json!("x"),
        json!({"csr": csr}),
        json!({"token": token}),
        json!({"token": token, "secret": secret, "csr": csr}),
        json!({"token": null, "secret": null, "csr": csr}),
        json!({"token": [token], "csr": csr}),
        json!({"token": 1, "csr": csr}),
        json!({"token": token, "csr": 1}),
        json!({"token": token, "csr": null}),
        json!({"token": secret, "csr": csr}),
        json!({"secret": token, "csr": csr}),
        json!({"token": token, "csr": csr, "host": "web-1"}),
        json!({"token": token, "csr": csr, "agent_id": "root"}),
        json!({"token": token, "csr": csr, "tenant": "default"}),
        json!({"token": token, "csr": csr, "spiffe_id": "spiffe://muster"}),
        json!({"attestor": "none", "csr": csr}),
    ];
    for shape in shapes {
        http.post(ENROLL, &shape).await.refused(400, "bad_request");
    }
    let quoted = json!(csr).to_string();
    for malformed in [
        String::new(),
        "{".to_owned(),
        "{}{}".to_owned(),
        format!("{{\"token\":\"{token}\",\"token\":\"{token}\",\"csr\":{quoted}}}"),
        format!("{{\"token\":\"{token}\",\"csr\":{quoted},}}"),
        format!("{{\"token\":\"{token}\",\"csr\":{quoted}}} x"),
    ] {
        http.post_text(ENROLL, &malformed).await.refused(400, "bad_request");
    }
    let not_utf8 = [b"{\"token\":\"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
    http.send("POST", ENROLL, Some("application/json"), not_utf8).await.refused(400, "bad_request");

    assert_eq!(server.uses(&id), 0);
    assert!(server.hosts().is_empty());
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn join_tokens_live_from_a_minute_to_a_month() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let mint = async |ttl: Value| admin.post("/v1/agents/enroll-tokens", &json!({"ttl_seconds": ttl})).await;
    for ttl in [0, -1, 1, 59, 30 * 86_400 + 1, 1 << 31, i64::MAX] {
        mint(json!(ttl)).await.refused(422, "invalid_ttl");
    }
    for ttl in [json!(60.5), json!("1h"), json!([]), json!(true)] {
        mint(ttl).await.refused(400, "bad_request");
    }
    for ttl in [60, 30 * 86_400] {
        mint(json!(ttl)).await.expect(201);
    }
    for ttl in ["0s", "59s", "31d", "-1h", "1.5", "soon"] {
        let refused = server.cli(&["enroll-token", &format!("--ttl={ttl}")]).run();
        assert!(matches!(refused.code, Some(1 | 2)) && refused.stdout.is_empty(), "{ttl}: {refused}");
    }
    assert_eq!(admin.items("/v1/agents/enroll-tokens").await.len(), 2 + 1, "and the quickstart's");
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_from_newer_agents_are_ignored() {
    let server = Server::quickstart();
    let request = json!({
        "token": server.join_token(&[]), "csr": Key::p256().csr().pem,
        "host": {"hostname": "web-1", "tpm": {"version": 2}},
    });
    let answer = server.http().post(ENROLL, &request).await.expect(201);
    assert_eq!(server.host(&text(&answer, "host_id"))["hostname"], "web-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_and_mislabelled_bodies_are_refused() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let good = json!({"token": token, "csr": Key::p256().csr().pem});
    let padded = json!({"token": token, "csr": "x".repeat(65 * 1024)});
    assert_eq!(http.post(ENROLL, &padded).await.status, 413);
    for media_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let answer = http.send("POST", ENROLL, media_type, good.to_string().into_bytes()).await;
        assert_eq!(answer.status, 415, "{media_type:?}: {answer}");
    }
    http.post(ENROLL, &good).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_sound_are_bad_csr_and_leave_the_token() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let (id, secret) = server.secret(&[]);
    for (name, bad) in unsound_requests() {
        let answer = http.post(ENROLL, &json!({"token": token, "csr": bad})).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_csr"), "{name}: {answer}");
        let answer = http.post(ENROLL, &json!({"secret": secret, "csr": bad})).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "bad_csr"), "{name}: {answer}");
    }
    assert_eq!(server.uses(&id), 0);
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_is_good_after_every_refused_specimen() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    for (name, bytes) in specimens::csr("refused") {
        let Ok(csr) = String::from_utf8(bytes) else { continue };
        let answer = http.post(ENROLL, &json!({"token": token, "csr": csr})).await;
        let expected = match answer.status {
            // JSON that carries the specimen can outgrow the limit of the body before the limit of the request.
            413 => csr.len() > 48 * 1024,
            400 => answer.code() == "bad_csr",
            _ => false,
        };
        assert!(expected, "{name}: {answer}");
    }
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
    assert_eq!(http.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_good_specimen_is_certified_with_its_own_key() {
    let server = Server::quickstart();
    let http = server.http();
    let (_, secret) = server.secret(&[]);
    for (name, bytes) in specimens::csr("good") {
        let csr = String::from_utf8(bytes).unwrap();
        let answer = http.post(ENROLL, &json!({"secret": secret, "csr": csr})).await;
        assert_eq!(answer.status, 201, "{name}: {answer}");
        assert_only_what_the_server_decides(&answer.json(), &name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_request_asks_for_reaches_the_certificate() {
    let server = Server::quickstart();
    let http = server.http();
    let (_, secret) = server.secret(&[]);
    let mut requests: Vec<(String, String)> = specimens::csr("smuggle")
        .into_iter()
        .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
        .collect();
    requests.push(("greedy".to_owned(), greedy_request().pem));
    for (name, csr) in requests {
        let answer = http.post(ENROLL, &json!({"secret": secret, "csr": csr})).await;
        assert_eq!(answer.status, 201, "{name}: {answer}");
        assert_only_what_the_server_decides(&answer.json(), &name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p384_keys_are_welcome() {
    let server = Server::quickstart();
    let key = Key::p384();
    let answer = present_token(&server.http(), &server.join_token(&[]), &key.csr()).await.expect(201);
    let identity = Identity { key, answer };
    identity.peer(&server).reports().await.unwrap();
    identity.rotate(&server.http()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_guesses_close_the_door_for_guesses_alone() {
    let server = Server::quickstart();
    let http = server.http();
    let wrong = other_secret_part(&server.join_token(&[]));
    let csr = Key::p256().csr();
    let mut guesses = 0;
    let throttled = loop {
        let answer = present_token(&http, &wrong, &csr).await;
        if answer.status == 429 {
            break answer;
        }
        answer.refused(401, "unauthorized");
        guesses += 1;
        assert!(guesses < 200, "nobody stops the guessing");
    };
    assert!(guesses >= 100, "throttled after {guesses} guesses");
    throttled.refused(429, "throttled");
    let wait: u64 = throttled.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait} s");

    let identity = Identity::enroll(&server, "web-1").await;
    identity.rotate(&http).await;
    assert_eq!(http.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_proven_credentials_do_not_count_as_guesses() {
    let server = Server::quickstart();
    let http = server.http();
    let used = server.join_token(&[]);
    present_token(&http, &used, &Key::p256().csr()).await.expect(201);
    let csr = Key::p256().csr();
    for _ in 0..150 {
        present_token(&http, &used, &csr).await.refused(401, "token_used");
    }
    present_token(&http, &other_secret_part(&used), &csr).await.refused(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_not_enrollment() {
    let server = Server::quickstart();
    let http = server.http();
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let answer = http.send(method, ENROLL, None, Vec::new()).await;
        assert_eq!(answer.status, 405, "{method}: {answer}");
        assert_eq!(answer.header("allow"), Some("POST"), "{method}");
    }
}

/// Runs `count` requests that all start at the same moment.
async fn race<F: Future<Output = Answer> + Send + 'static>(
    count: usize,
    request: impl Fn(usize) -> F,
) -> Vec<Answer> {
    let start = Arc::new(Barrier::new(count));
    let mut racers = JoinSet::new();
    for racer in 0..count {
        let (start, request) = (Arc::clone(&start), request(racer));
        racers.spawn(async move {
            start.wait().await;
            request.await
        });
    }
    racers.join_all().await
}

/// The same id with another secret.
fn other_secret_part(credential: &str) -> String {
    let (head, secret) = credential.rsplit_once('_').unwrap();
    let first = if secret.starts_with('a') { 'b' } else { 'a' };
    format!("{head}_{first}{}", &secret[1..])
}

/// The same secret with another id.
fn unknown_id(credential: &str) -> String {
    let mut parts: Vec<_> = credential.split('_').map(str::to_owned).collect();
    let last = if parts[1].ends_with('a') { 'b' } else { 'a' };
    parts[1].pop();
    parts[1].push(last);
    parts.join("_")
}

/// A problem without what tells one occurrence from another.
fn without_instance(problem: &Value) -> Value {
    let mut problem = problem.clone();
    if let Some(fields) = problem.as_object_mut() {
        fields.retain(|name, _| !matches!(name.as_str(), "instance" | "request_id"));
    }
    problem
}

fn unsound_requests() -> Vec<(&'static str, String)> {
    let sound = Key::p256().csr();
    let mut flipped = sound.der.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let trailing = [sound.der.as_slice(), &[0]].concat();
    let label = "CERTIFICATE REQUEST";
    let roomy = CertificateParams::new(vec![format!("{}.example", "a".repeat(50)); 300]).unwrap();
    vec![
        ("empty", String::new()),
        ("not PEM", "x".to_owned()),
        ("no content", pem(label, &[])),
        ("another label", pem("CERTIFICATE", &sound.der)),
        ("a key", Key::p256().pem()),
        ("a key after it", format!("{}{}", sound.pem, Key::p256().pem())),
        ("two requests", format!("{}{}", sound.pem, sound.pem)),
        ("trailing byte", pem(label, &trailing)),
        ("truncated", pem(label, &sound.der[..sound.der.len() - 1])),
        ("signature of another content", pem(label, &flipped)),
        ("P-521", Key::of(&rcgen::PKCS_ECDSA_P521_SHA512).csr().pem),
        ("Ed25519", Key::of(&rcgen::PKCS_ED25519).csr().pem),
        ("RSA", Key::of(&rcgen::PKCS_RSA_SHA256).csr().pem),
        ("over 16 KiB", Key::p256().csr_for(&roomy).pem),
    ]
}
