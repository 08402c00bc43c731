//! A UNIX socket for programs on this machine: opened so that it is never there with wrong rights, and cleared away only
//! when it is ours.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as ProbeStream;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Gid, Uid};
use tokio::net::{UnixListener, UnixStream};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketPurpose {
    WorkloadApi,
    Vouching,
}

impl SocketPurpose {
    const fn whose(self) -> &'static str {
        match self {
            Self::WorkloadApi => "the Workload API's",
            Self::Vouching => "the relying parties'",
        }
    }
}

/// Why the socket can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{} socket {} is no absolute path that fits into a socket address (at most 107 bytes)", .0.whose(), .1.display())]
    Path(SocketPurpose, PathBuf),
    #[error("{} is there and is no socket", .1.display())]
    NotASocket(SocketPurpose, PathBuf),
    #[error("the socket {} belongs to another user", .1.display())]
    Foreign(SocketPurpose, PathBuf),
    #[error("another program listens on the socket {}", .1.display())]
    InUse(SocketPurpose, PathBuf),
    #[error("{} socket {} can't be opened", .0.whose(), .1.display())]
    Open(SocketPurpose, PathBuf, #[source] io::Error),
}

impl ListenError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        use SocketPurpose::{Vouching, WorkloadApi};
        match self {
            Self::Path(WorkloadApi, _) => {
                "set workload_api.socket to a short absolute path, such as /run/muster-agent/workload.sock"
            }
            Self::Path(Vouching, _) => {
                "set relying_party.listen to a short absolute path, such as unix:/run/muster-agent/vouch.sock"
            }
            Self::NotASocket(WorkloadApi, _) | Self::Foreign(WorkloadApi, _) => {
                "nothing was changed; remove it if nobody needs it, or set workload_api.socket to another path"
            }
            Self::NotASocket(Vouching, _) | Self::Foreign(Vouching, _) => {
                "nothing was changed; remove it if nobody needs it, or set relying_party.listen to another path"
            }
            Self::InUse(WorkloadApi, _) => "stop that program, or set workload_api.socket to another path",
            Self::InUse(Vouching, _) => "stop that program, or set relying_party.listen to another path",
            Self::Open(..) => {
                "check that its directory exists and belongs to the user the agent runs as; no other user should be able to write there"
            }
        }
    }
}

/// An open socket. Its file is removed with this value.
#[derive(Debug)]
pub struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode, by which it is known to be still ours.
    file: (u64, u64),
}

impl LocalSocket {
    /// Opens the socket in place of one that an agent of this user has left behind, with these rights, for this group.
    pub fn open(
        purpose: SocketPurpose,
        path: &Path,
        mode: u32,
        group: Option<u32>,
    ) -> Result<Self, ListenError> {
        let address = SocketAddrUnix::new(path).ok().filter(|_| path.is_absolute());
        let address = address.ok_or_else(|| ListenError::Path(purpose, path.to_owned()))?;
        make_way(purpose, path)?;
        let failed = |error: io::Error| ListenError::Open(purpose, path.to_owned(), error);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| failed(error.into()))?;
        // Nobody can connect before it listens, and by then it has its rights.
        bind(&socket, &address).map_err(|error| failed(error.into()))?;
        if let Some(group) = group {
            let group = Some(Gid::from_raw(group));
            rustix::fs::chown(path, None::<Uid>, group).map_err(|error| failed(error.into()))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        let file = file_of(path).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(|error| failed(error.into()))?;
        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), file })
    }

    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for LocalSocket {
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
fn make_way(purpose: SocketPurpose, path: &Path) -> Result<(), ListenError> {
    let failed = |error| ListenError::Open(purpose, path.to_owned(), error);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(purpose, path.to_owned()));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(ListenError::Foreign(purpose, path.to_owned()));
    }
    match ProbeStream::connect(path) {
        Ok(_) => Err(ListenError::InUse(purpose, path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}
