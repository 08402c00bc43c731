//! The listener for relying parties on this machine: a UNIX socket with the rights of its group, or loopback. Connections
//! are bounded; where there is no room for one more, the one that has been quiet for longest makes way, or the new one waits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::agent::account::{AccountKind, NoSuchAccount, number_of};
use crate::agent::local_socket::{ListenError, LocalSocket, SocketPurpose};
use crate::agent::relying_party::http::router;
use crate::agent::relying_party::settings::{RelyingPartySettings, VouchAddress};
use crate::agent::relying_party::voucher::Voucher;
use crate::clock;
use crate::tls::listener::accept::connection_builder;

/// Connections at a time. A proxy keeps a few for each of its workers; a process has about a thousand descriptors.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may be silent before or between its requests: longer than proxies keep their connections.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How long nothing has to have happened on a connection that makes way. Answering takes no such time.
const QUIET: Duration = Duration::from_secs(1);
/// How long a request may take to arrive, its message or body with it; a body of HTTP's own is told sooner.
const REQUEST_WITHIN: Duration = Duration::from_secs(20);
/// How long to wait when a connection can't be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The first port that every user may take, unless the kernel was told otherwise (`net.ipv4.ip_unprivileged_port_start`).
const PORT_OF_EVERYBODY: u16 = 1024;
/// How long open requests may take once the agent stops.
const DRAIN: Duration = Duration::from_secs(1);

/// Why relying parties can't be served.
#[derive(Debug, thiserror::Error)]
pub enum RelyingPartyListenError {
    #[error(transparent)]
    Socket(#[from] ListenError),
    #[error("can't listen on {0} for relying parties")]
    Loopback(SocketAddr, #[source] io::Error),
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// Why the socket can't be the group's.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error(transparent)]
    Unknown(#[from] UnknownGroup),
    #[error(
        "the user that the agent runs as is no member of the group {0}, which relying_party.group names, so the socket can't be made the group's"
    )]
    NoMember(String),
}

/// No group of the machine has the name.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct UnknownGroup(NoSuchAccount);

impl RelyingPartyListenError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Socket(error) => error.hint(),
            Self::Loopback(_, error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "with systemd: 'systemctl edit muster-agent', three lines: [Service], AmbientCapabilities=CAP_NET_BIND_SERVICE and CapabilityBoundingSet=CAP_NET_BIND_SERVICE; then restart the agent"
            }
            Self::Loopback(..) => "stop the program that has the port, or choose another one",
            Self::Group(GroupError::Unknown(_)) => "check its name, or create it with groupadd",
            Self::Group(GroupError::NoMember(_)) => {
                "with systemd: 'systemctl edit muster-agent', two lines: [Service] and SupplementaryGroups= with the group's name; then restart the agent. Else add the user to the group"
            }
        }
    }
}

/// The open listener.
#[derive(Debug)]
pub struct VouchListener {
    listener: OpenListener,
    place: VouchAddress,
}

#[derive(Debug)]
enum OpenListener {
    Unix(LocalSocket),
    Loopback(TcpListener),
}

impl VouchListener {
    /// Opens what the settings ask for.
    pub async fn open(settings: &RelyingPartySettings) -> Result<Self, RelyingPartyListenError> {
        let (listener, place) = match &settings.listen {
            VouchAddress::Unix(path) => {
                let group = settings.group.as_deref().map(own_group).transpose()?;
                let mode = settings.mode.bits();
                let socket = LocalSocket::open(SocketPurpose::Vouching, path, mode, group)?;
                (OpenListener::Unix(socket), VouchAddress::Unix(path.clone()))
            }
            VouchAddress::Loopback(address) => {
                let failed = |error| RelyingPartyListenError::Loopback(*address, error);
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                if address.port() >= PORT_OF_EVERYBODY {
                    warn!(listen = %address, "any user of this machine may take that port while the agent is away, and then vouch for everybody; choose one below 1024, or a socket");
                }
                (OpenListener::Loopback(listener), VouchAddress::Loopback(address))
            }
        };
        let path = |path: &PathBuf| format!("unix:{}", path.display());
        let at = match &place {
            VouchAddress::Unix(socket) => path(socket),
            VouchAddress::Loopback(address) => address.to_string(),
        };
        info!(listen = at, "answering relying parties");
        Ok(Self { listener, place })
    }

