//! Connections between two requests: they are kept for longer than proxies keep theirs, and a request that has begun
//! has to go on.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// Longer than a request's header may take.
const LONGER_THAN_A_HEADER: Duration = Duration::from_secs(12);

async fn served(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_kept_and_a_header_that_does_not_end_is_not() {
    let server = Server::quickstart();
    let http = server.http();
    let (mut idle, mut silent, mut slow) = (http.open().await, http.open().await, http.open().await);
    served(&mut idle).await;
    served(&mut slow).await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    // Time is what this is about.
    sleep(LONGER_THAN_A_HEADER).await;
    served(&mut idle).await;
    for stream in [&mut silent, &mut slow] {
        let closed = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "it had its time for a header");
    }
}
