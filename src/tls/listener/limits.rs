//! Bounds of a listener: how many, how large, how long.

use std::time::Duration;

use crate::tls::listener::send_budget::SendLimits;

/// How long a client may take for the header of an HTTP/1 request.
pub(crate) const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an HTTP/1 connection may be idle between two requests: longer than proxies keep theirs, which would
/// otherwise now and then send a request into a connection that is being closed.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How often an HTTP/2 client that says nothing is asked whether it is there, and how long it may think.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Most bytes of header fields in one request.
pub(crate) const HEADER_BYTES_MAX: u16 = 16 * 1024;

/// Streams that one HTTPS connection may have open.
pub(crate) const HTTPS_STREAMS_MAX: u32 = 64;

/// Streams of one HTTPS connection that may be served before they have proved who they come from. The others wait:
/// a page of the web UI has more files than this, and they come one after the other.
pub(crate) const UNPROVEN_STREAMS_MAX: usize = 16;

/// Streams that one agent's connection may have open: a session, and room for single calls.
pub(crate) const GRPC_STREAMS_MAX: u32 = 16;

/// What a client may send on one stream before the service has read it, in bytes. No body that we take is
/// larger than this.
pub(crate) const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all streams of one HTTPS connection together.
pub(crate) const HTTPS_CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// What is kept for a client that reads slowly, per stream, before the service has to wait.
pub(crate) const SEND_BUFFER: usize = 64 * 1024;

/// How long a client may take nothing of what is being sent to it.
pub(crate) const STALL_MAX: Duration = Duration::from_secs(30);

/// How long a revoked agent's connection stays, so that the refusals on its streams reach it; after that
/// the agent has to connect anew, and can't.
pub(crate) const REVOKED_LINGER: Duration = Duration::from_secs(1);

/// How long the accept loop rests when the process or the machine has no room for another connection.
pub(crate) const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How long aborted tasks have to unwind.
pub(crate) const ABORT_WAIT: Duration = Duration::from_secs(1);

/// Bounds on what strangers and agents can hold. Where they leave no room for one more, `occupancy` says who
/// makes way.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// Connections whose handshake is not over.
    pub handshakes: usize,
    pub handshakes_per_address: usize,
    pub handshake_timeout: Duration,
    /// For an HTTP/1 request's header, and for an HTTP/2 connection's first bytes.
    pub header_timeout: Duration,
    /// For an HTTP/1 connection between two requests.
    pub idle_timeout: Duration,
    /// On answers that clients have not taken.
    pub answers: SendLimits,
    /// How long a shutdown waits for requests and streams before it aborts them.
    pub drain: Duration,
}

pub(crate) const COMMON: Limits = Limits {
    connections: 20_000,
    connections_per_address: 20_000,
    handshakes: 4_096,
    handshakes_per_address: 2_048,
    handshake_timeout: Duration::from_secs(10),
    header_timeout: HEADER_TIMEOUT,
    idle_timeout: IDLE_TIMEOUT,
    answers: SendLimits::DEFAULT,
    drain: Duration::from_secs(5),
};

impl Limits {
    /// For people and for enrolling agents: no client needs more than a browser's handful of connections,
    /// and 200 machines behind one address may enroll at once.
    pub const HTTPS: Self =
        Self { connections_per_address: 256, handshakes: 2_048, handshakes_per_address: 256, ..COMMON };

    /// For relying parties that fetch revocation lists: a request now and then from each of many machines.
    pub const LISTS: Self = Self {
        connections: 1_024,
        connections_per_address: 64,
        handshakes: 512,
        handshakes_per_address: 64,
        ..COMMON
    };

    /// For agents. A whole fleet may sit behind one address, each agent with two connections while it
    /// rotates, so one address may fill the listener with *proved* agents. Those that have proved nothing
    /// yet may take at most half of the handshakes, and only for as long as the handshake timeout.
    pub const GRPC: Self = COMMON;

    /// The same where only so many descriptors are to be had: bounds that can't be reached would leave the
    /// process without a descriptor, and then nobody gets in.
    ///
    /// What one address may have shrinks along: at most half, unless it may have all anyway.
    pub(crate) fn within(self, descriptors: u64) -> Self {
        // With fewer there is no half of a half, and no server either.
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX).max(4);
        let connections = self.connections.min(descriptors);
        let handshakes = self.handshakes.min(descriptors / 2);
        let one_may_have_all = self.connections_per_address >= self.connections;
        let share = if one_may_have_all { connections } else { connections / 2 };
        Self {
            connections,
            connections_per_address: self.connections_per_address.min(share),
            handshakes,
            handshakes_per_address: self.handshakes_per_address.min(handshakes / 2),
            ..self
        }
    }
}

/// How many descriptors this process may have open.
pub(crate) fn descriptors() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}
