//! A clock that is ahead for a while voids no revocation, whoever revokes, and however the identity came to it.

use jiff::SignedDuration;
use serde_json::json;

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::fleet::{mint, named_host};
use crate::support::identity::{Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::until_answered;

const AHEAD: SignedDuration = SignedDuration::from_hours(9 * 24);

/// Waits until the CRL names these serials. What is revoked meanwhile makes sure that it is made anew.
async fn assert_listed(server: &Server, operator: &Client, identities: &[&Identity]) {
    named_host(operator, "", "makes-a-new-list").await;
    server.revoke("makes-a-new-list");
    until_answered("the list names them", async || {
        let answer = operator.http.get("/agent-ca.crl").await;
        let (_, list) = x509_parser::parse_x509_crl(&answer.body).unwrap();
        let listed: Vec<_> =
            list.iter_revoked_certificates().map(|entry| entry.raw_serial_as_string()).collect();
        let listed: Vec<_> = listed.iter().map(|serial| serial.replace(':', "")).collect();
        identities.iter().all(|identity| listed.contains(&identity.serial())).then_some(())
    })
    .await;
}

async fn assert_dead(server: &Server, identity: &Identity) {
    identity.peer(server).assert_refused().await;
    let answer = server.http().post(ROTATE, &identity.rotation(&Key::p256())).await;
    assert!([401, 403].contains(&answer.status), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_taken_out_under_a_clock_that_is_ahead_stays_out() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let operator = Client::bearer(&server, &server.api_token(&["agent.write", "host.write"], None));
    let mut all = Vec::new();
    for agent in ["decommissioned", "revoked", "superseded", "deleted"] {
        let first = named_host(&operator, "", agent).await;
        let second = first.rotate(&operator.http).await;
        all.extend([first, second]);
    }
    let bystander = named_host(&operator, "", "bystander").await;

    clock.set_off(AHEAD);
    operator.act(&format!("/v1/hosts/{}/decommission", all[0].host_id())).await.expect(200);
    operator.act("/v1/agents/revoked/revoke").await.expect(200);
    let successor = named_host(&operator, "", "superseded").await;
    assert_eq!(operator.delete(&format!("/v1/hosts/{}", all[6].host_id())).await.status, 204);

    clock.set_off(SignedDuration::ZERO);
    for host in [&all[0], &all[2], &all[4]] {
        for row in server.enrollments(&host.host_id()) {
            let expected = row["serial"] != successor.serial();
            assert_eq!(row["revoked"], expected, "{row}");
        }
    }
    assert_listed(&server, &operator, &all.iter().collect::<Vec<_>>()).await;
    for id in [all[0].host_id(), all[2].host_id()] {
        operator.act(&format!("/v1/hosts/{id}/re-enable")).await.expect(200);
    }
    for identity in &all {
        assert_dead(&server, identity).await;
    }
    server.stop();
    server.start_again();
    for identity in &all {
        assert_dead(&server, identity).await;
    }
    bystander.peer(&server).reports().await.unwrap();
    server.cli(&["check"]).run().well();
}

#[tokio::test(flavor = "multi_thread")]
async fn housekeeping_under_a_clock_that_is_ahead_forgets_no_denial_and_no_certificate() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let operator = Client::bearer(&server, &server.api_token(&["agent.write", "host.write"], None));
    let revoked = named_host(&operator, "", "revoked").await;
    let deleted = named_host(&operator, "", "deleted").await;
    let bystander = named_host(&operator, "", "bystander").await;
    operator.act("/v1/agents/revoked/revoke").await.expect(200);
    assert_eq!(operator.delete(&format!("/v1/hosts/{}", deleted.host_id())).await.status, 204);
    // A start clears away what has expired, twice, so that the first has seen it expired before the second.
    clock.set_off(SignedDuration::from_hours(60 * 24));
    for _ in 0..2 {
        server.stop();
        server.start_again();
    }
    clock.set_off(SignedDuration::ZERO);
    server.stop();
    server.start_again();
    assert!(!server.log().contains("OLDER THAN"), "{}", server.log());
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    assert_listed(&server, &operator, &[&revoked, &deleted]).await;
    for identity in [&revoked, &deleted] {
        assert_dead(&server, identity).await;
    }
    server.cli(&["check"]).run().well();
    bystander.peer(&server).reports().await.unwrap();
    // Nobody else may take its key.
    let token = mint(&operator, "", &json!({})).await;
    let csr = bystander.key.csr();
    crate::support::identity::present_token(&operator.http, &token, &csr).await.refused(400, "bad_csr");
}
