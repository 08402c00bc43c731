//! Bringing back what agents trust the server by, and nothing else, where the store is well and `tls/` is lost.

use std::io::BufRead;
use std::path::Path;

use crate::app::keep::backup::contents::{self, BesideTheStore};
use crate::app::keep::restore::{RestoreError, ServerFilesAfter};
use crate::ca::envelope::Envelope;
use crate::ca::seal::Unauthenticated;
use crate::ca::server::PutBackError;
use crate::store;

/// Puts `tls/` back from a backup. Nothing that is there is replaced. Blocking and long: all of the backup is read first.
pub fn restore_server_files(
    data_dir: &Path,
    sealed: impl BufRead,
    envelope: &Envelope,
) -> Result<ServerFilesAfter, RestoreError> {
    let mut opening = envelope.opening(sealed, Unauthenticated::Refuse)?;
    let mut beside = BesideTheStore::default();
    store::backup::inspect(&mut opening, &mut |name, piece| match name {
        store::JOURNAL_NAME => Ok(true),
        _ => beside.take(name, piece),
    })?;
    if beside.server().is_empty() {
        return Ok(ServerFilesAfter::NotInBackup);
    }
    let files = beside.to_put_back(data_dir)?;
    if files.is_empty() {
        return Ok(ServerFilesAfter::Kept);
    }
    contents::put_back(&files, data_dir).map_err(PutBackError::from)?;
    Ok(ServerFilesAfter::Restored)
}
