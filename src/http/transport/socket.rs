//! The UNIX socket: how commands on the server's own machine reach the router.
//!
//! The socket is 0600 inside a directory of 0700, and every peer's uid is checked besides.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::input::drain::answer;
use crate::http::transport::origin::Transport;
use crate::tls::listener::log_limit::LogLimit;

/// The socket's file inside the data directory.
pub const FILE_NAME: &str = "muster.sock";

/// Connections at a time: commands on this machine open one each. Later ones wait in the kernel's queue, so
/// that a runaway script of the operator's takes no descriptors from the agents.
const CONNECTIONS_MAX: usize = 32;

/// How long the accept loop rests when the process has no descriptor for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// How long open requests may take once the server is stopping.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("{} is in the way: it is not a socket of ours; move it away", .0.display())]
    InTheWay(PathBuf),
    #[error("cannot listen on {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
}

/// Octets of a socket's address, with the zero at its end (unix(7)).
const ADDRESS_MAX: usize = 108;

/// What a socket's file is called for `bind` and `connect`, which take short names only: a long one is reached through
/// a descriptor of its directory, which must stay open meanwhile.
fn address(path: &Path) -> io::Result<(Option<OwnedFd>, PathBuf)> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((None, path.to_owned()));
    };
    if path.as_os_str().len() < ADDRESS_MAX {
        return Ok((None, path.to_owned()));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let through = format!("/proc/self/fd/{}", directory.as_raw_fd());
    Ok((Some(directory), Path::new(&through).join(name)))
}

/// Connects to a server's socket.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let (_directory, address) = address(path)?;
    UnixStream::connect(address).await
}

/// The bound socket; its file goes when this does.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A file that is already gone is what we want.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Socket {
    /// Binds the socket. The caller holds the store's lock, so a socket that is already there is a dead
    /// server's and makes way.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Listen { path: path.to_owned(), source };
        match path.symlink_metadata() {
            Ok(found) if found.file_type().is_socket() && found.uid() == own_uid() => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Ok(_) => return Err(SocketError::InTheWay(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let (_directory, address) = address(path).map_err(failed)?;
        let listener = UnixListener::bind(address).map_err(failed)?;
        let socket = Self { listener, path: path.to_owned() };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(socket)
    }

    /// Serves the router until `shutdown`, then lets open requests finish.
    pub async fn serve(self, router: Router, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut failures = LogLimit::default();
        loop {
            let next = async {
                let seat = Arc::clone(&room).acquire_owned().await;
                (seat, self.listener.accept().await)
            };
            let (seat, accepted) = tokio::select! {
                () = shutdown.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok((stream, _)) => {
                    let serving = connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        serving.await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    if failures.is_due() {
                        tracing::warn!(%error, "cannot accept on the UNIX socket; trying again");
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
        connections.close();
        // What is still open after the deadline ends with the process.
        let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

async fn connection(stream: UnixStream, router: Router, shutdown: CancellationToken) {
    let uid = match stream.peer_cred() {
        Ok(peer) => peer.uid(),
        Err(error) => {
            tracing::warn!(%error, "a process on the UNIX socket did not show its user; refused");
            return;
        }
    };
    if uid != own_uid() && uid != 0 {
        tracing::warn!(uid, "a process of another user reached the UNIX socket; refused");
        return;
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Transport::Socket { uid });
        let answering = answer(router.clone(), request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(10));
    let mut serving = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => {}
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            // A peer that hangs up is no news.
            let _ = serving.await;
        }
    }
}
