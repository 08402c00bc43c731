//! Files that are there whole or not at all, and stay there: written beside their place, synced, renamed.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tempfile::NamedTempFile;

/// How the names of files begin that are being written.
const UNFINISHED: &str = ".muster-";

/// For private keys.
pub const OWNER_ONLY: u32 = 0o600;
/// For certificates.
pub const WORLD_READABLE: u32 = 0o644;

/// Writes a file in place of whatever has its name.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = Unfinished::begin_replacing(path)?;
    file.write_all(content)?;
    file.finish_with_mode(mode)
}

/// The same for what may be lost when the machine loses power: the file is there whole, as it was or as it is now.
pub fn replace_unsynced(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = Unfinished::begin_replacing(path)?;
    file.write_all(content)?;
    file.file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.file.persist(&file.path)?;
    Ok(())
}

/// Writes a file whose name must be free; otherwise `AlreadyExists`, and nothing has changed.
pub fn create(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = Unfinished { replaces: false, ..Unfinished::begin_replacing(path)? };
    file.write_all(content)?;
    file.finish_with_mode(mode)
}

/// Renames inside one directory, for good.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_directory(directory(to))
}

/// Removes what a crash left of files that were being written. Only for a directory that nobody else is writing to.
pub fn sweep(directory: &Path) -> io::Result<()> {
    sweep_named(directory, UNFINISHED)
}

/// The same of files whose names begin otherwise, in a directory where nobody else is writing such.
pub fn sweep_named(directory: &Path, beginning: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(beginning.as_bytes()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether a file of this name is being written, or was when a crash came.
pub fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// A file that is written bit by bit and gets its name when it is whole; until then it goes away by itself.
#[derive(Debug)]
pub struct Unfinished {
    file: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

impl Unfinished {
    /// Begins a file for its owner alone, whose name must be free now and when it is done.
    pub fn begin(path: &Path) -> io::Result<Self> {
        match path.symlink_metadata() {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { file: unnamed(directory(path))?, path: path.to_owned(), replaces: false })
    }

    /// Begins a file for its owner alone, which takes the place of whatever has its name when it is done.
    pub fn begin_replacing(path: &Path) -> io::Result<Self> {
        Ok(Self { file: unnamed(directory(path))?, path: path.to_owned(), replaces: true })
    }

    /// The same for everybody whom `mode` admits.
    pub fn finish_with_mode(self, mode: u32) -> io::Result<()> {
        self.file.as_file().set_permissions(Permissions::from_mode(mode))?;
        self.finish()
    }

    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        if self.replaces {
            self.file.persist(&self.path)?;
        } else {
            self.file.persist_noclobber(&self.path)?;
        }
        sync_directory(directory(&self.path))
    }
}

impl Write for Unfinished {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.file.write(content)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file without its name yet. Its error says nothing of the name it has meanwhile.
fn unnamed(directory: &Path) -> io::Result<NamedTempFile> {
    let made = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(directory);
    made.map_err(|error| error.kind().into())
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A directory of ours inside another one, held open.
///
/// Root works in data directories of less trusted users, who could put a link in the place of a directory in there at
/// any moment. What is done to [`Held::file`] is done in the directory that was looked at, wherever its name leads.
#[derive(Debug)]
pub struct Held {
    directory: OwnedFd,
    path: PathBuf,
}

impl Held {
    /// Opens a directory that only its owner may enter, and makes it unless it is there. Its parent must exist. A link
    /// in its place is refused; the way to its parent may hold links.
    pub fn make(path: &Path) -> io::Result<Self> {
        private_directory(path)?;
        Self::open(path)
    }

    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => io::Error::new(io::ErrorKind::NotADirectory, NOT_A_DIRECTORY),
            error => error.into(),
        })?;
        Ok(Self { directory, path: path.to_owned() })
    }

    /// A file in it, for opening, writing and renaming.
    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.directory.as_raw_fd())).join(name)
    }

    /// A file in it, for messages.
    pub fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

const NOT_A_DIRECTORY: &str = "it is not a directory; a symbolic link in its place is not followed";

/// Makes a directory that only its owner may enter, unless it is there. Its parent must exist. A link in its place is
/// not followed.
pub fn private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    let is_directory = || path.symlink_metadata().is_ok_and(|found| found.is_dir());
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && is_directory() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(io::ErrorKind::NotADirectory, NOT_A_DIRECTORY))
        }
        Err(error) => Err(error),
        Ok(()) => sync_directory(directory(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_mode_and_leave_nothing_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, OWNER_ONLY, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(create(&path, OWNER_ONLY, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, WORLD_READABLE, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, WORLD_READABLE);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn private_directories_have_a_parent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls");
        private_directory(&path).unwrap();
        private_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(private_directory(&directory.path().join("a/b")).is_err());
    }

    #[test]
    fn a_directory_that_is_held_stays_the_one_it_was() {
        let room = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (room.path().join("tls"), room.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        let held = Held::make(&path).unwrap();
        // Its owner's trick, played between the look and the write.
        fs::rename(&path, room.path().join("aside")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        replace(&held.file("key"), OWNER_ONLY, b"one").unwrap();
        assert_eq!(fs::read(room.path().join("aside/key")).unwrap(), b"one");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        let error = Held::make(&path).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert!(Held::open(&path).is_err());
    }
}
