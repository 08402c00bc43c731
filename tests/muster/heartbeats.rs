//! Agents at the gRPC door: one pace for each identity that reports as fast as it can, and nobody else hears of it; a
//! trace of those that are refused.

use std::time::Instant;

use serde_json::json;
use tonic::Code;

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::{named_host, secret};
use crate::support::grpc::{Peer, facts};
use crate::support::server::Server;
use crate::support::stream::Stream;
use crate::support::wait::PATIENCE;

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
    let us = Client::sign_in(&server, "quiet@quiet", PASSWORD).await;
    let mut stream = Stream::open(&us, "/v1/events").await;
    secret(&us, "", &json!({"name": "before"})).await;
    let last = stream.wait_for("secret").await.id.unwrap();
    drop(stream);
    let missed = secret(&us, "", &json!({"name": "missed"})).await.0;

    let agent = named_host(&admin, &format!("?tenant={loud}"), "wild-1").await;
    let them = Client::sign_in(&server, "loud@loud", PASSWORD).await;
    let mut heard = Stream::open(&them, "/v1/events").await;
    let peer = agent.peer(&server);
    let mut connection = peer.connect().await.unwrap();
    let began = Instant::now();
    let mut taken = 0_u32;
    for number in 0..300 {
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

#[tokio::test(flavor = "multi_thread")]
async fn agents_that_are_refused_at_the_door_show_in_log_and_figures() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let revoked = named_host(&admin, "", "web-1").await;
    admin.act("/v1/agents/web-1/revoke").await.expect(200);
    for _ in 0..5 {
        revoked.peer(&server).assert_refused().await;
        Peer::anonymous(&server.hello.grpc_addr, &server.server_ca()).assert_refused().await;
    }
    let line = |cause: &str| {
        server.wait_for_log(&format!("cause=\"{cause}\""), PATIENCE);
        let log = server.log();
        let told = log.lines().filter(|line| line.contains(&format!("cause=\"{cause}\""))).count();
        assert_eq!(told, 1, "{cause}: once for each cause and address: {log}");
        assert!(log.contains("TLS handshake refused") && log.contains("address=127.0.0.1"), "{log}");
    };
    line("revoked");
    line("no_certificate");
    let figures = String::from_utf8(admin.get("/metrics").await.body).unwrap();
    for cause in ["revoked", "no_certificate"] {
        let counted = format!(r#"muster_refused_handshakes_total{{listener="grpc",cause="{cause}"}} 5"#);
        assert!(figures.contains(&counted), "{figures}");
    }
}
