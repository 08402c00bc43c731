//! Files of the identity directory, read within bounds, and only if nobody but their owner can have written them.
//!
//! Whoever can replace the key, or the certificate beside it, chooses whom this machine passes for. So the directory
//! belongs to the user the agent runs as, and a file in it to the owner of the directory; root may own both, because
//! root could do the same anyway.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::IdentityError;
use crate::secret_file::{self, SecretFileError, SecretReader};

/// Largest file of the directory that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ROOT: u32 = 0;
/// The right to write, of the group and of everybody else.
const OTHERS_WRITE: u32 = 0o022;

/// The content of a file, or `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    read_if(path, FILE_BYTES_MAX, |_| Ok(()))
}

/// The same of a file that may be larger than most.
pub(crate) fn read_up_to(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    read_if(path, bytes_max, |_| Ok(()))
}

/// The same of a private key, which nobody else may even read.
pub(crate) fn read_key(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    read_if(path, FILE_BYTES_MAX, |found| {
        secret_file::check_mode(path, found).map_err(IdentityError::ExposedKey)
    })
}

fn read_if(
    path: &Path,
    bytes_max: u64,
    judge: impl FnOnce(&Metadata) -> Result<(), IdentityError>,
) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let dir = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let content = SecretReader::named().read_if(path, bytes_max, |found| {
        let owner =
            fs::metadata(dir).map_err(|error| IdentityError::Unreadable(path.to_owned(), error))?.uid();
        check(path, found, owner)?;
        judge(found)
    });
    match content {
        Err(IdentityError::Unreadable(_, error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        content => content.map(Some),
    }
}

impl From<SecretFileError> for IdentityError {
    fn from(error: SecretFileError) -> Self {
        match error {
            SecretFileError::Read { path, source } => Self::Unreadable(path, source),
            SecretFileError::NotAFile { path } => {
                Self::Unreadable(path, io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"))
            }
            SecretFileError::TooLong { path, .. } => {
                Self::Unreadable(path, io::Error::new(io::ErrorKind::InvalidInput, "it is too long"))
            }
            error => Self::ExposedKey(error),
        }
    }
}

/// Whether the identity directory can be relied on by the user we run as.
pub(crate) fn check_directory(path: &Path, dir: &File) -> Result<(), IdentityError> {
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
