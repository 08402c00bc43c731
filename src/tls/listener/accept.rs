//! The accept loop of both listeners: handshakes off the accept path, bounds on everything a stranger can
//! hold, and a shutdown that ends.
//!
//! It carries HTTP and knows nothing of routes: each connection gets the service that the caller makes for
//! it, and the proof of who is on the other side.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::{ServerConfig, ServerConnection};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::domain::network::networks::{Networks, accountable};
use crate::tls::client_verifier::{PeerVerifier, ShownSvid};
use crate::tls::listener::admission::{Bounds, ConnectionState, ConnectionTable, Full, PushedOut, Seat};
use crate::tls::listener::limits::{
    ABORT_WAIT, EXHAUSTED_PAUSE, GRPC_STREAMS_MAX, HEADER_BYTES_MAX, HTTPS_CONNECTION_WINDOW,
    HTTPS_STREAMS_MAX, KEEP_ALIVE, Limits, REVOKED_LINGER, SEND_BUFFER, STALL_MAX, STREAM_WINDOW,
    UNPROVEN_STREAMS_MAX, descriptors,
};
use crate::tls::listener::log_limit::LogLimit;
use crate::tls::listener::not_opened::NotOpened;
use crate::tls::listener::plain_http;
use crate::tls::listener::refused::RefusedHandshakes;
pub use crate::tls::listener::requests::{Answering, ChargedTo, SharedBody, Unproven};
use crate::tls::listener::requests::{Noting, RequestTracking, STREAM};
pub use crate::tls::listener::send_budget::{Ender, SendLimits};
use crate::tls::listener::send_budget::{Payer, SWEEP_EVERY, SendBudget, StreamTask};
use crate::tls::listener::stall::{RequestClock, StallLimit};
use crate::tls::live::{LivePeer, LivePeers};
use crate::tls::server_certificate::LiveCertificate;
use crate::tls::server_config::{grpc_config, https_config};

/// The first bytes of every HTTP/2 connection (RFC 9113 3.4).
const HTTP2_PREFACE: usize = 24;

/// How one listener treats its clients.
///
/// Of the process's descriptors, the agents get half, everybody else a quarter, and the rest stays for the
/// store, the socket of the local operator, and whatever else there is.
#[derive(Debug)]
pub struct ListenerConfig {
    /// What the log calls it.
    pub name: &'static str,
    pub limits: Limits,
    /// None: it speaks plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    clients: Clients,
    refused: Arc<RefusedHandshakes>,
}

/// Who may connect.
#[derive(Debug)]
enum Clients {
    /// A proxy that is believed has the requests of many clients on one connection.
    Anyone {
        trusted_proxies: Arc<Networks>,
    },
    Agents {
        verifier: Arc<PeerVerifier>,
        live: LivePeers,
    },
}

impl ListenerConfig {
    /// Anyone may connect, with HTTP/2 or HTTP/1.1.
    pub fn https(certificate: Arc<LiveCertificate>, trusted_proxies: Arc<Networks>) -> Self {
        Self {
            name: "https",
            limits: Limits::HTTPS.within(descriptors() / 4),
            tls: Some(https_config(certificate)),
            clients: Clients::Anyone { trusted_proxies },
            refused: Arc::default(),
        }
    }

    /// Anyone may connect, with HTTP/1.1 and without TLS.
    pub fn lists() -> Self {
        Self {
            name: "lists",
            limits: Limits::LISTS.within(descriptors() / 8),
            tls: None,
            clients: Clients::Anyone { trusted_proxies: Arc::default() },
            refused: Arc::default(),
        }
    }

    /// Counts refused handshakes there, together with those of other listeners.
    pub fn counting(self, refused: Arc<RefusedHandshakes>) -> Self {
        Self { refused, ..self }
    }

    /// Agents that `verifier` admits may connect, with HTTP/2, and are entered in `live` while they are.
    pub fn grpc(certificate: Arc<LiveCertificate>, verifier: Arc<PeerVerifier>, live: LivePeers) -> Self {
        Self {
            name: "grpc",
            limits: Limits::GRPC.within(descriptors() / 2),
            tls: Some(grpc_config(certificate, Arc::clone(&verifier))),
            clients: Clients::Agents { verifier, live },
            refused: Arc::default(),
        }
    }
}

