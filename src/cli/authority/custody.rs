//! Root works in a data directory that belongs to the server's user, as with `DynamicUser=`: what root's command
//! makes there must be the server's afterwards, or the server can't open its own store.
//!
//! The directory's owner is not trusted by root: nothing is reached by a path that the owner could exchange
//! meanwhile, only by descriptors; only files by names of ours are given away, and none that has a second name.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fstat, openat, statat};

/// What commands make in a data directory for the server. The root key is not for the server.
const FILES: [&CStr; 7] = [
    c"muster.redb",
    c"revocations.log",
    c"envelope.key",
    c"envelope.key.old",
    c".declared.log",
    c".declared.crl",
    c"envelope.recovery",
];
/// The one directory of ours inside a data directory, and what they make there.
const INSIDE: &CStr = c"tls";
const INSIDE_FILES: [&CStr; 4] = [c"ca.crt", c"ca.key.age", c"server.crt", c"server.key"];

/// While this is held, root works in the data directory; at its end, what root made there is its owner's.
#[derive(Debug)]
#[must_use = "the files are handed over at its end"]
pub(crate) struct Custody {
    data_dir: PathBuf,
}

impl Custody {
    pub(crate) fn of(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }
}

impl Drop for Custody {
    fn drop(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        if let Err(error) = hand_over(&self.data_dir) {
            eprintln!("warning: cannot give the files in {} to its owner: {error}", self.data_dir.display());
        }
    }
}

fn hand_over(data_dir: &Path) -> io::Result<()> {
    // The way here is root's own word, and may be a link, as systemd makes it; what is in there is not.
    let directory = openat(CWD, data_dir, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut owner = fstat(&directory)?;
    if owner.st_uid == 0 {
        // A directory that root has given to the server's group: the server is whoever owns the store.
        match statat(&directory, FILES[0], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(store) if store.st_uid != 0 => owner = store,
            _ => return Ok(()),
        }
    }
    give_all(directory.as_fd(), &FILES, &owner)?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&directory, INSIDE, flags, Mode::empty()) {
        Ok(inside) => {
            if fstat(&inside)?.st_uid == 0 {
                give(&inside, &owner)?;
            }
            give_all(inside.as_fd(), &INSIDE_FILES, &owner)
        }
        // There is none, or it is no directory of ours.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Gives those of these files that are root's to `owner`.
fn give_all(directory: BorrowedFd<'_>, names: &[&CStr], owner: &Stat) -> io::Result<()> {
    for name in names {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match openat(directory, *name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let found = fstat(&file)?;
        // A second name may be the owner's trick to get a file of root's from elsewhere, so the one name that the
        // file has must be this one.
        let named = match statat(directory, *name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) => named,
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        let same = (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino);
        let ours = FileType::from_raw_mode(found.st_mode).is_file() && found.st_uid == 0;
        if ours && same && named.st_nlink == 1 {
            give(&file, owner)?;
        }
    }
    Ok(())
}

fn give(file: &OwnedFd, owner: &Stat) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
    Ok(chownat(file, c"", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
}
