//! Renewal over the agent's own connection: the same right as a rotation over HTTPS, proved by the handshake.

use muster::grpc::proto::{RenewRequest, RenewResponse};
use tonic::{Code, Status};

use crate::support::grpc::Connection;
use crate::support::identity::{Identity, ROTATE};
use crate::support::keys::{Csr, Key};
use crate::support::profile::assert_only_what_the_server_decides;
use crate::support::server::{Server, text};
use crate::support::specimens::greedy_request;
use crate::support::wait::until_answered;

async fn renew(connection: &mut Connection, csr: &Csr) -> Result<RenewResponse, Status> {
    let request = RenewRequest { csr: csr.der.clone() };
    connection.client().renew(request).await.map(tonic::Response::into_inner)
}

/// What a refusal is, as HTTP names it.
fn refusal(status: &Status) -> (Code, &str) {
    (status.code(), status.metadata().get("muster-code").map_or("", |code| code.to_str().unwrap()))
}

/// The answer as HTTP would give it.
fn answer(renewed: &RenewResponse) -> serde_json::Value {
    serde_json::json!({
        "agent_id": renewed.agent_id, "host_id": renewed.host_id, "tenant_id": renewed.tenant_id,
        "spiffe_id": renewed.spiffe_id, "certificate": renewed.certificate,
        "intermediate": renewed.intermediate, "trust_bundle": renewed.trust_bundle,
        "server_ca": renewed.server_ca, "grpc_addr": renewed.grpc_addr, "servers": renewed.servers,
        "grpc_addrs": renewed.grpc_addrs, "serial": renewed.serial, "issued_at": renewed.issued_at,
        "not_after": renewed.not_after,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_a_rotation_by_another_way() {
    let server = Server::quickstart();
    let old = Identity::enroll(&server, "web-1").await;
    let mut connection = old.peer(&server).connect().await.unwrap();
    let key = Key::p256();
    let renewed = answer(&renew(&mut connection, &key.csr()).await.unwrap());
    let names = |answer: &serde_json::Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&renewed), names(&old.answer));
    for (name, value) in old.answer.as_object().unwrap() {
        // Times may be of the same second, and by which address of the other listener it comes is not known here.
        if !["issued_at", "not_after", "servers"].contains(&name.as_str()) {
            let changes = ["certificate", "serial"].contains(&name.as_str());
            assert_eq!(renewed[name] != *value, changes, "{name}");
        }
    }
    assert_only_what_the_server_decides(&renewed, "a renewal");
    let new = Identity { key: key.clone(), answer: renewed };
    new.peer(&server).reports().await.unwrap();
    let recorded = server.enrollments(&old.host_id());
    assert!(recorded.iter().any(|e| e["serial"] == *new.serial() && text(e, "via") == "rotation"));
    let trail = server.cli(&["audit", "list", "--json"]).run().ok().stdout;
    assert!(trail.contains("agent.rotate") && trail.contains(&new.serial()));

    // An answer that was lost is given again, over either way, and nothing that is asked for gets in.
    let again = renew(&mut connection, &key.csr()).await.unwrap();
    assert_eq!(again.certificate, new.field("certificate"));
    let by_https = server.http().post(ROTATE, &old.rotation(&key)).await.expect(200);
    assert_eq!(by_https["certificate"], new.answer["certificate"]);
    let mut next = new.peer(&server).connect().await.unwrap();
    let greedy = answer(&renew(&mut next, &greedy_request()).await.unwrap());
    assert_only_what_the_server_decides(&greedy, "a greedy request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_good_request_is_refused_and_recorded() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let csr = |der: Vec<u8>| Csr { der, ..Key::p256().csr() };
    let good = Key::p256().csr().der;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cases = [
        ("nothing", csr(Vec::new())),
        ("rubbish", csr(vec![0x30; 60_000])),
        ("half of one", csr(good[..good.len() / 2].to_vec())),
        ("one and more", csr([&good[..], &[0]].concat())),
        ("a bad signature", csr(flipped)),
        ("PEM", csr(Key::p256().csr().pem.into_bytes())),
        ("the current key", identity.key.csr()),
    ];
    for (name, csr) in &cases {
        let refused = renew(&mut connection, csr).await.unwrap_err();
        assert_eq!(refusal(&refused), (Code::InvalidArgument, "bad_csr"), "{name}: {refused}");
    }
    let refused = renew(&mut connection, &csr(vec![0; 70_000])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert_eq!(server.enrollments(&identity.host_id()).len(), 1);
    let trail = server.cli(&["audit", "list", "--json"]).run().ok().stdout;
    assert!(trail.contains("bad_csr") && trail.contains("key_reused"), "{trail}");
    // The connection is as good as before.
    renew(&mut connection, &Key::p256().csr()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_have_the_pace_of_everything_that_an_agent_says() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let connection = identity.peer(&server).connect().await.unwrap();
    let csr = Csr { der: Vec::new(), ..Key::p256().csr() };
    // What an answer brings first is how many requests may be open at once; a client that does not know has others refused.
    renew(&mut connection.clone(), &csr).await.unwrap_err();
    let mut refused = Vec::new();
    // A busy machine answers a hundred so slowly that the pace lets most of them through; then more are asked.
    until_answered("an agent that asks too often is told so", async || {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (mut connection, csr) = (connection.clone(), csr.clone());
            asking.spawn(async move {
                let refused = renew(&mut connection, &csr).await.unwrap_err();
                refusal(&refused).1.to_owned()
            });
        }
        refused.extend(asking.join_all().await);
        (refused.iter().filter(|refused| *refused == "throttled").count() >= 10).then_some(())
    })
    .await;
    assert!(refused.iter().filter(|refused| *refused == "bad_csr").count() >= 30, "{refused:?}");
    assert!(refused.iter().all(|refused| ["bad_csr", "throttled"].contains(&&**refused)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_renews_who_is_out() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let mut connection = identity.peer(&server).connect().await.unwrap();
    tokio::task::block_in_place(|| server.revoke("web-1"));
    let refused = renew(&mut connection, &Key::p256().csr()).await.unwrap_err();
    // Its connection ends at the same moment.
    let revoked = refusal(&refused) == (Code::PermissionDenied, "identity_revoked");
    assert!(revoked || matches!(refused.code(), Code::Unavailable | Code::Unknown), "{refused}");
    assert_eq!(server.enrollments(&identity.host_id()).len(), 1);

    // A serial that is not the newest gives a clone away, as it does over HTTPS.
    let first = Identity::enroll(&server, "web-2").await;
    let mut of_before = first.peer(&server).connect().await.unwrap();
    let second = first.rotate(&server.http()).await;
    second.peer(&server).reports().await.unwrap();
    renew(&mut of_before, &Key::p256().csr()).await.unwrap();
    let shown = server.cli(&["host", "show", &first.host_id(), "--json"]).run().ok().stdout;
    assert!(shown.contains("possible_clone"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewals_race_over_both_ways_and_the_record_has_every_answer() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let http = server.http();
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let (one, two) = (Key::p256(), Key::p256());
    let rotation = identity.rotation(&one);
    let csr = two.csr();
    let (rotated, renewed) = tokio::join!(http.post(ROTATE, &rotation), renew(&mut connection, &csr));
    let mut granted = Vec::new();
    if rotated.status == 200 {
        granted.push(text(&rotated.json(), "serial"));
    }
    granted.extend(renewed.ok().map(|answer| answer.serial));
    assert!(!granted.is_empty());
    let recorded = server.enrollments(&identity.host_id());
    assert_eq!(recorded.len(), 1 + granted.len());
    for serial in granted {
        assert!(recorded.iter().any(|e| e["serial"] == *serial), "{serial}");
    }
}
