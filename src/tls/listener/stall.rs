//! A transport that gives up on a peer which stops moving.
//!
//! hyper pings idle HTTP/2 connections. It does not bound how long an HTTP/2 client may take for its first bytes,
//! nor how long a client may read nothing of what is sent to it. For HTTP/1 it has one limit for two things: how
//! long the header of a request may take, which is short because strangers hold connections with it, and how long a
//! connection may be idle between two requests, which must be longer than proxies keep theirs (nginx: 60 s), or they
//! send a request into a connection that is being closed. Here they are two.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::clock;

#[derive(Debug)]
pub(crate) struct StallLimit<T> {
    inner: T,
    /// How long a peer may take nothing of what is being sent to it.
    stall_max: Duration,
    opening: Option<Opening>,
    keep_alive: Option<KeepAlive>,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

/// The first bytes, which are due soon.
#[derive(Debug)]
struct Opening {
    bytes_left: usize,
    due: Pin<Box<Sleep>>,
}

/// What an HTTP/1 connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// A request's header.
    Header,
    /// The end of an answer.
    Answer,
    /// The first byte of the next request.
    Idle,
}

/// Tells the transport of an HTTP/1 connection where its requests begin and end.
#[derive(Debug)]
pub(crate) struct RequestClock(AtomicU8);

impl RequestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(Phase::Header as u8)))
    }

    /// A request's header is complete, and it is being answered until the returned value is dropped.
    pub(crate) fn answering(self: Arc<Self>) -> RequestInProgress {
        self.set(Phase::Answer);
        RequestInProgress(self)
    }

    fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        let now = self.0.load(Ordering::Acquire);
        [Phase::Header, Phase::Answer].into_iter().find(|phase| *phase as u8 == now).unwrap_or(Phase::Idle)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct RequestInProgress(Arc<RequestClock>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.set(Phase::Idle);
    }
}

/// The limits on an HTTP/1 connection that waits for its client.
#[derive(Debug)]
struct KeepAlive {
    clock: Arc<RequestClock>,
    header_within: Duration,
    idle_max: Duration,
    due: Pin<Box<Sleep>>,
    /// What `due` has been set for.
    due_for: Phase,
}

impl KeepAlive {
    fn wait_for(&mut self, phase: Phase, limit: Duration) {
        self.due_for = phase;
        self.due.as_mut().reset(clock::timer() + limit);
    }

    /// Bytes have come in.
    fn received(&mut self) {
        if self.clock.phase() == Phase::Idle {
            self.clock.set(Phase::Header);
            self.wait_for(Phase::Header, self.header_within);
        }
    }

    /// Nothing has come in; ready when it has been waited for too long, with what was waited for.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let phase = self.clock.phase();
        match phase {
            Phase::Answer => {
                self.due_for = Phase::Answer;
                return Poll::Pending;
            }
            Phase::Idle if self.due_for != Phase::Idle => self.wait_for(Phase::Idle, self.idle_max),
            Phase::Idle | Phase::Header => {}
        }
        ready!(self.due.as_mut().poll(cx));
        Poll::Ready(phase)
    }
}

impl<T> StallLimit<T> {
    pub(crate) fn new(inner: T, stall_max: Duration) -> Self {
        Self { inner, stall_max, opening: None, keep_alive: None, stalled: None }
    }

    /// Each request's header has to arrive within one limit, and the next request has to begin within another.
    pub(crate) fn with_requests(
        self,
        clock: Arc<RequestClock>,
        header_within: Duration,
        idle_max: Duration,
    ) -> Self {
        let due = Box::pin(tokio::time::sleep(header_within));
        let keep_alive = KeepAlive { clock, header_within, idle_max, due, due_for: Phase::Header };
        Self { keep_alive: Some(keep_alive), ..self }
    }

    /// The peer has to send this many bytes within that time.
    pub(crate) fn expecting(self, bytes: usize, within: Duration) -> Self {
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

impl<T: AsyncRead + Unpin> AsyncRead for StallLimit<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Some(keep_alive) = &mut self.keep_alive {
            if outcome.is_ready() {
                if buf.filled().len() > before {
                    keep_alive.received();
                }
                return outcome;
            }
            return match ready!(keep_alive.poll_overdue(cx)) {
                // The end of input, so that the connection is closed in good order.
                Phase::Idle => Poll::Ready(Ok(())),
                _ => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            };
        }
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

impl<T: AsyncWrite + Unpin> AsyncWrite for StallLimit<T> {
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
        let mut timely = StallLimit::new(ours, NEVER).expecting(24, SOON);
        peer.write_all(b"PRI").await.unwrap();
        let mut read = [0; 24];
        assert_eq!(timely.read(&mut read).await.unwrap(), 3);
        assert_eq!(timely.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn after_its_first_bytes_a_peer_may_be_silent() {
        let (mut peer, ours) = duplex(64);
        let mut timely = StallLimit::new(ours, NEVER).expecting(24, SOON);
        peer.write_all(&[7; 24]).await.unwrap();
        let mut read = [0; 24];
        timely.read_exact(&mut read).await.unwrap();
        assert!(tokio::time::timeout(SOON * 3, timely.read(&mut read)).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (_peer, ours) = duplex(8);
        let mut timely = StallLimit::new(ours, SOON);
        assert_eq!(timely.write_all(&[0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
    /// A connection whose header may take no longer than [`SOON`], and the clock of its requests.
    fn keep_alive(
        idle_max: Duration,
    ) -> (tokio::io::DuplexStream, StallLimit<tokio::io::DuplexStream>, Arc<RequestClock>) {
        let (peer, ours) = duplex(64);
        let clock = RequestClock::new();
        let timely = StallLimit::new(ours, NEVER).with_requests(Arc::clone(&clock), SOON, idle_max);
        (peer, timely, clock)
    }

    #[tokio::test]
    async fn a_header_that_does_not_end_is_given_up_and_an_idle_connection_is_not() {
        let (mut peer, mut timely, clock) = keep_alive(NEVER);
        let mut read = [0; 64];
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(timely.read(&mut read).await.unwrap(), 18);
        let answering = Arc::clone(&clock).answering();
        assert!(
            tokio::time::timeout(SOON * 3, timely.read(&mut read)).await.is_err(),
            "it is being answered"
        );
        drop(answering);
        assert!(tokio::time::timeout(SOON * 3, timely.read(&mut read)).await.is_err(), "it may be idle");
        peer.write_all(b"GET").await.unwrap();
        assert_eq!(timely.read(&mut read).await.unwrap(), 3);
        assert_eq!(timely.read(&mut read).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn an_idle_connection_ends_in_good_order_in_the_end() {
        let (mut peer, mut timely, clock) = keep_alive(SOON * 3);
        let mut read = [0; 64];
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(timely.read(&mut read).await.unwrap(), 18);
        drop(clock.answering());
        assert_eq!(timely.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_at_all_is_given_up() {
        let (_peer, mut timely, _clock) = keep_alive(NEVER);
        assert_eq!(timely.read(&mut [0; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