/// The bounds on HTTP that hold on every transport, with HTTP/1 and HTTP/2 told apart by the first bytes.
pub fn connection_builder<E>(executor: E) -> auto::Builder<E> {
    let mut builder = auto::Builder::new(executor);
    builder
        .http1()
        // `StallLimit` has a limit for the header and another one between requests.
        .header_read_timeout(None)
        .max_buf_size(HEADER_BYTES_MAX.into());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(HTTPS_STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX.into())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(HTTPS_CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// What is known of a connection whose handshake is over.
#[derive(Debug, Clone)]
pub struct Connection {
    pub remote: SocketAddr,
    /// The agent, on a listener that only agents can reach.
    pub peer: Option<Arc<LivePeer>>,
}

/// A bound socket that accepts, once it is served.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    config: ListenerConfig,
}

impl Listener {
    pub const fn new(tcp: TcpListener, config: ListenerConfig) -> Self {
        Self { tcp, config }
    }

    /// Accepts and serves until `shutdown`; then lets requests and streams finish until the deadline,
    /// aborts the rest, and returns when nothing runs any more.
    pub async fn serve<M, S>(self, make: M, shutdown: CancellationToken)
    where
        M: Fn(Connection) -> S + Send + Sync + 'static,
        S: Answering,
    {
        let Self { tcp, config } = self;
        let drain = config.limits.drain;
        let shared = Arc::new(Shared::new(config, shutdown.child_token()));
        let make = Arc::new(make);
        // Whoever drops this future ends what it started, too.
        let abort = (shared.shutdown.clone().drop_guard(), shared.abort.clone().drop_guard());
        let _sweeping = AbortOnDropHandle::new(tokio::spawn(sweep(Arc::clone(&shared.budget))));
        let mut acceptor = Acceptor::new(tcp, shared.config.name);
        while let Some((stream, remote)) = acceptor.accept(&shutdown).await {
            let seat = match shared.occupancy.enter(remote.ip()) {
                Ok(seat) => {
                    if let Some(standing) = seat.made_way {
                        shared.config.refused.note_shed(shared.config.name, "made_way");
                        acceptor.pushed_out(standing);
                    }
                    seat
                }
                Err(full) => {
                    shared.config.refused.note_shed(shared.config.name, "turned_away");
                    acceptor.turned_away(remote, full);
                    continue;
                }
            };
            let (connection, make) = (Arc::clone(&shared), Arc::clone(&make));
            shared.tasks.0.spawn(async move { connection.run(stream, remote, seat, &*make).await });
        }
        drop(acceptor);
        shared.tasks.0.close();
        if timeout(drain, shared.tasks.0.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(
            listener = shared.config.name,
            tasks = shared.tasks.0.len(),
            "shutdown aborts what still runs"
        );
        drop(abort);
        if timeout(ABORT_WAIT, shared.tasks.0.wait()).await.is_err() {
            tracing::error!(listener = shared.config.name, "a request does not end; leaving it behind");
        }
    }
}

/// Accepts connections, and keeps the log quiet when that fails.
struct Acceptor {
    tcp: TcpListener,
    name: &'static str,
    accept_failures: LogLimit,
    refusals: LogLimit,
    floods: LogLimit,
    crowds: LogLimit,
}

impl Acceptor {
    fn new(tcp: TcpListener, name: &'static str) -> Self {
        let silent = LogLimit::default;
        Self { tcp, name, accept_failures: silent(), refusals: silent(), floods: silent(), crowds: silent() }
    }

    /// The next connection; `None` after `shutdown`.
    async fn accept(&mut self, shutdown: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                accepted = self.tcp.accept() => accepted,
            };
            let error = match accepted {
                Ok(accepted) => return Some(accepted),
                Err(error) => error,
            };
            // The client went away before it was accepted (accept(2)): no reason to rest.
            if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
                continue;
            }
            if self.accept_failures.is_due() {
                tracing::error!(listener = self.name, %error, "can't accept connections; trying again");
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = sleep(EXHAUSTED_PAUSE) => {}
            }
        }
    }

    fn turned_away(&mut self, remote: SocketAddr, full: Full) {
        if self.refusals.is_due() {
            tracing::warn!(listener = self.name, %remote, reason = %full, "connection turned away");
        }
    }

    fn pushed_out(&mut self, standing: ConnectionState) {
        let (complaint, what) = match standing {
            ConnectionState::Handshaking => (
                &mut self.floods,
                "too many clients don't finish their handshake; the oldest make way for new connections",
            ),
            ConnectionState::Settled => (
                &mut self.crowds,
                "too many connections are open; those that have been quiet make way for new ones",
            ),
        };
        if complaint.is_due() {
            tracing::warn!(listener = self.name, "{what}");
        }
    }
}

