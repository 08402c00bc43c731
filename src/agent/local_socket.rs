//! A UNIX socket for programs on this machine: opened so that it is never there with wrong rights, and cleared away only
//! when it is ours.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as ProbeStream;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chownat, fstat};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{Gid, Uid};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

/// Connections that wait to be accepted. One too many is an error at once for a program that does not block (`EAGAIN`), so it is
/// all that kernels allow.
const BACKLOG: i32 = 4096;

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
    #[error("others may write to {} and put a socket of their own in the place of {} (it belongs to uid {owner}, mode {mode:04o})", .folder.display(), .purpose.whose())]
    Folder { purpose: SocketPurpose, folder: PathBuf, owner: u32, mode: u32 },
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
            Self::Folder { .. } => {
                "choose a folder that belongs to root or to the user that the agent runs as and that nobody else may write to, such as /run/muster-agent; for programs of other users `group` opens the socket itself"
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
        judge_folder(purpose, path)?;
        make_way(purpose, path)?;
        let failed = |error: io::Error| ListenError::Open(purpose, path.to_owned(), error);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| failed(error.into()))?;
        // Nobody can connect before it listens, and by then it has its rights.
        bind(&socket, &address).map_err(|error| failed(error.into()))?;
        give_rights(path, mode, group).map_err(failed)?;
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

/// Sets the rights of the socket at a path, and of nothing else: whoever may write to the folder could put a link in its place.
fn give_rights(path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&file)?;
    let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
    if !is_socket || found.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("something else has taken its place"));
    }
    if let Some(group) = group {
        chownat(&file, "", None::<Uid>, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?;
    }
    // A file that is open like this has its rights changed by this name alone.
    fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), Permissions::from_mode(mode))
}

/// Whoever could exchange the socket would answer in the agent's place. For vouching that is to let in whom they like; volumes
/// that containers share are often everybody's, and the Workload API has been served on them.
fn judge_folder(purpose: SocketPurpose, path: &Path) -> Result<(), ListenError> {
    let folder = path.parent().unwrap_or(path);
    let found = fs::metadata(folder);
    let found = found.map_err(|error| ListenError::Open(purpose, path.to_owned(), error))?;
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    let (others_write, sticky) = (mode & 0o022 != 0, mode & 0o1000 != 0);
    let ours = owner == 0 || owner == rustix::process::geteuid().as_raw();
    if ours && (!others_write || sticky) {
        return Ok(());
    }
    let error = ListenError::Folder { purpose, folder: folder.to_owned(), owner, mode };
    match purpose {
        SocketPurpose::Vouching => Err(error),
        SocketPurpose::WorkloadApi => {
            warn!(hint = error.hint(), "{error}");
            Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_folder_where_others_could_exchange_the_socket_is_refused_for_vouching() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("shared");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s.sock");
        let open = |purpose, mode| {
            fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            LocalSocket::open(purpose, &path, 0o660, None).err()
        };
        for (mode, good) in
            [(0o700, true), (0o755, true), (0o1777, true), (0o777, false), (0o775, false), (0o757, false)]
        {
            assert_eq!(open(SocketPurpose::Vouching, mode).is_none(), good, "{mode:o}");
            assert!(open(SocketPurpose::WorkloadApi, mode).is_none(), "{mode:o}");
        }
    }

    #[tokio::test]
    async fn rights_are_the_socket_s_and_never_those_of_what_a_link_leads_to() {
        let room = tempfile::tempdir().unwrap();
        let (path, secret) = (room.path().join("s.sock"), room.path().join("secret"));
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let socket = LocalSocket::open(SocketPurpose::Vouching, &path, 0o660, None).unwrap();
        assert_eq!(mode(&path), 0o660);
        fs::write(&secret, "key").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&secret, &path).unwrap();
        assert!(give_rights(&path, 0o666, Some(rustix::process::getegid().as_raw())).is_err());
        assert_eq!(mode(&secret), 0o600);
        drop(socket);
        assert!(path.is_symlink(), "it is not ours");
    }
}
