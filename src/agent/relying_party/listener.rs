//! The listener for relying parties on this machine: a UNIX socket with the rights of its group, or loopback. Connections
//! are bounded; where there is no room for one more, the one that has been idle for longest makes way.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, info, warn};

use crate::agent::account::{AccountKind, NoSuchAccount, number_of};
use crate::agent::local_socket::{ListenError, LocalSocket, SocketPurpose};
use crate::agent::relying_party::http::router;
use crate::agent::relying_party::settings::{RelyingPartySettings, VouchAddress};
use crate::agent::relying_party::voucher::Voucher;
use crate::tls::listener::accept::connection_builder;

/// Connections at a time. A proxy keeps a few for each of its workers; a process has about a thousand descriptors.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may be silent before or between its requests: longer than proxies keep their connections.
const SILENCE_MAX: Duration = Duration::from_secs(90);
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
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => {
                    if let Some(place) = room.enter() {
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

/// The connections that are open, by when they last began or ended a request.
#[derive(Debug, Clone, Default)]
struct ConnectionTable(Arc<Mutex<OpenConnections>>);

#[derive(Debug, Default)]
struct OpenConnections {
    /// Those without an open request, longest idle first.
    idle: BTreeMap<u64, CancellationToken>,
    count: usize,
    /// Moves with every entry.
    now: u64,
}

/// One connection's place.
#[derive(Debug)]
struct Place {
    table: ConnectionTable,
    make_way: CancellationToken,
    /// Its key among the idle, while it has no open request.
    idle_since: Mutex<(usize, u64)>,
}

impl ConnectionTable {
    /// A place for one more. Where there are too many, the one that has been idle for longest ends; where all have a
    /// request open, there is none.
    fn enter(&self) -> Option<Arc<Place>> {
        let mut open = self.0.lock();
        if open.count >= CONNECTIONS_MAX {
            let (_, longest) = open.idle.pop_first()?;
            longest.cancel();
        }
        open.count += 1;
        open.now += 1;
        let (key, make_way) = (open.now, CancellationToken::new());
        open.idle.insert(key, make_way.clone());
        Some(Arc::new(Place { table: self.clone(), make_way, idle_since: Mutex::new((0, key)) }))
    }
}

/// A request that is open on a connection; it ends with this value, also when its stream is reset.
#[derive(Debug)]
struct OpenRequest(Arc<Place>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

impl Place {
    fn request_begins(self: Arc<Self>) -> OpenRequest {
        let mut since = self.idle_since.lock();
        if since.0 == 0 {
            self.table.0.lock().idle.remove(&since.1);
        }
        since.0 += 1;
        drop(since);
        OpenRequest(self)
    }

    fn request_ends(&self) {
        let mut since = self.idle_since.lock();
        since.0 -= 1;
        if since.0 == 0 {
            let mut open = self.table.0.lock();
            open.now += 1;
            since.1 = open.now;
            open.idle.insert(since.1, self.make_way.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.table.0.lock();
        open.count -= 1;
        open.idle.remove(&self.idle_since.get_mut().1);
    }
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
            router.oneshot(request.map(Body::new)).await
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
    fn the_longest_idle_makes_way_and_a_request_that_was_given_up_is_none() {
        let table = ConnectionTable::default();
        let places: Vec<_> = (0..CONNECTIONS_MAX).map(|_| table.enter().unwrap()).collect();
        let mut open: Vec<_> = places.iter().map(|place| Arc::clone(place).request_begins()).collect();
        assert!(table.enter().is_none(), "all have a request open");
        // Its future is dropped, as when the client resets its stream.
        drop(open.remove(7));
        assert!(table.enter().is_some());
        let ended: Vec<_> = places.iter().map(|place| place.make_way.is_cancelled()).collect();
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
        assert!(ended[7]);
    }
}
