//! Revocation: at once, everywhere, and for good.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tonic::{Code, Status};

use crate::support::client::Client;
use crate::support::grpc::{Peer, facts};
use crate::support::identity::{Identity, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// How many things are done at a time where many are to be done.
const LANES: usize = 16;
/// Agents that are live at once, and the connections of each: as many as one may have.
const AGENTS: usize = 125;
const SESSIONS_OF_EACH: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_ends_at_once() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let bystander = Identity::enroll(&server, "web-2").await;
    let mut kept = bystander.peer(&server).connect().await.unwrap().session().await.unwrap();
    let mut session = identity.peer(&server).connect().await.unwrap().session().await.unwrap();
    let ended = tokio::spawn(async move { (session.end(PATIENCE).await, Instant::now()) });

    server.revoke("web-1");
    let told = Instant::now();
    let (outcome, at) = ended.await.unwrap();
    assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied);
    assert!(at < told + Duration::from_millis(100), "{:?} after the operator was told", at - told);

    kept.report().await;
    kept.next(PATIENCE).await.unwrap().expect("another agent's session goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_connection_serves_no_further_request() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let mut open = identity.peer(&server).connect().await.unwrap();
    open.heartbeat().await.unwrap();
    server.revoke("web-1");
    // The connection may be closed by now; what it must not do is serve.
    open.heartbeat().await.unwrap_err();
    open.session().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_identity_is_refused_on_resumption() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let peer = identity.peer(&server);
    for _ in 0..3 {
        peer.reports().await.unwrap();
    }
    server.revoke("web-1");
    for _ in 0..3 {
        peer.assert_refused().await;
    }
    identity.peer(&server).assert_refused().await;
    peer.assert_never_resumed();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_certificate_of_the_identity_is_revoked() {
    let server = Server::quickstart();
    let first = Identity::enroll(&server, "web-1").await;
    let second = first.rotate(&server.http()).await;
    server.revoke("web-1");
    let enrollments = server.enrollments(&first.host_id());
    assert_eq!(enrollments.len(), 2);
    for enrollment in &enrollments {
        assert_eq!(enrollment["revoked"], true, "{enrollment}");
        assert!(enrollment["revoked_at"].is_string(), "{enrollment}");
    }
    first.peer(&server).assert_refused().await;
    second.peer(&server).assert_refused().await;
    assert_eq!(server.host(&first.host_id())["status"], "offline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_revoked_agent_is_refused_and_not_consumed() {
    let server = Server::quickstart();
    let http = server.http();
    Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    let token = server.join_token_for("web-1");
    for _ in 0..2 {
        present_token(&http, &token, &Key::p256().csr()).await.refused(403, "identity_revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_survives_kill_9() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.revoke("web-1");
    server.kill();
    server.start_again();
    assert_out(&server, &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_revokes_just_as_well() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.stop();
    server.revoke("web-1");
    server.start_again();
    assert_out(&server, &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_revokes_just_as_well() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.kill();
    server.revoke("web-1");
    server.start_again();
    assert_out(&server, &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_an_unknown_agent_fails_and_says_so() {
    let server = Server::quickstart();
    let tenant = &server.hello.tenant_id;
    let refused = server.cli(&["revoke-agent", "--tenant", tenant, "--agent", "nobody"]).run().failed();
    assert!(refused.stderr.contains("nobody"), "{refused}");
    let nowhere = "00000000-0000-7000-8000-000000000000";
    server.cli(&["revoke-agent", "--tenant", nowhere, "--agent", "web-1"]).run().failed();
}

/// One after another, `LANES` at a time: as many as two processors have use for.
async fn in_lanes<T: Send + 'static, U: Send + 'static, F: Future<Output = U> + Send + 'static>(
    inputs: impl IntoIterator<Item = T>,
    run: impl Fn(T) -> F,
) -> Vec<U> {
    let mut inputs = inputs.into_iter();
    let (mut lanes, mut outputs) = (JoinSet::new(), Vec::new());
    loop {
        while lanes.len() < LANES
            && let Some(input) = inputs.next()
        {
            lanes.spawn(run(input));
        }
        let Some(output) = lanes.join_next().await else { return outputs };
        outputs.push(output.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_live_sessions_end_with_their_revocations() {
    let server = Server::quickstart();
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    let (_, secret) = server.secret(&[]);
    let arrive = |_| {
        let (http, secret) = (operator.http.clone(), secret.clone());
        async move {
            let key = Key::p256();
            let answer = present_secret(&http, &secret, &key.csr()).await.expect(201);
            Identity { key, answer }
        }
    };
    let identities = in_lanes(0..AGENTS, arrive).await;
    let (address, ca) = (server.hello.grpc_addr.clone(), server.server_ca());
    let open = |identity: Identity| {
        let peer = Peer::new(&address, &ca, &identity.chain_der(), identity.key.pair());
        async move {
            let mut sessions = Vec::new();
            for _ in 0..SESSIONS_OF_EACH {
                let mut session = peer.connect().await.unwrap().session().await.unwrap();
                sessions.push(tokio::spawn(async move { (session.end(PATIENCE).await, Instant::now()) }));
            }
            (identity.agent_id(), peer, sessions)
        }
    };
    let live = in_lanes(identities, open).await;

    let revoke = |(agent, peer, sessions): (String, Peer, Vec<JoinHandle<_>>)| {
        let operator = operator.clone();
        async move {
            operator.act(&format!("/v1/agents/{agent}/revoke")).await.expect(200);
            (Instant::now(), peer, sessions)
        }
    };
    let mut revoked = in_lanes(live, revoke).await;
    for (told, _, sessions) in &mut revoked {
        for ended in sessions {
            let (outcome, at): (Result<(), Status>, Instant) = ended.await.unwrap();
            assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied);
            assert!(at < *told + Duration::from_secs(2), "{:?} after the operator was told", at - *told);
        }
    }
    in_lanes(revoked, |(_, peer, _)| async move { peer.assert_refused().await }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_a_certificate_is_refused() {
    let server = Server::quickstart();
    Peer::anonymous(&server.hello.grpc_addr, &server.server_ca()).assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_lands_at_the_certificate_s_host() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let other = Identity::enroll(&server, "web-2").await;
    let mut connection = identity.peer(&server).connect().await.unwrap();
    let answer = connection.report(facts("web-1.example")).await.unwrap();
    assert!(answer.next_interval_ms > 0 && answer.server_time_ms > 0, "{answer:?}");
    let host = server.host(&identity.host_id());
    assert_eq!((&host["hostname"], &host["status"]), (&json!("web-1.example"), &json!("online")));
    assert_eq!(server.host(&other.host_id())["status"], "offline");
}

/// Everything that a revoked identity could try, and what is on record about it.
async fn assert_out(server: &Server, identity: &Identity) {
    identity.assert_out(server).await;
    for enrollment in server.enrollments(&identity.host_id()) {
        assert_eq!(enrollment["revoked"], true, "{enrollment}");
    }
}
