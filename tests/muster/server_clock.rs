//! The server's wall clock steps, stands at the edge of a second, and comes back: what expires does so by that clock
//! alone, and nothing else happens.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::fleet::{mint, named_host};
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::{Identity, ROTATE, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::PATIENCE;

const SECOND: SignedDuration = SignedDuration::from_secs(1);
const MILLISECOND: SignedDuration = SignedDuration::from_millis(1);

fn moment(rfc3339: &str) -> Timestamp {
    rfc3339.parse().unwrap_or_else(|e| panic!("{rfc3339}: {e}"))
}

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_through_its_last_second() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let http = server.http();
    let identity = Identity::enroll(&server, "web-1").await;
    let peer = identity.peer(&server);
    let last = moment(&identity.field("not_after"));
    assert_eq!(last.subsec_nanosecond(), 0);

    clock.stand_still_at(last - SECOND);
    let mut open = peer.connect().await.unwrap();
    open.heartbeat().await.unwrap();
    for now in [last - SECOND, last, last + SECOND - MILLISECOND] {
        clock.stand_still_at(now);
        open.heartbeat().await.unwrap();
        peer.reports().await.unwrap();
        let next = identity.rotate(&http).await;
        // A lifetime ends before the second in which it would be over.
        let lifetime = moment(&next.field("not_after")).duration_since(now);
        assert!((hours(24) - SECOND - SECOND..=hours(24)).contains(&lifetime), "at {now}: {lifetime}");
    }
    clock.stand_still_at(last + SECOND);
    http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(401, "svid_expired");
    open.heartbeat().await.unwrap_err();
    peer.assert_refused().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_with_the_millisecond_it_names() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let admin = Client::admin(&server).await;
    clock.stand_still_at(Timestamp::now());
    let mut tokens = Vec::new();
    for _ in 0..4 {
        let minted = admin.post("/v1/agents/enroll-tokens", &json!({})).await.expect(201);
        tokens.push((text(&minted, "token"), moment(&text(&minted, "expires_at"))));
    }
    for ((token, expiry), (off, admitted)) in tokens.into_iter().zip([
        (-SECOND, true),
        (-MILLISECOND, true),
        (SignedDuration::ZERO, false),
        (SECOND, false),
    ]) {
        clock.stand_still_at(expiry + off);
        let answer = present_token(&admin.http, &token, &Key::p256().csr()).await;
        if admitted {
            answer.expect(201);
        } else {
            answer.refused(401, "token_expired");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_certificate_outlives_the_intermediate() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let last = server.intermediate_not_after();
    // Nobody's session lasts for a year.
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));

    clock.stand_still_at(last - hours(10));
    let token = mint(&operator, "", &json!({})).await;
    let identity = Identity::with_token(&operator.http, &token).await;
    assert_eq!(moment(&identity.field("not_after")), last);
    let token = mint(&operator, "", &json!({})).await;
    clock.stand_still_at(last + SECOND);
    let token_of_now = mint(&operator, "", &json!({})).await;
    let csr = Key::p256().csr();
    present_token(&operator.http, &token_of_now, &csr).await.refused(503, "ca_unavailable");
    clock.stand_still_at(last - hours(10));
    present_token(&operator.http, &token, &csr).await.expect(201);
}

/// The host that uses the time when the clock is ahead.
const LATE: &str = "web-4";

/// What a step of the clock must leave as it was.
fn on_record(server: &Server) -> Vec<Value> {
    let stable = |mut host: Value| {
        // Presence is judged by the clock.
        let fields = host.as_object_mut().unwrap();
        fields.retain(|name, _| !matches!(name.as_str(), "status" | "last_seen_at"));
        host
    };
    server.hosts().into_iter().filter(|host| host["agent_id"] != LATE).map(stable).collect()
}

