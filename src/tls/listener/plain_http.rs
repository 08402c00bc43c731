//! HTTP without TLS on a port that speaks TLS: a person who typed `http://` is told what is wrong, instead of an
//! alert that most programs show as an empty or garbled answer.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Nothing of the request is repeated, so there is nothing to escape.
const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Cache-Control: no-store\r\n\
    Content-Length: 88\r\n\
    Connection: close\r\n\r\n\
    This port speaks HTTPS, and this request came without TLS. Use https:// in the address.\n";

/// How much of the request is taken in, in bytes, and for how long. Closing a connection with unread input resets
/// it, and a reset may overtake the answer.
const TAKEN_MAX: u64 = 64 * 1024;
const TAKEN_WITHIN: Duration = Duration::from_secs(2);

/// Whether what the client sends first is the beginning of an HTTP request. A TLS connection begins with a record of
/// type 22 (RFC 8446 5.1), and a request line with the upper-case letters of a method.
pub(crate) async fn is_spoken(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(tcp.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase())
}

/// Says that the port wants TLS, and closes.
pub(crate) async fn refuse(mut tcp: TcpStream) -> io::Result<()> {
    tcp.write_all(ANSWER).await?;
    tcp.shutdown().await?;
    let mut rest = tcp.take(TAKEN_MAX);
    let mut scrap = [0; 4096];
    // However it ends, the answer is out.
    let _ = timeout(TAKEN_WITHIN, async { while rest.read(&mut scrap).await.is_ok_and(|read| read > 0) {} })
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(ANSWER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
