//! The directory of an output: whole sets of files behind one link, which takes one rename to point elsewhere.
//!
//! As Kubernetes does it: `cert.pem` is a link to `..data/cert.pem`, and `..data` a link to the directory of the present
//! set. Whoever opens `..data` once reads one set whatever happens meanwhile; a set that was replaced stays for a while.
//! Everything is done relative to the directory that was opened and judged, so a link that somebody puts into the way
//! leads nowhere.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, Uid,
    fchmod, fchown, flock, fstat, fsync, linkat, mkdirat, openat, readlinkat, renameat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::agent::outputs::files::set::FileSet;
use crate::shell::quoted;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data.new";
/// How the directories of sets begin.
const SET: &str = "..muster-";
/// How the names of links begin that are being made.
const LINK_NEW: &str = "..link.new";
/// How long a set that was replaced stays for those who read it.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// Most sets that stay. Lists change once a second at most.
const KEPT_MAX: usize = 32;

/// How often and how soon somebody else's lock is tried again.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why files can't be written there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error("{} is not there; run: mkdir -m 755 {}", .0.display(), quoted(.0))]
    Missing(PathBuf),
    #[error("{} is a symbolic link, which is not followed; name the directory itself", .0.display())]
    IsALink(PathBuf),
    #[error("{} is no directory", .0.display())]
    NotADirectory(PathBuf),
    #[error("{} belongs to uid {owner}, who could exchange the files in it; run: chown {ours} {}", .path.display(), quoted(.path))]
    ForeignOwner { path: PathBuf, owner: u32, ours: u32 },
    #[error("others may write to {} (mode {mode:04o}) and exchange the files in it; run: chmod go-w {}", .path.display(), quoted(.path))]
    Open { path: PathBuf, mode: u32 },
    #[error("another `muster agent outputs` writes to {}", .0.display())]
    InUse(PathBuf),
    #[error("{} is there and is not ours; move it away", .0.display())]
    InTheWay(PathBuf),
    #[error("{} is read-only here; where a service may not write to it, `muster agent outputs --unit` prints the drop-in that lets it", .0.display())]
    ReadOnly(PathBuf),
    #[error("{} can't be written to", .path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} can't be looked at", .path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("{} can't be given to owner and group as wished", .path.display())]
    Owner { path: PathBuf, source: io::Error },
}

/// Whose the files are, and who may read those with the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileRights {
    pub owner: Option<u32>,
    pub group: Option<u32>,
    pub key_mode: u32,
}

/// A directory that nobody else writes to.
#[derive(Debug)]
pub(crate) struct OutputDirectory {
    directory: OwnedFd,
    path: PathBuf,
}

impl OutputDirectory {
    /// Opens a directory that is fit for files, and keeps every other writer of ours away.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        let opened = Self::look(path)?;
        let mut tries = LOCK_TRIES;
        loop {
            tries -= 1;
            match flock(&opened.directory, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(opened),
                // Perhaps somebody only glances.
                Err(Errno::WOULDBLOCK) if tries > 0 => std::thread::sleep(LOCK_PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(DirectoryError::InUse(path.to_owned())),
                Err(error) => return Err(opened.failed(error)),
            }
        }
    }