    /// Where it listens, with the port that was chosen.
    pub const fn place(&self) -> &VouchAddress {
        &self.place
    }

    /// Answers until `stop`, then lets open requests end.
    pub(crate) async fn serve(self, voucher: Voucher, stop: CancellationToken) {
        let router = router(voucher);
        let connections = TaskTracker::new();
        let room = ConnectionTable::default();
        loop {
            let next = async {
                // The place first: who has none is not accepted, and loses nothing by waiting.
                let place = room.enter().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok(stream) => {
                    place.note_change();
                    let place = Arc::new(place);
                    let (router, stop) = (router.clone(), stop.clone());
                    match stream {
                        AcceptedStream::Unix(stream) => {
                            connections.spawn(connection(stream, router, place, stop));
                        }
                        AcceptedStream::Tcp(stream) => {
                            connections.spawn(connection(stream, router, place, stop));
                        }
                    }
                }
                Err(error) => {
                    debug!(%error, "a relying party's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.close();
        let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
    }
}

enum AcceptedStream {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

impl OpenListener {
    async fn accept(&self) -> io::Result<AcceptedStream> {
        match self {
            Self::Unix(socket) => socket.accept().await.map(AcceptedStream::Unix),
            Self::Loopback(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers are small, and each is waited for.
                let _ = stream.set_nodelay(true);
                Ok(AcceptedStream::Tcp(stream))
            }
        }
    }
}

/// The number of a group that this process may give files to.
fn own_group(name: &str) -> Result<u32, GroupError> {
    let number = number_of(AccountKind::Group, name).map_err(UnknownGroup)?;
    let groups = rustix::process::getgroups().unwrap_or_default();
    let own = rustix::process::getegid();
    let member = groups.iter().chain([&own]).any(|group| group.as_raw() == number);
    if member || rustix::process::geteuid().is_root() {
        Ok(number)
    } else {
        Err(GroupError::NoMember(name.to_owned()))
    }
}

/// The connections that are open.
#[derive(Debug, Clone)]
struct ConnectionTable(Arc<OpenConnections>);

#[derive(Debug)]
struct OpenConnections {
    places: Mutex<HashMap<u64, OpenPlace>>,
    /// How many there have been.
    opened: AtomicU64,
    /// One has ended.
    freed: Notify,
    /// What times are counted from.
    begun: Instant,
}

#[derive(Debug)]
struct OpenPlace {
    make_way: CancellationToken,
    /// When a request last began or ended on it, or when it was accepted, in milliseconds.
    changed: Arc<AtomicU64>,
}

/// One connection's place.
#[derive(Debug)]
struct Place {
    table: ConnectionTable,
    number: u64,
    make_way: CancellationToken,
    changed: Arc<AtomicU64>,
}

impl Default for ConnectionTable {
    fn default() -> Self {
        Self(Arc::new(OpenConnections {
            places: Mutex::default(),
            opened: AtomicU64::new(0),
            freed: Notify::new(),
            begun: clock::monotonic(),
        }))
    }
}

impl ConnectionTable {
    /// A place for one more, once there is one. Where there are too many, the one on which nothing has happened for longest ends,
    /// if that is a while; whoever is being answered is not cut off, and whoever waits in the kernel keeps its place there.
    async fn enter(&self) -> Place {
        loop {
            let freed = self.0.freed.notified();
            match self.enter_now(self.elapsed()) {
                Ok(place) => return place,
                Err(wait) => {
                    let _ = tokio::time::timeout(wait, freed).await;
                }
            }
        }
    }

    /// A place, or how long to wait until one can make way.
    fn enter_now(&self, now: u64) -> Result<Place, Duration> {
        let mut places = self.0.places.lock();
        if places.len() >= CONNECTIONS_MAX {
            let changed = |place: &OpenPlace| place.changed.load(Ordering::Relaxed);
            let oldest = places.iter().map(|(number, place)| (changed(place), *number)).min();
            let (since, number) = oldest.unwrap_or_default();
            let quiet = Duration::from_millis(now.saturating_sub(since));
            if let Some(wait) = QUIET.checked_sub(quiet).filter(|wait| !wait.is_zero()) {
                return Err(wait);
            }
            if let Some(quiet) = places.remove(&number) {
                quiet.make_way.cancel();
            }
        }
        let number = self.0.opened.fetch_add(1, Ordering::Relaxed);
        let (make_way, changed) = (CancellationToken::new(), Arc::new(AtomicU64::new(now)));
        places.insert(number, OpenPlace { make_way: make_way.clone(), changed: Arc::clone(&changed) });
        drop(places);
        Ok(Place { table: self.clone(), number, make_way, changed })
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A request that is open on a connection; it ends with this value, also when its stream is reset.
#[derive(Debug)]
struct OpenRequest(Arc<Place>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.note_change();
    }
}

impl Place {
    fn request_begins(self: Arc<Self>) -> OpenRequest {
        self.note_change();
        OpenRequest(self)
    }

    fn note_change(&self) {
        self.changed.store(self.table.elapsed(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.0.places.lock().remove(&self.number);
        self.table.0.freed.notify_one();
    }
}

/// Answering waits for nothing but what the client sends.
async fn answered(
    router: Router,
    request: hyper::Request<Body>,
    within: Duration,
) -> Result<Response, Infallible> {
    let answer = timeout(within, router.oneshot(request)).await;
    answer.unwrap_or_else(|_| Ok(StatusCode::REQUEST_TIMEOUT.into_response()))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    place: Arc<Place>,
    stop: CancellationToken,
) {
    let asked = Arc::clone(&place);
    let service = tower::service_fn(move |request: hyper::Request<Incoming>| {
        let (router, place) = (router.clone(), Arc::clone(&asked));
        async move {
            let _open = place.request_begins();
            answered(router, request.map(Body::new), REQUEST_WITHIN).await
        }
    });
    let mut http: Builder<TokioExecutor> = connection_builder(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(SILENCE_MAX);
    let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = place.make_way.cancelled() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    // A peer that hangs up is no news.
    let _ = serving.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_quiet_makes_way_and_the_longest_first() {
        let table = ConnectionTable::default();
        let places: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Arc::new(table.enter_now(0).unwrap())).collect();
        let ended = || places.iter().filter(|place| place.make_way.is_cancelled()).count();
        assert_eq!(
            table.enter_now(999).unwrap_err(),
            Duration::from_millis(1),
            "their requests may be on the way"
        );
        // A request begins; this one's place alone is not the longest quiet.
        for place in &places {
            place.changed.store(2000, Ordering::Relaxed);
        }
        places[7].changed.store(1500, Ordering::Relaxed);
        assert!(table.enter_now(2400).is_err());
        let kept = table.enter_now(2500).unwrap();
        assert!(ended() == 1 && places[7].make_way.is_cancelled());
        assert!(table.enter_now(2500).is_err());
        drop(kept);
        assert!(table.enter_now(2500).is_ok(), "one has gone by itself");
        assert_eq!(ended(), 1);
    }

    #[tokio::test]
    async fn a_request_that_does_not_arrive_is_ended() {
        // As a call whose message never ends.
        let router = Router::new().fallback(async |body: Body| {
            let _ = http_body_util::BodyExt::collect(body).await;
        });
        let never = tokio_stream::pending::<Result<axum::body::Bytes, io::Error>>();
        let answer =
            answered(router, hyper::Request::new(Body::from_stream(never)), Duration::from_millis(20));
        assert_eq!(answer.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn who_waits_for_a_place_has_it_when_one_is_free() {
        let table = ConnectionTable::default();
        let mut places: Vec<_> = (0..CONNECTIONS_MAX).map(|_| table.enter_now(u64::MAX).unwrap()).collect();
        let waiting = tokio::spawn({
            let table = table.clone();
            async move { table.enter().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(places.pop());
        drop(waiting.await.unwrap());
    }
}
