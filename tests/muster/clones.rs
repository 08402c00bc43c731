//! Signs that two machines share one identity, and what becomes of it.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::fleet::named_host;
use crate::support::grpc::facts;
use crate::support::identity::{Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait;

fn is_flagged(server: &Server, identity: &Identity) -> bool {
    server.host(&identity.host_id())["flags"].as_array().unwrap().contains(&json!("possible_clone"))
}

fn signals(server: &Server) -> Vec<Value> {
    server.audit("host.possible_clone").iter().map(|record| record["detail"]["signal"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_live_successor_is_a_sign_of_a_clone() {
    let server = Server::quickstart();
    let http = server.http();
    let first = Identity::enroll(&server, "web-1").await;
    // A thief rotates and stays silent. Asking again for the same key is a retry.
    let thief = Key::p256();
    http.post(ROTATE, &first.rotation(&thief)).await.expect(200);
    http.post(ROTATE, &first.rotation(&thief)).await.expect(200);
    assert!(!is_flagged(&server, &first));
    let owner = first.rotate(&http).await;
    assert!(is_flagged(&server, &first));
    assert_eq!(signals(&server), ["second_successor"]);
    let record = &server.audit("host.possible_clone")[0];
    assert_eq!(record["detail"]["from_serial"], first.serial());
    let admin = Client::admin(&server).await;
    let found = admin.items("/v1/hosts?flag=possible_clone").await;
    assert_eq!(found.len(), 1, "{found:?}");
    let metrics = String::from_utf8(http.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("muster_possible_clones 1"), "{metrics}");
    owner.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_one_after_the_other_are_no_sign_of_a_clone() {
    let server = Server::quickstart();
    let http = server.http();
    let mut identity = Identity::enroll(&server, "web-1").await;
    for _ in 0..3 {
        identity = identity.rotate(&http).await;
        identity.peer(&server).reports().await.unwrap();
    }
    assert!(!is_flagged(&server, &identity));
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_alternate_under_one_serial_are_a_sign_of_a_clone() {
    // What a machine says of itself revokes nobody.
    let server = Server::quickstart_with(&[("MUSTER_CLONE_POLICY", "revoke")]);
    let identity = Identity::enroll(&server, "web-1").await;
    let mut here = identity.peer(&server).connect().await.unwrap();
    let mut there = identity.peer(&server).connect().await.unwrap();
    here.report(facts("web-1")).await.unwrap();
    there.report(facts("laptop")).await.unwrap();
    assert!(!is_flagged(&server, &identity), "a machine may get another name");
    here.report(facts("web-1")).await.unwrap();
    wait::until("it is flagged", || is_flagged(&server, &identity).then_some(()));
    assert_eq!(signals(&server), ["alternating_facts"]);
    here.report(facts("web-1")).await.unwrap();
    assert_eq!(text(&server.host(&identity.host_id()), "state"), "in_service");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_branches_are_revoked_where_that_is_the_policy() {
    let server = Server::quickstart_with(&[("MUSTER_CLONE_POLICY", "revoke")]);
    let admin = Client::admin(&server).await;
    let forked = named_host(&admin, "", "forked").await;
    let thief = forked.rotate(&admin.http).await;
    let owner = admin.http.post(ROTATE, &forked.rotation(&Key::p256())).await;
    owner.refused(403, "identity_revoked");
    for identity in [&forked, &thief] {
        identity.assert_out(&server).await;
    }

    let copied = named_host(&admin, "", "copied").await;
    let next = copied.rotate(&admin.http).await;
    next.peer(&server).reports().await.unwrap();
    // Whoever shows the older one may get in once, and is out with the other at once.
    drop(copied.peer(&server).reports().await);
    let state = || text(&server.host(&copied.host_id()), "state");
    wait::until("it is revoked", || (state() == "revoked").then_some(()));
    for identity in [&copied, &next] {
        identity.assert_out(&server).await;
    }
    for identity in [&forked, &copied] {
        assert!(is_flagged(&server, identity));
    }
    let revoked = server.audit("agent.revoke");
    assert_eq!(revoked.len(), 2, "{revoked:?}");
    assert!(revoked.iter().all(|record| record["actor"] == "muster"), "{revoked:?}");
}
