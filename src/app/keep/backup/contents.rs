//! What a backup holds beside the store: what agents trust the server by, the revocation journal, the recovery recipients.

use std::io;
use std::path::Path;

use super::BackupError;
use crate::ca::envelope::{EnvelopeError, RECOVERY_FILE, recovery};
use crate::ca::server::{KeptServerFiles, PutBackError, ServerCaError};
use crate::store::{self, BackedUpFile, SnapshotWriteError};

/// The directory of the server's own certificate, in the data directory.
const TLS: &str = "tls";

/// Recovery recipients are a few lines.
const RECOVERY_MAX: usize = 64 << 10;

/// The files of a data directory that go into a backup.
pub(crate) fn files_of(data_dir: &Path) -> Result<Vec<BackedUpFile>, BackupError> {
    let unreadable = |source| SnapshotWriteError::File { name: store::JOURNAL_NAME, source };
    let mut files: Vec<_> = store::backup::journal(data_dir).map_err(unreadable)?.into_iter().collect();
    for (name, content) in KeptServerFiles::read(&data_dir.join(TLS))?.named() {
        files.push(BackedUpFile { name, content: Box::new(io::Cursor::new(content.clone())) });
    }
    if let Some(recipients) = recovery::backed_up(data_dir)? {
        files.push(BackedUpFile {
            name: RECOVERY_FILE,
            content: Box::new(io::Cursor::new(recipients.into_bytes())),
        });
    }
    Ok(files)
}

/// The files that came out of a backup, as far as they are not the store's own.
#[derive(Debug, Default)]
pub(crate) struct BesideTheStore {
    server: KeptServerFiles,
    recovery: Option<Vec<u8>>,
}

impl BesideTheStore {
    /// Takes a piece of a file; whether it is one that is known here.
    pub(crate) fn take(&mut self, name: &str, piece: &[u8]) -> io::Result<bool> {
        if name != RECOVERY_FILE {
            return self.server.take(name, piece);
        }
        let recovery = self.recovery.get_or_insert_default();
        recovery.extend_from_slice(piece);
        if recovery.len() > RECOVERY_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has a file that is too long"));
        }
        Ok(true)
    }

    /// Takes all of it in place of what came before.
    pub(crate) fn replace_server(&mut self, server: KeptServerFiles) {
        self.server = server;
    }

    /// What agents trust the server by.
    pub(crate) const fn server(&self) -> &KeptServerFiles {
        &self.server
    }

    /// What of the server's files is to be put back, if nothing is in the way of it.
    pub(crate) fn to_put_back(&self, data_dir: &Path) -> Result<KeptServerFiles, PutBackError> {
        self.server.to_put_back(&data_dir.join(TLS))
    }

    /// Puts back who recovers what is sealed.
    pub(crate) fn put_recovery_back(&self, data_dir: &Path) -> Result<(), EnvelopeError> {
        match &self.recovery {
            Some(recipients) => recovery::put_back(data_dir, &String::from_utf8_lossy(recipients)),
            None => Ok(()),
        }
    }
}

/// What agents trust the server by, as it lies in a data directory.
pub(crate) fn server_files_of(data_dir: &Path) -> Result<KeptServerFiles, ServerCaError> {
    KeptServerFiles::read(&data_dir.join(TLS))
}

/// Writes what [`BesideTheStore::to_put_back`] has found.
pub(crate) fn put_back(files: &KeptServerFiles, data_dir: &Path) -> Result<(), ServerCaError> {
    files.put_back(&data_dir.join(TLS))
}
