//! Agents that report as fast as they can: one pace for each identity, and nobody else hears of it.

use std::time::Instant;

use serde_json::json;
use tonic::Code;

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{named_host, secret};
use crate::support::grpc::facts;
use crate::support::server::Server;
use crate::support::stream::Stream;

/// Requests per second that the server allows one identity, and how many at once.
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 40.0;

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_reports_without_end_is_slowed_down_and_others_lose_no_event() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let [loud, quiet] = [server.tenant("loud"), server.tenant("quiet")];
    for (name, tenant) in [("loud", &loud), ("quiet", &quiet)] {
        server.add_user(name, "admin", Some(tenant));
    }
    let us = Client::sign_in(&server, "quiet", PASSWORD).await;
    let mut stream = Stream::open(&us, "/v1/events").await;
    secret(&us, "", &json!({"name": "before"})).await;
    let last = stream.wait_for("secret").await.id.unwrap();
    drop(stream);
    let missed = secret(&us, "", &json!({"name": "missed"})).await.0;

    let agent = named_host(&admin, &format!("?tenant={loud}"), "wild-1").await;
    let them = Client::sign_in(&server, "loud", PASSWORD).await;
    let mut heard = Stream::open(&them, "/v1/events").await;
    let peer = agent.peer(&server);
    let mut connection = peer.connect().await.unwrap();
    let began = Instant::now();
    let mut taken = 0_u32;
    for number in 0..1_200 {
        match connection.report(facts(&format!("wild-{number}"))).await {
            Ok(_) => taken += 1,
            Err(status) if status.code() == Code::ResourceExhausted => {}
            // HTTP/2 gives a connection up on which too much was refused.
            Err(_) => connection = peer.connect().await.unwrap(),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let most = AT_ONCE + PER_SECOND * seconds + 1.0;
    assert!(f64::from(taken) <= most, "{taken} of at most {most}");
    assert!(f64::from(taken) >= AT_ONCE, "{taken}");

    // However often the facts have changed, people were told once a second; the last change is told, too.
    secret(&them, "", &json!({"name": "marker"})).await;
    let mut events = 0_u32;
    while heard.next().await.unwrap().kind != "secret" {
        events += 1;
    }
    assert!(f64::from(events) <= seconds + 5.0, "{events} events in {seconds} s");

    let mut again = Stream::resume(&us, &last).await;
    let next = again.next().await.unwrap();
    assert_eq!((next.kind.as_str(), &next.data["secret_id"]), ("secret", &json!(missed)));
}
