//! Times in which the server did not serve, whatever kept it from that: who ran out then comes back by itself.
//!
//! SVIDs live for ten seconds here, so signs of life are a second apart, and a gap of more than three is an outage.

use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::fleet::mint;
use crate::support::identity::{Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::{self, until_answered};

const SHORT: (&str, &str) = ("MUSTER_SVID_TTL", "10s");

/// Demands that an expired identity rotates, and that the trail calls that recovered.
async fn assert_recovers(server: &Server, identity: &Identity) {
    identity.rotate(&server.http()).await.peer(server).reports().await.unwrap();
    let rotations = server.audit("agent.rotate");
    let recovered = rotations.iter().filter(|record| record["target"] == identity.host_id());
    let recovered = recovered.filter(|record| record["detail"]["recovered"] == "true");
    assert_eq!(recovered.count(), 1, "{rotations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_paused_knows_it() {
    let mut server = Server::quickstart_with(&[SHORT]);
    let identity = Identity::enroll(&server, "web-1").await;
    let revoked = Identity::enroll(&server, "web-2").await;
    server.revoke("web-2");
    server.process().signal(Signal::STOP);
    wait::until_past(&identity.field("not_after")).await;
    server.process().signal(Signal::CONT);
    server.http().post(ROTATE, &revoked.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    assert_recovers(&server, &identity).await;
    // It counts for the lives that ended in it, and for no others.
    let later = Identity::enroll(&server, "web-3").await;
    wait::until_past(&later.field("not_after")).await;
    server.http().post(ROTATE, &later.rotation(&Key::p256())).await.refused(401, "svid_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_outage() {
    let mut server = Server::quickstart_with(&[SHORT]);
    let identity = Identity::enroll(&server, "web-1").await;
    let pid = Pid::from_raw(server.process().id().try_into().unwrap());
    let limit = |current| prlimit(pid, Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
    limit(Some(0));
    wait::until_past(&identity.field("not_after")).await;
    limit(None);
    let http = server.http();
    let key = Key::p256();
    let back = until_answered("there is room again", async || {
        let answer = http.post(ROTATE, &identity.rotation(&key)).await;
        if answer.status == 200 {
            return Some(Identity { key: key.clone(), answer: answer.json() });
        }
        answer.refused(503, "unavailable");
        None
    });
    back.await.peer(&server).reports().await.unwrap();
    let rotations = server.audit("agent.rotate");
    assert!(rotations.iter().any(|record| record["detail"]["recovered"] == "true"), "{rotations:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intermediate_that_has_run_out_is_an_outage() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let last = server.intermediate_not_after();
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));

    clock.set_off(last.duration_since(Timestamp::now()) - SignedDuration::from_hours(1));
    let token = mint(&operator, "", &json!({})).await;
    let identity = Identity::with_token(&operator.http, &token).await;
    assert_eq!(identity.field("not_after"), last.to_string(), "no SVID outlives the intermediate");
    clock.set_off(last.duration_since(Timestamp::now()) + SignedDuration::from_hours(48));
    operator.http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(503, "ca_unavailable");
    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    // The command signs by its own clock, which is the machine's, as the server's is.
    let [(preload, library), (file, place)] = clock.env();
    let renew = server.cli(&["agent-ca", "renew", "--json"]).env(preload, library).env(file, place);
    renew.stdin(&root_key).run().ok();
    assert_recovers(&server, &identity).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_once_ahead_hides_no_outage() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&[&clock.env()[..], &[SHORT]].concat());
    clock.set_off(SignedDuration::from_hours(9 * 24));
    // Signs of life are left under the wrong clock, and outages noted that there never were.
    server.stop();
    server.start_again();
    clock.set_off(SignedDuration::ZERO);
    server.stop();
    server.start_again();
    let identity = Identity::enroll(&server, "web-1").await;
    server.kill();
    wait::until_past(&identity.field("not_after")).await;
    server.start_again();
    assert_recovers(&server, &identity).await;
}