    /// A glance of any user who may read it, and whether a writer of ours has it: nothing is judged by who looks, and nobody is
    /// kept away for longer than a moment.
    pub(crate) fn glance(path: &Path) -> Result<(Self, bool), DirectoryError> {
        let opened = Self::opened(path).map_err(|error| match error {
            DirectoryError::Write { path, source } => DirectoryError::Look { path, source },
            error => error,
        })?;
        let kept = flock(&opened.directory, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        if !kept {
            let _ = flock(&opened.directory, FlockOperation::Unlock);
        }
        Ok((opened, kept))
    }

    fn opened(path: &Path) -> Result<Self, DirectoryError> {
        let place = || path.to_owned();
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOENT => DirectoryError::Missing(place()),
            Errno::LOOP => DirectoryError::IsALink(place()),
            Errno::NOTDIR if path.is_symlink() => DirectoryError::IsALink(place()),
            Errno::NOTDIR => DirectoryError::NotADirectory(place()),
            error => DirectoryError::Write { path: place(), source: error.into() },
        })?;
        Ok(Self { directory, path: place() })
    }

    /// Opens it as [`Self::open`] does, for whoever says what would be done.
    pub(crate) fn look(path: &Path) -> Result<Self, DirectoryError> {
        let place = || path.to_owned();
        let opened = Self::opened(path)?;
        let found = fstat(&opened.directory).map_err(|error| opened.failed(error))?;
        let (owner, ours) = (found.st_uid, rustix::process::geteuid().as_raw());
        if owner != ours && owner != 0 {
            return Err(DirectoryError::ForeignOwner { path: place(), owner, ours });
        }
        let mode = found.st_mode & 0o7777;
        if mode & 0o022 != 0 {
            return Err(DirectoryError::Open { path: place(), mode });
        }
        rustix::fs::accessat(
            &opened.directory,
            c".",
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
            AtFlags::EACCESS,
        )
        .map_err(|error| opened.failed(error))?;
        Ok(opened)
    }

    /// Whether its path still leads to it.
    pub(crate) fn is_there(&self) -> bool {
        let held = fstat(&self.directory);
        let found = rustix::fs::lstat(&self.path);
        let same = |held: Stat, found: Stat| (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino);
        held.is_ok_and(|held| found.is_ok_and(|found| same(held, found)))
    }

    /// The present set.
    pub(crate) fn current(&self) -> Option<String> {
        let target = readlinkat(&self.directory, DATA, Vec::new()).ok()?.into_string().ok()?;
        target.starts_with(SET).then_some(target)
    }

    /// Whether the present set is this one and every link leads into it.
    pub(crate) fn has(&self, set: &str, visible: &[String]) -> bool {
        let whole = |name: &String| {
            let linked = readlinkat(&self.directory, name.as_str(), Vec::new());
            let there = statat(&self.directory, name.as_str(), AtFlags::empty());
            linked.is_ok_and(|target| target.as_bytes() == target_of(name).as_bytes()) && there.is_ok()
        };
        self.current().as_deref() == Some(set) && visible.iter().all(whole)
    }

    /// A file of the present set.
    pub(crate) fn read(&self, name: &str, max: u64) -> Option<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let set = self.open_folder(&self.current()?).ok()?;
        let file = openat(set, name, flags, Mode::empty()).ok()?;
        let mut content = Vec::new();
        File::from(file).take(max).read_to_end(&mut content).ok()?;
        Some(content)
    }

    /// Whether anything that is not ours has one of these names.
    pub(crate) fn check_names(&self, visible: &[String]) -> Result<(), DirectoryError> {
        let in_the_way = |name: &str| DirectoryError::InTheWay(self.path.join(name));
        let expected = visible.iter().map(|name| (name.as_str(), target_of(name)));
        for (name, target) in expected.chain([(DATA, SET.to_owned())]) {
            match readlinkat(&self.directory, name, Vec::new()) {
                Ok(found) if found.as_bytes().starts_with(target.as_bytes()) => {}
                Err(Errno::NOENT) => {}
                // It is a link to another place, or no link at all.
                Ok(_) | Err(Errno::INVAL) => return Err(in_the_way(name)),
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok(())
    }

    /// Puts a set in the place of the present one; its name. Whatever fails, the present one is still whole.
    pub(crate) fn write(
        &self,
        set: &FileSet,
        rights: FileRights,
        now: Timestamp,
    ) -> Result<String, DirectoryError> {
        let visible = set.visible();
        self.check_names(&visible)?;
        let name = self.new_name(now)?;
        let before = self.current();
        if let Err(error) = self.fill(&name, set, rights).and_then(|()| self.point_at(&name)) {
            if self.current().as_deref() != Some(&name) {
                self.remove(&name);
            }
            return Err(error);
        }
        if let Some(before) = before {
            // When it was replaced: how long it stays is counted from here.
            let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
            let times = Timestamps { last_access: now, last_modification: now };
            let _ = utimensat(&self.directory, before.as_str(), &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        self.link(&visible)?;
        Ok(name)
    }

    /// Makes the links that lead into the present set, and removes those that no longer lead anywhere.
    pub(crate) fn link(&self, visible: &[String]) -> Result<(), DirectoryError> {
        let failed = |error: Errno| self.failed(error);
        for name in visible {
            let target = target_of(name);
            let found = readlinkat(&self.directory, name.as_str(), Vec::new());
            if found.is_ok_and(|found| found.as_bytes() == target.as_bytes()) {
                continue;
            }
            let _ = unlinkat(&self.directory, LINK_NEW, AtFlags::empty());
            symlinkat(&target, &self.directory, LINK_NEW).map_err(failed)?;
            renameat(&self.directory, LINK_NEW, &self.directory, name.as_str()).map_err(failed)?;
        }
        for name in self.names()? {
            let target = readlinkat(&self.directory, name.as_str(), Vec::new());
            if target.is_ok_and(|target| target.as_bytes() == target_of(&name).as_bytes())
                && !visible.contains(&name)
            {
                unlinkat(&self.directory, name.as_str(), AtFlags::empty()).map_err(failed)?;
            }
        }
        fsync(&self.directory).map_err(failed)
    }

    /// Removes sets that were replaced some time ago, and what a crash has left.
    pub(crate) fn sweep(&self, now: Timestamp) -> Result<(), DirectoryError> {
        let current = self.current();
        let mut kept = BTreeSet::new();
        for name in self.names()? {
            if !name.starts_with(SET) || Some(&name) == current.as_ref() {
                continue;
            }
            let Ok(found) = statat(&self.directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
                kept.insert((found.st_mtime, name));
            }
        }
        let oldest = now.checked_sub(SignedDuration::try_from(KEPT_FOR).unwrap_or_default());
        let oldest = oldest.map_or(i64::MIN, Timestamp::as_second);
        let too_many = kept.len().saturating_sub(KEPT_MAX);
        for (place, (at, name)) in kept.iter().enumerate() {
            if place < too_many || *at < oldest {
                self.remove(name);
            }
        }
        Ok(())
    }

    fn new_name(&self, now: Timestamp) -> Result<String, DirectoryError> {
        let mut random = [0; 6];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| self.failed(Errno::IO))?;
        Ok(format!("{SET}{:013}-{}", now.as_millisecond(), data_encoding::HEXLOWER.encode(&random)))
    }

    fn fill(&self, name: &str, set: &FileSet, rights: FileRights) -> Result<(), DirectoryError> {
        let failed = |error: Errno| self.failed(error);
        mkdirat(&self.directory, name, Mode::RWXU).map_err(failed)?;
        let folder = self.open_folder(name).map_err(failed)?;
        let mut below = BTreeSet::new();
        for file in &set.files {
            let Some((first, others)) = file.names.split_first() else { continue };
            for named in &file.names {
                if let Some((deeper, _)) = named.split_once('/')
                    && below.insert(deeper.to_owned())
                {
                    mkdirat(&folder, deeper, Mode::RWXU).map_err(failed)?;
                }
            }
            self.write_file(&folder, first, &file.content, file.secret, rights)?;
            for other in others {
                linkat(&folder, first.as_str(), &folder, other.as_str(), AtFlags::empty()).map_err(failed)?;
            }
        }
        // Everybody may look which files there are; they guard themselves.
        let open = Mode::from_raw_mode(0o755);
        for deeper in &below {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let deeper = openat(&folder, deeper.as_str(), flags, Mode::empty()).map_err(failed)?;
            fchmod(&deeper, open).map_err(failed)?;
            fsync(&deeper).map_err(failed)?;
        }
        fchmod(&folder, open).map_err(failed)?;
        fsync(&folder).map_err(failed)
    }

    fn write_file(
        &self,
        folder: impl AsFd,
        name: &str,
        content: &[u8],
        secret: bool,
        rights: FileRights,
    ) -> Result<(), DirectoryError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            openat(folder, name, flags, Mode::RUSR | Mode::WUSR).map_err(|error| self.failed(error))?;
        let mut file = File::from(file);
        file.write_all(content)
            .map_err(|source| DirectoryError::Write { path: self.path.clone(), source })?;
        let mode = if secret { rights.key_mode } else { 0o644 };
        // The rights first: they are the new owner's to change afterwards.
        fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| self.failed(error))?;
        if rights.owner.is_some() || rights.group.is_some() {
            let (owner, group) = (rights.owner.map(Uid::from_raw), rights.group.map(Gid::from_raw));
            fchown(&file, owner, group)
                .map_err(|error| DirectoryError::Owner { path: self.path.clone(), source: error.into() })?;
        }
        fsync(&file).map_err(|error| self.failed(error))
    }

    fn point_at(&self, name: &str) -> Result<(), DirectoryError> {
        let failed = |error: Errno| self.failed(error);
        let _ = unlinkat(&self.directory, DATA_NEW, AtFlags::empty());
        symlinkat(name, &self.directory, DATA_NEW).map_err(failed)?;
        // What the link leads to is on disk before the link is.
        fsync(&self.directory).map_err(failed)?;
        renameat(&self.directory, DATA_NEW, &self.directory, DATA).map_err(failed)?;
        fsync(&self.directory).map_err(failed)
    }

    fn open_folder(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        openat(&self.directory, name, flags, Mode::empty())
    }

    fn names(&self) -> Result<Vec<String>, DirectoryError> {
        names_in(&self.directory).map_err(|error| self.failed(error))
    }

    /// Removes a set, which is two levels deep. What can't be removed now goes with the next try.
    fn remove(&self, name: &str) {
        let remove_files = |folder: &OwnedFd| {
            for name in names_in(folder).unwrap_or_default() {
                if unlinkat(folder, name.as_str(), AtFlags::empty()).is_ok() {
                    continue;
                }
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                if let Ok(deeper) = openat(folder, name.as_str(), flags, Mode::empty()) {
                    for name in names_in(&deeper).unwrap_or_default() {
                        let _ = unlinkat(&deeper, name.as_str(), AtFlags::empty());
                    }
                }
                let _ = unlinkat(folder, name.as_str(), AtFlags::REMOVEDIR);
            }
        };
        if let Ok(folder) = self.open_folder(name) {
            remove_files(&folder);
        }
        let _ = unlinkat(&self.directory, name, AtFlags::REMOVEDIR);
    }

    fn failed(&self, error: Errno) -> DirectoryError {
        match error {
            Errno::ROFS => DirectoryError::ReadOnly(self.path.clone()),
            error => DirectoryError::Write { path: self.path.clone(), source: error.into() },
        }
    }
}

fn target_of(name: &str) -> String {
    format!("{DATA}/{name}")
}

fn names_in(folder: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        // Names of ours are ASCII; others are not looked at.
        if let Ok(name) = name.to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    #[test]
    fn a_glance_judges_nobody_and_keeps_no_writer_away() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path();
        // Another user's, or as good as: one that a writer of this user would refuse.
        if rustix::process::geteuid().is_root() {
            chown(path, Some(4321), None).unwrap();
        } else {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).unwrap();
        }
        assert!(OutputDirectory::look(path).is_err());
        let (glanced, kept) = OutputDirectory::glance(path).unwrap();
        assert!(!kept && glanced.current().is_none());
        if rustix::process::geteuid().is_root() {
            chown(path, Some(0), None).unwrap();
        } else {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let writer = OutputDirectory::open(path).unwrap();
        assert!(OutputDirectory::glance(path).unwrap().1);
        assert!(matches!(OutputDirectory::open(path), Err(DirectoryError::InUse(_))));
        drop((writer, glanced));
        assert!(matches!(OutputDirectory::glance(&path.join("nowhere")), Err(DirectoryError::Missing(_))));
    }
}