fn restart(server: &mut Server) {
    server.stop();
    server.start_again();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_ahead_everything_has_expired_and_back_again_it_has_not() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&clock.env());
    let operator = Client::bearer(&server, &server.api_token(&["agent.write"], None));
    let identity = named_host(&operator, "", "web-1").await;
    let revoked = named_host(&operator, "", "web-2").await;
    identity.peer(&server).reports().await.unwrap();
    server.revoke("web-2");
    let superseded = named_host(&operator, "", "web-3").await;
    let successor = named_host(&operator, "", "web-3").await;
    let late = named_host(&operator, "", LATE).await;
    let token = mint(&operator, "", &json!({})).await;
    let before = on_record(&server);

    clock.set_off(hours(30 * 24));
    let http = server.http();
    // A clock that jumps looks like a server that was away, which excuses whose certificates have expired meanwhile.
    http.post(ROTATE, &late.rotation(&Key::p256())).await.expect(200);
    identity.peer(&server).assert_refused().await;
    present_token(&http, &token, &Key::p256().csr()).await.refused(401, "token_expired");
    http.post(ROTATE, &revoked.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    assert_eq!(http.get("/readyz").await.status, 200);
    // A start clears away what has expired for long enough.
    restart(&mut server);
    identity.peer(&server).assert_refused().await;
    revoked.peer(&server).assert_refused().await;
    assert!(!server.log().contains("panicked"), "{}", server.log());

    clock.set_off(SignedDuration::ZERO);
    revoked.assert_out(&server).await;
    server.stop();
    let stolen = Hierarchy::stolen(&server);
    server.start_again();
    assert_eq!(on_record(&server), before);
    revoked.assert_out(&server).await;
    // Its serial is on record as revoked, and on no other list any more.
    superseded.peer(&server).assert_refused().await;
    server.http().post(ROTATE, &superseded.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    successor.peer(&server).reports().await.unwrap();
    // What was recorded octet for octet is now known by its key.
    let mut forged = Identity { key: Key::p256(), answer: identity.answer.clone() };
    forged.answer["certificate"] = json!(stolen.imitate(&identity, &forged.key));
    forged.peer(&server).assert_refused().await;
    let http = server.http();
    present_token(&http, &token, &Key::p256().csr()).await.expect(201);
    server.cli(&["audit", "verify"]).run().ok();
    assert!(!server.log().contains("panicked"), "{}", server.log());
    identity.peer(&server).reports().await.unwrap();
    identity.rotate(&http).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_clock_ends_no_session_whose_certificate_is_valid() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let identity = Identity::enroll(&server, "web-1").await;
    let mut session = identity.peer(&server).connect().await.unwrap().session().await.unwrap();
    let mut open = identity.peer(&server).connect().await.unwrap();
    for off in [hours(23), hours(-24), hours(0)] {
        clock.set_off(off);
        session.report().await;
        session.next(PATIENCE).await.unwrap().expect("the session goes on");
        let told = open.heartbeat().await.unwrap().server_time_ms;
        let now = (Timestamp::now() + off).as_millisecond();
        assert!((told - now).abs() < 60_000, "{off}: the server's clock says {told}, not {now}");
    }
    clock.set_off(hours(25));
    assert_eq!(open.heartbeat().await.unwrap_err().code(), Code::Unauthenticated);
    session.report().await;
    assert_eq!(session.end(PATIENCE).await.unwrap_err().code(), Code::Unauthenticated);
    identity.peer(&server).assert_refused().await;
    clock.set_off(hours(0));
    identity.peer(&server).reports().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_keeps_its_order_when_the_clock_steps_back() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let http = server.http();
    clock.set_off(hours(48));
    let ahead = Identity::enroll(&server, "ahead").await;
    clock.set_off(hours(24));
    let back = Identity::enroll(&server, "back").await;
    let difference = moment(&ahead.field("not_after")).duration_since(moment(&back.field("not_after")));
    assert!((difference - hours(24)).abs() < SignedDuration::from_mins(1), "{difference}");
    let enrolled = server.audit("agent.enroll");
    let told = |key: &str| enrolled.iter().map(|record| record[key].clone()).collect::<Vec<_>>();
    assert_eq!(told("target"), [back.host_id(), ahead.host_id()], "the newest comes first");
    assert!(enrolled[0]["at"].as_str() < enrolled[1]["at"].as_str(), "{enrolled:?}");
    server.cli(&["audit", "verify"]).run().ok();

    // A certificate begins 5 minutes before its issue, and may begin 5 minutes from now, because clocks step back a
    // little.
    let issued = Timestamp::from_second(moment(&ahead.field("issued_at")).as_second()).unwrap();
    for (early, code) in [(601, Some("bad_chain")), (600, None)] {
        clock.stand_still_at(issued - SignedDuration::from_secs(early));
        let answer = http.post(ROTATE, &ahead.rotation(&Key::p256())).await;
        match code {
            Some(code) => drop(answer.refused(401, code)),
            None => drop(answer.expect(200)),
        }
    }
}
