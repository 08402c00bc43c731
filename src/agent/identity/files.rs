//! Files of the identity directory, read within bounds, and only if nobody but their owner can have written them.
//!
//! Whoever can replace the key, or the certificate beside it, chooses whom this machine passes for. So the directory
//! belongs to the user the agent runs as, and a file in it to the owner of the directory; root may own both, because
//! root could do the same anyway.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::IdentityError;

/// Largest file of the directory that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ROOT: u32 = 0;
/// The right to write, of the group and of everybody else.
const OTHERS_WRITE: u32 = 0o022;

/// The content of a file, or `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let unreadable = |error| IdentityError::Unreadable(path.to_owned(), error);
    let mut options = OpenOptions::new();
    // A pipe in place of a file must not hold anybody up.
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(unreadable)?,
    };
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let owner = fs::metadata(dir).map_err(unreadable)?.uid();
    check(path, &found, owner)?;
    let mut text = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(unreadable)?;
    Ok(Some(text))
}

/// Whether the identity directory can be relied on by the user we run as.
pub(super) fn check_directory(path: &Path, dir: &File) -> Result<(), IdentityError> {
    let found = dir.metadata().map_err(|error| IdentityError::Unreadable(path.to_owned(), error))?;
    check(path, &found, rustix::process::geteuid().as_raw())
}

fn check(path: &Path, found: &Metadata, expected: u32) -> Result<(), IdentityError> {
    let owner = found.uid();
    if owner != expected && owner != ROOT {
        return Err(IdentityError::Foreign { path: path.to_owned(), owner, expected });
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(IdentityError::Exposed(path.to_owned()));
    }
    Ok(())
}
