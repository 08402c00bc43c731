//! The socket of the Workload API: opened so that it is never there with wrong rights, and cleared away only
//! when it is ours.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as ProbeStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tracing::{debug, warn};

use super::Offered;
use super::authority::FixAuthority;
use super::local_proto::local_service_server::LocalServiceServer;
use super::local_service::LocalApi;
use super::proto::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use super::service::WorkloadApi;
use crate::agent::run::reports::PendingReports;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::workload::connection_limit::ConnectionLimit;

/// For the user and the group that the agent runs as.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 64;
/// Calls at a time on one connection.
const CALLS_PER_CONNECTION_MAX: u32 = 16;
/// Largest request that is read. They are empty, but a later version may add to them.
const REQUEST_BYTES_MAX: usize = 4 * 1024;
/// How long to wait when a connection can't be accepted, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the socket can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("the Workload API's socket {} is no absolute path that fits into a socket address (at most 107 bytes)", .0.display())]
    Path(PathBuf),
    #[error("{} is there and is no socket", .0.display())]
    NotASocket(PathBuf),
    #[error("the socket {} belongs to another user", .0.display())]
    Foreign(PathBuf),
    #[error("another program listens on the socket {}", .0.display())]
    InUse(PathBuf),
    #[error("the Workload API's socket {} can't be opened", .0.display())]
    Open(PathBuf, #[source] io::Error),
}

impl ListenError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Path(_) => {
                "set workload_api.socket to a short absolute path, such as /run/muster-agent/workload.sock"
            }
            Self::NotASocket(_) | Self::Foreign(_) => {
                "nothing was changed; remove it if nobody needs it, or set workload_api.socket to another path"
            }
            Self::InUse(_) => "stop that program, or set workload_api.socket to another path",
            Self::Open(..) => {
                "check that its directory exists and belongs to the user the agent runs as; no other user should be able to write there"
            }
        }
    }
}

/// The open socket. It is removed with this value.
#[derive(Debug)]
pub struct WorkloadListener {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which it is known to be still ours.
    file: (u64, u64),
}

impl WorkloadListener {
    /// Opens the socket in place of one that an agent of this user has left behind.
    pub fn open(path: &Path) -> Result<Self, ListenError> {
        let address = SocketAddrUnix::new(path).ok().filter(|_| path.is_absolute());
        let address = address.ok_or_else(|| ListenError::Path(path.to_owned()))?;
        make_way(path)?;
        let failed = |error: io::Error| ListenError::Open(path.to_owned(), error);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| failed(error.into()))?;
        // Nobody can connect before it listens, and by then it has its rights.
        bind(&socket, &address).map_err(|error| failed(error.into()))?;
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        let file = file_of(path).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(|error| failed(error.into()))?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// Answers callers until `stop`.
    pub(crate) async fn serve(
        self,
        offered: watch::Receiver<Option<Offered>>,
        trust: SharedTrust,
        reports: Arc<PendingReports>,
        guests: ConnectionLimit,
        stop: CancellationToken,
    ) {
        let (accepted, incoming) = mpsc::channel(1);
        let local = LocalServiceServer::new(LocalApi::new(trust.clone(), reports))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let api = SpiffeWorkloadApiServer::new(WorkloadApi::new(offered, trust))
            .max_decoding_message_size(REQUEST_BYTES_MAX);
        let server = Server::builder()
            .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
            .add_service(api)
            .add_service(local)
            .serve_with_incoming(ReceiverStream::new(incoming));
        tokio::select! {
            // Open streams end with their connections.
            () = stop.cancelled() => {}
            () = self.accept(&guests, accepted) => {}
            served = server => if let Err(error) = served {
                warn!(error = &error as &dyn std::error::Error, "the Workload API ended");
            }
        }
    }

    async fn accept(&self, guests: &ConnectionLimit, accepted: mpsc::Sender<io::Result<FixAuthority>>) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "a connection to the Workload API could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            let Some(guest) = guests.welcome(peer.uid()) else { continue };
            if accepted.send(Ok(FixAuthority::new(stream, guest))).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for WorkloadListener {
    fn drop(&mut self) {
        if file_of(&self.path).is_ok_and(|file| file == self.file) {
            // A socket that stays behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file_of(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes what an agent of this user has left behind, and nothing else.
fn make_way(path: &Path) -> Result<(), ListenError> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ListenError::Open(path.to_owned(), error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(ListenError::Foreign(path.to_owned()));
    }
    match ProbeStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| ListenError::Open(path.to_owned(), error))
        }
        Err(error) => Err(ListenError::Open(path.to_owned(), error)),
    }
}