/// With TLS or without.
type Stream = Either<Box<TlsStream<TcpStream>>, TcpStream>;

/// A connection that carries HTTP.
type Http<'a, S> = Pin<Box<auto::Connection<'a, TokioIo<StallLimit<Stream>>, Noting<S>, Tasks>>>;

/// What the connections of a listener have in common.
struct Shared {
    config: ListenerConfig,
    http1: auto::Builder<Tasks>,
    http2: auto::Builder<Tasks>,
    occupancy: ConnectionTable,
    budget: Arc<SendBudget>,
    tasks: Tasks,
    shutdown: CancellationToken,
    abort: CancellationToken,
}

impl Shared {
    fn new(config: ListenerConfig, shutdown: CancellationToken) -> Self {
        let (limits, for_people) = (config.limits, matches!(config.clients, Clients::Anyone { .. }));
        let tasks = Tasks::default();
        let mut http = connection_builder(tasks.clone());
        if !for_people {
            http.http2()
                .max_concurrent_streams(GRPC_STREAMS_MAX)
                .initial_connection_window_size(STREAM_WINDOW);
        }
        let occupancy = ConnectionTable::new(Bounds {
            total: limits.connections,
            per_address: limits.connections_per_address,
            handshakes: limits.handshakes,
            handshakes_per_address: limits.handshakes_per_address,
            // An agent has proved who it is, and its session is there to be quiet.
            settled_make_way: for_people,
        });
        Self {
            config,
            http1: http.clone().http1_only(),
            http2: http.http2_only(),
            occupancy,
            budget: Arc::new(SendBudget::new(limits.answers)),
            tasks,
            shutdown,
            abort: CancellationToken::new(),
        }
    }

