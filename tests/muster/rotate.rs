//! Rotation: an identity that proves itself gets a new certificate, and nothing else does.

use std::path::Path;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use data_encoding::BASE64;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::support::cli::openssl;
use crate::support::files::copy;
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::{Identity, ROTATE, present_secret};
use crate::support::keys::{Csr, Key, pem};
use crate::support::profile::assert_only_what_the_server_decides;
use crate::support::server::{Server, text};
use crate::support::specimens::{self, greedy_request};
use crate::support::wait;

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_keeps_the_id_and_records_a_new_serial() {
    let server = Server::quickstart();
    let old = Identity::enroll(&server, "web-1").await;
    let new = old.rotate(&server.http()).await;
    for same in ["agent_id", "host_id", "tenant_id", "spiffe_id", "trust_bundle", "server_ca", "grpc_addr"] {
        assert_eq!(new.answer[same], old.answer[same], "{same}");
    }
    assert_ne!(new.serial(), old.serial());
    let enrollments = server.enrollments(&old.host_id());
    let via = |serial: &str| enrollments.iter().find(|e| e["serial"] == serial).map(|e| text(e, "via"));
    assert_eq!(via(&old.serial()).as_deref(), Some("token"));
    assert_eq!(via(&new.serial()).as_deref(), Some("rotation"));
    new.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_gets_no_more_than_the_old_identity() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let key = Key::p256();
    let answer = http.post(ROTATE, &identity.rotation(&key)).await.expect(200);
    assert_only_what_the_server_decides(&answer, "a plain request");
    let greedy = greedy_request();
    let answer = http.post(ROTATE, &identity.rotation_of(&greedy)).await.expect(200);
    assert_eq!(answer["spiffe_id"], identity.answer["spiffe_id"]);
    assert_only_what_the_server_decides(&answer, "a greedy request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rotation_again_gives_the_same_certificate() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let key = Key::p256();
    let request = identity.rotation(&key);
    let first = server.http().post(ROTATE, &request).await.expect(200);
    for _ in 0..3 {
        let again = server.http().post(ROTATE, &request).await.expect(200);
        assert_eq!(again["certificate"], first["certificate"]);
    }
    server.kill();
    server.start_again();
    // Another request for the same key is the same rotation.
    let again = server.http().post(ROTATE, &identity.rotation(&key)).await.expect(200);
    assert_eq!(again["serial"], first["serial"]);
    assert_eq!(server.enrollments(&identity.host_id()).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rotations_at_once_leave_rows_that_match_the_answers() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    for _ in 0..5 {
        let known = server.enrollments(&identity.host_id()).len();
        let (one, two) = (identity.rotation(&Key::p256()), identity.rotation(&Key::p256()));
        let (one, two) = tokio::join!(http.post(ROTATE, &one), http.post(ROTATE, &two));
        let granted: Vec<_> = [&one, &two].into_iter().filter(|answer| answer.status == 200).collect();
        assert!(!granted.is_empty(), "{one}\n{two}");
        for refused in [&one, &two].into_iter().filter(|answer| answer.status != 200) {
            assert_eq!(refused.status, 401, "{refused}");
        }
        let enrollments = server.enrollments(&identity.host_id());
        assert_eq!(enrollments.len(), known + granted.len());
        for answer in granted {
            assert!(enrollments.iter().any(|e| e["serial"] == answer.json()["serial"]), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_not_ours_is_bad_chain() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let other = Identity::enroll(&server, "web-2").await;
    let (leaf, intermediate) = (identity.field("certificate"), identity.field("intermediate"));
    let root = identity.field("trust_bundle");

    let foreign = Hierarchy::foreign();
    let imitation = foreign.imitate(&identity, &identity.key);
    // Genuine root, but an intermediate that the server has never made.
    let root_key = KeyPair::from_pem(&std::fs::read_to_string(server.file("root-key.pem")).unwrap()).unwrap();
    let sibling = Hierarchy::below(root.clone(), root_key);
    let sibling_leaf = sibling.imitate(&identity, &identity.key);

    let chains = [
        ("empty", String::new()),
        ("not PEM", "x".to_owned()),
        ("a request", identity.key.csr().pem),
        ("leaf alone", leaf.clone()),
        ("leaf and root", format!("{leaf}{root}")),
        ("reversed", format!("{intermediate}{leaf}")),
        ("two leaves", format!("{leaf}{}", other.field("certificate"))),
        ("the intermediate as leaf", format!("{intermediate}{root}")),
        ("the root as leaf", format!("{root}{root}")),
        ("leaf under a foreign intermediate", format!("{leaf}{}", foreign.intermediate_pem)),
        ("a foreign look-alike", format!("{imitation}{}", foreign.intermediate_pem)),
        ("a foreign leaf under our intermediate", format!("{imitation}{intermediate}")),
        ("a foreign look-alike with its root", {
            format!("{imitation}{}{}", foreign.intermediate_pem, foreign.root_pem)
        }),
        ("a sibling intermediate", format!("{sibling_leaf}{}", sibling.intermediate_pem)),
        ("certificate of no content", pem("CERTIFICATE", &[]) + &intermediate),
        ("garbage in a certificate", pem("CERTIFICATE", &[0x30, 0x82, 0xff, 0xff, 0]) + &intermediate),
    ];
    let csr = Key::p256().csr();
    for (name, chain) in chains {
        let request = json!({"chain": chain, "csr": csr.pem, "proof": identity.key.proof(&csr)});
        let answer = http.post(ROTATE, &request).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_chain"), "{name}: {answer}");
    }
    let endless = format!("{leaf}{}", intermediate.repeat(60));
    let request = json!({"chain": endless, "csr": csr.pem, "proof": identity.key.proof(&csr)});
    let answer = http.post(ROTATE, &request).await;
    assert!(matches!(answer.status, 401 | 413), "{answer}");

    foreign_peers_are_refused(&server, &identity, &foreign, &sibling).await;
    http.post(ROTATE, &identity.rotation_of(&csr)).await.expect(200);
}

/// What rotation refuses, the gRPC listener refuses too.
async fn foreign_peers_are_refused(
    server: &Server,
    identity: &Identity,
    foreign: &Hierarchy,
    sibling: &Hierarchy,
) {
    for hierarchy in [foreign, sibling] {
        let mut imitation = identity.clone();
        imitation.answer["certificate"] = json!(hierarchy.imitate(identity, &identity.key));
        imitation.answer["intermediate"] = json!(hierarchy.intermediate_pem);
        imitation.peer(server).assert_refused().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_by_anything_but_the_current_key_is_bad_proof() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let other = Identity::enroll(&server, "web-2").await;
    let new = Key::p256();
    let csr = new.csr();
    let good = identity.key.sign(&csr.der);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;

    let proofs = [
        ("empty", Vec::new()),
        ("another agent's key", other.key.sign(&csr.der)),
        ("the new key", new.sign(&csr.der)),
        ("over the PEM", identity.key.sign(csr.pem.as_bytes())),
        ("over another request", identity.key.sign(&Key::p256().csr().der)),
        ("over a hash", {
            identity.key.sign(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &csr.der).as_ref())
        }),
        ("one bit off", flipped),
        ("trailing byte", [good.as_slice(), &[0]].concat()),
        ("raw r and s", raw_signature(&identity.key, &csr)),
        ("SHA-384 with P-256", sha384_signature(server.room(), &identity.key, &csr)),
    ];
    for (name, proof) in proofs {
        let request = json!({"chain": identity.chain(), "csr": csr.pem, "proof": BASE64.encode(&proof)});
        let answer = http.post(ROTATE, &request).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_proof"), "{name}: {answer}");
    }
    let swapped = json!({"chain": other.chain(), "csr": csr.pem, "proof": BASE64.encode(&good)});
    http.post(ROTATE, &swapped).await.refused(401, "bad_proof");
    http.post(ROTATE, &identity.rotation_of(&csr)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_needs_a_new_key_in_a_sound_request() {
    let server = Server::quickstart();
    let http = server.http();
    let first = Identity::enroll(&server, "web-1").await;
    let other = Identity::enroll(&server, "web-2").await;
    http.post(ROTATE, &first.rotation(&first.key)).await.refused(400, "bad_csr");
    let second = first.rotate(&http).await;
    http.post(ROTATE, &second.rotation(&first.key)).await.refused(400, "bad_csr");
    http.post(ROTATE, &second.rotation(&other.key)).await.refused(400, "bad_csr");

    for algorithm in [&rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
        http.post(ROTATE, &second.rotation(&Key::of(algorithm))).await.refused(400, "bad_csr");
    }
    for (name, bytes) in specimens::csr("refused") {
        let Ok(csr) = String::from_utf8(bytes) else { continue };
        let proof = BASE64.encode(&second.key.sign(&specimens::content(&csr)));
        let answer = http.post(ROTATE, &json!({"chain": second.chain(), "csr": csr, "proof": proof})).await;
        let expected = match answer.status {
            413 => csr.len() > 32 * 1024,
            // A request that can't be read can't be what was signed.
            400 => answer.code() == "bad_csr",
            401 => answer.code() == "bad_proof",
            _ => false,
        };
        assert!(expected, "{name}: {answer}");
    }
    second.rotate(&http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_another_shape_are_refused() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let good = identity.rotation(&Key::p256());
    let without = |name: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        body
    };
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for body in [
        json!({}),
        json!([]),
        without("chain"),
        without("csr"),
        without("proof"),
        with("proof", json!(1)),
        with("chain", json!(null)),
        with("spiffe_id", json!("spiffe://muster")),
        with("token", json!("mjt_x_y")),
    ] {
        http.post(ROTATE, &body).await.refused(400, "bad_request");
    }
    let answer = http.post(ROTATE, &with("proof", json!("not base64!"))).await;
    assert!(matches!((answer.status, answer.code().as_str()), (400, "bad_request") | (401, "bad_proof")));
    let answer = http.send("POST", ROTATE, Some("text/plain"), good.to_string().into_bytes()).await;
    assert_eq!(answer.status, 415);
    assert_eq!(http.post(ROTATE, &with("csr", json!("x".repeat(70_000)))).await.status, 413);
    assert_eq!(http.get(ROTATE).await.status, 405);
    http.post(ROTATE, &good).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_identity_does_not_rotate() {
    let server = Server::quickstart();
    let http = server.http();
    let first = Identity::enroll(&server, "web-1").await;
    let second = first.rotate(&http).await;
    server.revoke("web-1");
    for identity in [&first, &second] {
        let request = identity.rotation(&Key::p256());
        http.post(ROTATE, &request).await.refused(403, "identity_revoked");
    }
    // Revocation is told only to whoever holds the key.
    let csr = Key::p256().csr();
    let unproven = json!({"chain": second.chain(), "csr": csr.pem, "proof": Key::p256().proof(&csr)});
    http.post(ROTATE, &unproven).await.refused(401, "bad_proof");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_rotations_of_proven_identities_are_no_guesses() {
    let server = Server::quickstart();
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    let request = identity.rotation(&Key::p256());
    for _ in 0..150 {
        http.post(ROTATE, &request).await.refused(403, "identity_revoked");
    }
    let (_, secret) = server.secret(&[]);
    present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_svid_does_not_rotate() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s")]);
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let peer = identity.peer(&server);
    let mut open = peer.connect().await.unwrap();
    open.heartbeat().await.unwrap();
    wait::until_past(&identity.field("not_after")).await;
    http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(401, "svid_expired");
    assert!(open.heartbeat().await.is_err(), "a connection outlived its certificate");
    peer.assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_grace_the_newest_svid_rotates_after_its_expiry() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s"), ("MUSTER_ROTATION_GRACE", "1h")]);
    let http = server.http();
    let first = Identity::enroll(&server, "web-1").await;
    let second = first.rotate(&http).await;
    wait::until_past(&second.field("not_after")).await;
    http.post(ROTATE, &first.rotation(&Key::p256())).await.refused(401, "svid_expired");
    let third = second.rotate(&http).await;
    third.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expired_because_the_server_was_down_is_let_back_in_unless_revoked() {
    let mut server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s")]);
    let lost = Identity::enroll(&server, "web-1").await;
    let revoked = Identity::enroll(&server, "web-2").await;
    server.stop();
    server.revoke("web-2");
    wait::until_past(&revoked.field("not_after")).await;
    server.start_again();
    let http = server.http();
    lost.rotate(&http).await.peer(&server).reports().await.unwrap();
    http.post(ROTATE, &revoked.rotation(&Key::p256())).await.refused(403, "identity_revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_that_the_store_does_not_know_is_unknown() {
    let mut server = Server::quickstart();
    server.stop();
    let yesterday = server.room().join("yesterday");
    copy(&server.data_dir(), &yesterday);
    server.start_again();
    let identity = Identity::enroll(&server, "web-1").await;
    server.stop();
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    copy(&yesterday, &server.data_dir());
    server.start_again();
    let request = identity.rotation(&Key::p256());
    server.http().post(ROTATE, &request).await.refused(401, "unknown_serial");
    identity.peer(&server).assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_svid_still_works_and_marks_a_possible_clone() {
    let server = Server::quickstart();
    let first = Identity::enroll(&server, "web-1").await;
    let second = first.rotate(&server.http()).await;
    first.peer(&server).reports().await.unwrap();
    second.peer(&server).reports().await.unwrap();
    first.peer(&server).reports().await.unwrap();
    wait::until("the host is marked", || {
        let flags = server.host(&first.host_id())["flags"].clone();
        flags.as_array()?.contains(&json!("possible_clone")).then_some(())
    });
    let figures = server.http().get("/metrics").await;
    let figures = String::from_utf8(figures.body).unwrap();
    let line = |text: &str| assert!(figures.lines().any(|line| line == text), "{text} in {figures}");
    line("muster_possible_clones 1");
    line(r#"muster_audit_records_total{action="host.possible_clone",outcome="success",reason=""} 1"#);
    line(r#"muster_audit_records_total{action="agent.rotate",outcome="success",reason=""} 1"#);
    assert!(figures.contains("\nmuster_agent_ca_intermediate_not_after_seconds "), "{figures}");
}

/// The two numbers of a signature side by side, as JOSE writes them.
fn raw_signature(key: &Key, csr: &Csr) -> Vec<u8> {
    let pkcs8 = key.pair().serialized_der();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).unwrap();
    pair.sign(&aws_lc_rs::rand::SystemRandom::new(), &csr.der).unwrap().as_ref().to_vec()
}

/// A sound signature with the hash of another curve.
fn sha384_signature(room: &Path, key: &Key, csr: &Csr) -> Vec<u8> {
    std::fs::write(room.join("signer.pem"), key.pem()).unwrap();
    std::fs::write(room.join("csr.der"), &csr.der).unwrap();
    openssl(room, &["dgst", "-sha384", "-sign", "signer.pem", "-out", "proof.der", "csr.der"]).ok();
    std::fs::read(room.join("proof.der")).unwrap()
}
