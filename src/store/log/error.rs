//! Why a change log can't be used.

use std::io;
use std::path::PathBuf;

use crate::store::FILE_NAME;

/// Why the change log beside a store can't be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeLogError {
    /// It could not be read or written.
    #[error("cannot use the change log {}", path.display())]
    Io {
        /// The log's directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store was in use when it was copied or its machine stopped, and what it had promised since is not there.
    #[error(
        "the store {} was not closed, and its change log {} is missing or does not reach back to it: the last of what was \
         promised is there; put it back beside the store, or restore a backup",
        .0.with_file_name(FILE_NAME).display(),
        .0.display()
    )]
    Missing(PathBuf),
    /// Changes are missing in the middle.
    #[error(
        "the change log {} is damaged: change {number} is missing or not as it was written, and there are later ones; \
         restore a backup, or a replica",
        path.display()
    )]
    Damaged {
        /// The log's directory.
        path: PathBuf,
        /// The first that is missing.
        number: u64,
    },
}