    /// One connection, from its first byte to its last.
    ///
    /// What is large lives on the heap: the handshake until it is over, HTTP from then on. Ten thousand
    /// idle agents hold one of the two each, not the sum.
    async fn run<M, S>(&self, tcp: TcpStream, remote: SocketAddr, mut seat: Seat, make: &M)
    where
        M: Fn(Connection) -> S,
        S: Answering,
    {
        let opened = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => return,
            () = seat.pushed_out.cancelled() => Err(PushedOut.into()),
            opened = Box::pin(self.open(tcp, remote, &seat, make)) => opened,
        };
        match opened.and_then(|open| Ok(seat.settle().map(|()| open)?)) {
            Ok((http, peer)) => self.drive(http, peer.as_deref(), &seat.pushed_out).await,
            Err(reason) => {
                if reason.is_refusal() {
                    self.config.refused.note(self.config.name, remote.ip(), &reason);
                }
                let reason = &reason as &dyn Error;
                tracing::debug!(listener = self.config.name, %remote, reason, "connection not admitted");
            }
        }
    }

    /// Everything up to the first request.
    async fn open<M, S>(
        &self,
        tcp: TcpStream,
        remote: SocketAddr,
        seat: &Seat,
        make: &M,
    ) -> Result<(Http<'_, S>, Option<Arc<LivePeer>>), NotOpened>
    where
        M: Fn(Connection) -> S,
        S: Answering,
    {
        let stream = self.handshake(tcp).await?;
        let (peer, speaks_http2) = match &stream {
            Either::Left(tls) => {
                let peer = self.admit(tls.get_ref().1)?.map(Arc::new);
                let speaks_http2 = peer.is_some() || tls.get_ref().1.alpn_protocol() == Some(b"h2");
                (peer, speaks_http2)
            }
            Either::Right(_) => (None, false),
        };
        let payer = match &peer {
            Some(peer) => Payer::Agent(peer.identity().identity().clone()),
            None => Payer::Address(accountable(remote.ip())),
        };
        let mut notes = RequestTracking {
            requests: peer.is_none().then(|| seat.requests()),
            budget: Arc::clone(&self.budget),
            payer,
            strangers: None,
            connection: seat.pushed_out.clone(),
            clock: None,
        };
        let io = StallLimit::new(stream, STALL_MAX);
        let Limits { header_timeout, idle_timeout, .. } = self.config.limits;
        let (builder, io) = if speaks_http2 {
            notes.strangers = self.places_for_strangers(remote);
            (&self.http2, io.expecting(HTTP2_PREFACE, header_timeout))
        } else {
            let clock = notes.clock.insert(RequestClock::new());
            let io = io.with_requests(Arc::clone(clock), header_timeout, idle_timeout);
            (&self.http1, io)
        };
        let service = Noting { service: make(Connection { remote, peer: peer.clone() }), notes };
        Ok((Box::pin(builder.serve_connection(TokioIo::new(io), service)), peer))
    }

    /// Bounds the streams of one connection that have not proved who they come from, where they come from one client.
    fn places_for_strangers(&self, remote: SocketAddr) -> Option<Arc<Semaphore>> {
        match &self.config.clients {
            Clients::Anyone { trusted_proxies } if !trusted_proxies.contain(remote.ip()) => {
                Some(Arc::new(Semaphore::new(UNPROVEN_STREAMS_MAX)))
            }
            _ => None,
        }
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Stream, NotOpened> {
        // Answers are small and wanted at once.
        tcp.set_nodelay(true).map_err(NotOpened::Handshake)?;
        let Some(tls) = &self.config.tls else { return Ok(Either::Right(tcp)) };
        let shaking = async {
            let for_people = matches!(self.config.clients, Clients::Anyone { .. });
            if for_people && plain_http::is_spoken(&tcp).await.map_err(NotOpened::Handshake)? {
                plain_http::refuse(tcp).await.map_err(NotOpened::Handshake)?;
                return Err(NotOpened::PlainHttp);
            }
            let accepted = TlsAcceptor::from(Arc::clone(tls)).accept(tcp).await;
            accepted.map(|tls| Either::Left(Box::new(tls))).map_err(NotOpened::Handshake)
        };
        timeout(self.config.limits.handshake_timeout, shaking).await.map_err(|_| NotOpened::Slow)?
    }

    /// Who is on the other side, entered among the live, on a listener that only agents can reach.
    fn admit(&self, connection: &ServerConnection) -> Result<Option<LivePeer>, NotOpened> {
        let Clients::Agents { verifier, live } = &self.config.clients else { return Ok(None) };
        let shown = ShownSvid::of_connection(connection, verifier)?;
        let entry = live.enter(shown.svid.serial, &shown.identity)?;
        // A revocation that was published since the handshake found no connection to end. From here on one
        // would, so ask once more.
        let peer = entry.of(verifier.admit(shown)?);
        verifier.note_shown(peer.identity());
        Ok(Some(peer))
    }

    async fn drive<S>(&self, mut http: Http<'_, S>, peer: Option<&LivePeer>, pushed_out: &CancellationToken)
    where
        S: Answering,
    {
        let interrupted = async {
            tokio::select! {
                biased;
                // A newcomer has its room, so there is none for a farewell.
                () = pushed_out.cancelled() => None,
                // The listener waits for its connections, and aborts them in the end.
                () = self.shutdown.cancelled() => Some(Duration::MAX),
                () = some_time_after_revocation(peer) => Some(REVOKED_LINGER),
            }
        };
        // HTTP is polled with every message; this is, when it was woken itself. Its signals have locks that all connections share.
        let mut interruptions = FuturesUnordered::from_iter([interrupted]);
        let patience = tokio::select! {
            biased;
            _ = http.as_mut() => return,
            Some(patience) = interruptions.next() => patience,
        };
        let Some(patience) = patience else { return };
        http.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            _ = http => {}
            () = self.abort.cancelled() => {}
            () = sleep(patience) => {}
        }
    }
}

/// Ends answers that have been held for too long, for ever.
async fn sweep(budget: Arc<SendBudget>) {
    let mut tick = tokio::time::interval(SWEEP_EVERY);
    loop {
        tick.tick().await;
        budget.sweep();
    }
}

async fn some_time_after_revocation(peer: Option<&LivePeer>) {
    let Some(peer) = peer else { return std::future::pending().await };
    peer.revoked().cancelled().await;
    sleep(REVOKED_LINGER).await;
}

/// Where connections and their HTTP/2 streams run, counted, so that a shutdown can wait for all of them.
#[derive(Debug, Clone, Default)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        let stream = StreamTask::default();
        let running = self.0.spawn(STREAM.scope(stream.clone(), task));
        stream.is(running.abort_handle());
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs::File;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use rustls::ClientConfig;
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, Semaphore};
    use tokio::task::JoinHandle;
    use tokio_rustls::{TlsConnector, client};

    use super::*;
    use crate::tls::specimens::ServerFiles;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    /// Longer than anything here should take, short enough to fail a run that hangs.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// An HTTPS listener that answers "hello", each time after it was told to go on.
    struct Site {
        files: ServerFiles,
        address: SocketAddr,
        shutdown: CancellationToken,
        serving: JoinHandle<()>,
        /// Told when a request has arrived.
        arrived: Arc<Notify>,
        /// One permit per request that may be answered.
        go_on: Arc<Semaphore>,
    }

    impl Site {
        async fn open(limits: Limits) -> Self {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let files = ServerFiles::new();
            let address = tcp.local_addr().unwrap();
            let config = ListenerConfig { limits, ..ListenerConfig::https(files.live(), Arc::default()) };
            let (arrived, go_on) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(1000)));
            let shutdown = CancellationToken::new();
            let (told, gate) = (Arc::clone(&arrived), Arc::clone(&go_on));
            let make = move |_| {
                let (told, gate) = (Arc::clone(&told), Arc::clone(&gate));
                service_fn(move |_: Request<Incoming>| {
                    let (told, gate) = (Arc::clone(&told), Arc::clone(&gate));
                    async move {
                        told.notify_one();
                        gate.acquire().await.unwrap().forget();
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello"))))
                    }
                })
            };
            let serving = tokio::spawn(Listener::new(tcp, config).serve(make, shutdown.clone()));
            Self { files, address, shutdown, serving, arrived, go_on }
        }

        fn client(&self, alpn: &[u8]) -> Arc<ClientConfig> {
            let mut config = (*self.files.client(None)).clone();
            config.alpn_protocols = vec![alpn.to_vec()];
            Arc::new(config)
        }

        async fn connect(&self, alpn: &[u8]) -> io::Result<client::TlsStream<TcpStream>> {
            let tcp = TcpStream::connect(self.address).await?;
            let name = ServerName::try_from("localhost").unwrap();
            TlsConnector::from(self.client(alpn)).connect(name, tcp).await
        }

        async fn fetch(&self) -> io::Result<String> {
            let mut tls = self.connect(b"http/1.1").await?;
            tls.write_all(REQUEST).await?;
            read_all(&mut tls).await
        }
    }

    async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<String> {
        let mut text = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the server closes")?;
        Ok(text)
    }

    fn hasty() -> Limits {
        let soon = Duration::from_millis(200);
        Limits { handshake_timeout: soon, header_timeout: soon, drain: soon, ..Limits::HTTPS }
    }

    #[test]
    fn with_few_descriptors_one_address_still_has_no_more_than_half() {
        for descriptors in [0, 1, 8, 64, 256, 1024, 4096, 8192, 65_536, u64::MAX] {
            let (https, grpc) = (Limits::HTTPS.within(descriptors), Limits::GRPC.within(descriptors));
            for limits in [https, grpc] {
                assert!(limits.handshakes_per_address * 2 <= limits.handshakes, "{descriptors}: {limits:?}");
                assert!(limits.handshakes < limits.connections, "{descriptors}: {limits:?}");
                assert!(limits.handshakes_per_address > 0, "{descriptors}: {limits:?}");
                assert!(limits.connections as u64 <= descriptors.max(4), "{descriptors}: {limits:?}");
            }
            assert!(https.connections_per_address * 2 <= https.connections, "{descriptors}: {https:?}");
            assert_eq!(grpc.connections_per_address, grpc.connections, "a fleet may be behind one address");
        }
        let plenty = Limits::HTTPS.within(u64::MAX);
        assert_eq!((plenty.connections_per_address, plenty.handshakes_per_address), (256, 256));
    }

    #[tokio::test]
    async fn a_silent_client_blocks_nobody_and_is_cut_off() {
        let site = Site::open(hasty()).await;
        let mut silent = TcpStream::connect(site.address).await.unwrap();
        assert!(site.fetch().await.unwrap().ends_with("hello"));
        assert_eq!(read_all(&mut silent).await.unwrap(), "");
    }

    #[tokio::test]
    async fn silent_clients_take_no_more_than_their_share_of_handshakes() {
        let limits = Limits { handshakes_per_address: 2, ..Limits::HTTPS };
        let site = Site::open(limits).await;
        let silent = [
            TcpStream::connect(site.address).await.unwrap(),
            TcpStream::connect(site.address).await.unwrap(),
        ];
        assert!(site.fetch().await.is_err());
        drop(silent);
        let answer = async {
            loop {
                if let Ok(answer) = site.fetch().await {
                    return answer;
                }
            }
        };
        assert!(timeout(PATIENCE, answer).await.unwrap().ends_with("hello"));
    }

    #[tokio::test]
    async fn connections_of_one_address_are_bounded() {
        let site = Site::open(Limits { connections_per_address: 1, ..Limits::HTTPS }).await;
        let mut held = site.connect(b"http/1.1").await.unwrap();
        assert!(site.fetch().await.unwrap().ends_with("hello"));
        // However it ends, it ends.
        drop(timeout(PATIENCE, held.read_to_end(&mut Vec::new())).await.expect("it has made way"));
    }

    #[tokio::test]
    async fn slow_headers_and_missing_prefaces_are_cut_off() {
        let site = Site::open(hasty()).await;
        for (alpn, start) in [
            (&b"http/1.1"[..], &b"GET / HTTP/1.1\r\nHost:"[..]),
            (b"http/1.1", b""),
            (b"h2", b""),
            (b"h2", b"PRI * HTTP/2.0\r\n"),
        ] {
            let mut slow = site.connect(alpn).await.unwrap();
            slow.write_all(start).await.unwrap();
            slow.flush().await.unwrap();
            let mut rest = Vec::new();
            let closed = timeout(PATIENCE, slow.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "{:?} {start:?}", alpn.escape_ascii().to_string());
            assert!(!String::from_utf8_lossy(&rest).contains("hello"));
        }
    }

    /// An HTTP/2 connection that takes only so many bytes of each answer, with one request sent.
    async fn takes_only(site: &Site, window: u8) -> client::TlsStream<TcpStream> {
        let mut tls = site.connect(b"h2").await.unwrap();
        tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE, and GET https://x/ (RFC 9113 6.5.2, RFC 7541 A).
        tls.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, window]).await.unwrap();
        request(&mut tls, 1).await;
        tls
    }

    async fn request(tls: &mut client::TlsStream<TcpStream>, stream: u8) {
        tls.write_all(&[0, 0, 6, 1, 5, 0, 0, 0, stream]).await.unwrap();
        tls.write_all(b"\x82\x87\x84\x41\x01x").await.unwrap();
    }

    /// Reads until these bytes have come; fails when the server closes before.
    async fn read_until(tls: &mut client::TlsStream<TcpStream>, expected: &[u8]) {
        let mut said = Vec::new();
        let reading = async {
            while !said.windows(expected.len()).any(|part| part == expected) {
                assert!(tls.read_buf(&mut said).await.unwrap() > 0, "{said:?}");
            }
        };
        timeout(PATIENCE, reading).await.expect("it comes");
    }

    fn stalled_soon() -> Limits {
        Limits { answers: SendLimits { stall: 200, ..SendLimits::DEFAULT }, ..Limits::HTTPS }
    }

    #[tokio::test]
    async fn a_stream_of_which_nothing_is_taken_ends_and_its_connection_goes_on() {
        let site = Site::open(stalled_soon()).await;
        let mut tls = takes_only(&site, 0).await;
        // RST_STREAM with CANCEL.
        read_until(&mut tls, &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8]).await;
        // Now with an ordinary window.
        tls.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 255, 255]).await.unwrap();
        request(&mut tls, 3).await;
        read_until(&mut tls, b"hello").await;
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_in_part_does_not_stay_for_ever() {
        let site = Site::open(stalled_soon()).await;
        let mut tls = takes_only(&site, 2).await;
        read_until(&mut tls, b"he").await;
        // The rest waits inside the HTTP library, so the connection ends.
        let closed = timeout(PATIENCE, tls.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok());
    }

    /// Descriptors are the process's, so running out of them takes a process of its own: this very test,
    /// started again under a limit.
    #[tokio::test]
    async fn the_accept_loop_survives_a_lack_of_descriptors() {
        const INSIDE: &str = "MUSTER_TEST_FEW_DESCRIPTORS";
        if std::env::var_os(INSIDE).is_none() {
            let name = "tls::accept::tests::the_accept_loop_survives_a_lack_of_descriptors";
            let inside = std::process::Command::new("sh")
                .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
                .arg(std::env::current_exe().unwrap())
                .args([name])
                .env(INSIDE, "yes")
                .output()
                .unwrap();
            assert!(inside.status.success(), "{}", String::from_utf8_lossy(&inside.stdout));
            return;
        }
        let site = Site::open(Limits::HTTPS).await;
        assert!(site.fetch().await.unwrap().ends_with("hello"));
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        hoard.pop();
        let tcp = TcpStream::connect(site.address).await.unwrap();
        sleep(EXHAUSTED_PAUSE * 3).await;
        assert!(!site.serving.is_finished());
        drop(hoard);
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(site.client(b"http/1.1"));
        let mut tls = timeout(Duration::from_secs(2), connector.connect(name, tcp)).await.unwrap().unwrap();
        tls.write_all(REQUEST).await.unwrap();
        assert!(read_all(&mut tls).await.unwrap().ends_with("hello"));
    }

    #[tokio::test]
    async fn shutdown_lets_requests_finish() {
        let site = Site::open(Limits::HTTPS).await;
        site.go_on.forget_permits(1000);
        let mut tls = site.connect(b"http/1.1").await.unwrap();
        let _idle = site.connect(b"http/1.1").await.unwrap();
        tls.write_all(REQUEST).await.unwrap();
        site.arrived.notified().await;
        site.shutdown.cancel();
        let refused = async { while TcpStream::connect(site.address).await.is_ok() {} };
        timeout(PATIENCE, refused).await.unwrap();
        assert!(!site.serving.is_finished());
        site.go_on.add_permits(1);
        assert!(read_all(&mut tls).await.unwrap().ends_with("hello"));
        timeout(PATIENCE, site.serving).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn shutdown_aborts_what_does_not_finish() {
        let site = Site::open(hasty()).await;
        site.go_on.forget_permits(1000);
        let mut tls = site.connect(b"http/1.1").await.unwrap();
        tls.write_all(REQUEST).await.unwrap();
        site.arrived.notified().await;
        let start = Instant::now();
        site.shutdown.cancel();
        timeout(PATIENCE, site.serving).await.unwrap().unwrap();
        assert!((hasty().drain..Duration::from_secs(2)).contains(&start.elapsed()));
        assert_eq!(read_all(&mut tls).await.unwrap_or_default(), "");
    }

    #[tokio::test]
    async fn dropping_the_listener_ends_its_connections() {
        let site = Site::open(Limits::HTTPS).await;
        site.go_on.forget_permits(1000);
        let mut tls = site.connect(b"http/1.1").await.unwrap();
        tls.write_all(REQUEST).await.unwrap();
        site.arrived.notified().await;
        site.serving.abort();
        assert_eq!(read_all(&mut tls).await.unwrap_or_default(), "");
    }
}
