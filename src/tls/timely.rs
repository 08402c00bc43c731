//! A transport that gives up on a peer which stops moving.
//!
//! hyper bounds the time for an HTTP/1 request's header and pings idle HTTP/2 connections. It does not bound
//! how long an HTTP/2 client may take for its first bytes, nor how long a client may read nothing of what is
//! sent to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

#[derive(Debug)]
pub(super) struct Timely<T> {
    inner: T,
    /// How long a peer may take nothing of what is being sent to it.
    stall_max: Duration,
    opening: Option<Opening>,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// The first bytes, which are due soon.
#[derive(Debug)]
struct Opening {
    bytes_left: usize,
    due: Pin<Box<Sleep>>,
}

impl<T> Timely<T> {
    pub(super) fn new(inner: T, stall_max: Duration) -> Self {
        Self { inner, stall_max, opening: None, stalled: None }
    }

    /// The peer has to send this many bytes within that time.
    pub(super) fn expecting(self, bytes: usize, within: Duration) -> Self {
        let opening = Opening { bytes_left: bytes, due: Box::pin(tokio::time::sleep(within)) };
        Self { opening: Some(opening), ..self }
    }

    /// Passes on what a write came to; one that has been waiting too long fails.
    fn watch<O>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<O>>) -> Poll<io::Result<O>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timely<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(opening) = &mut self.opening else { return outcome };
        if outcome.is_ready() {
            opening.bytes_left = opening.bytes_left.saturating_sub(buf.filled().len() - before);
            if opening.bytes_left == 0 {
                self.opening = None;
            }
            return outcome;
        }
        ready!(opening.due.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timely<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_peer_that_does_not_finish_its_first_bytes_is_given_up() {
        let (mut peer, ours) = duplex(64);
        let mut timely = Timely::new(ours, NEVER).expecting(24, SOON);
        peer.write_all(b"PRI").await.unwrap();
        let mut read = [0; 24];
        assert_eq!(timely.read(&mut read).await.unwrap(), 3);
        assert_eq!(timely.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn after_its_first_bytes_a_peer_may_be_silent() {
        let (mut peer, ours) = duplex(64);
        let mut timely = Timely::new(ours, NEVER).expecting(24, SOON);
        peer.write_all(&[7; 24]).await.unwrap();
        let mut read = [0; 24];
        timely.read_exact(&mut read).await.unwrap();
        assert!(tokio::time::timeout(SOON * 3, timely.read(&mut read)).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (_peer, ours) = duplex(8);
        let mut timely = Timely::new(ours, SOON);
        assert_eq!(timely.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
