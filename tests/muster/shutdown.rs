//! The orderly end: quick, with open work told about it, and reported to the supervisor.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tonic::Code;

use crate::support::identity::Identity;
use crate::support::notify::NotifySocket;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_end_the_server_in_time() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::quickstart();
        let identity = Identity::enroll(&server, "web-1").await;
        let mut session = identity.peer(&server).connect().await.unwrap().session().await.unwrap();
        let ended = tokio::spawn(async move { session.end(PATIENCE).await });
        // Connections on which nobody says anything must not hold the server up.
        let _idle_https = server.http().open().await;
        let _idle_grpc = identity.peer(&server).connect().await.unwrap();
        let _silent = tokio::net::TcpStream::connect(&server.hello.grpc_addr).await.unwrap();

        let asked = Instant::now();
        server.process().signal(signal);
        let finished = tokio::task::block_in_place(|| server.process().wait());
        assert_eq!(finished.status.code(), Some(0), "{signal:?}: {}", finished.stderr);
        assert!(asked.elapsed() < Duration::from_secs(10), "{signal:?}: {:?}", asked.elapsed());
        if let Err(status) = ended.await.unwrap() {
            assert_eq!(status.code(), Code::Unavailable, "{signal:?}: {status:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_end_everything_is_there() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    server.stop();
    assert!(!server.file("muster.sock").exists(), "the socket is removed");
    assert_eq!(server.hosts().len(), 1, "the stopped store answers");
    server.start_again();
    identity.peer(&server).reports().await.unwrap();
}

#[test]
fn the_supervisor_is_told_when_it_is_ready() {
    let mut server = Server::quickstart();
    server.stop();
    let notify = NotifySocket::new(server.room());
    let mut process = server.serve(&[], &[("NOTIFY_SOCKET", notify.address())]);
    notify.wait_for("READY=1");
    server.cli(&["host", "list", "--json"]).run().ok();
    process.signal(Signal::TERM);
    notify.wait_for("STOPPING=1");
    assert_eq!(process.wait().status.code(), Some(0));
}
