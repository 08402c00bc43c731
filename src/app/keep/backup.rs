//! Backing up while serving: one snapshot and what belongs beside it, sealed with the envelope as it is written.

pub mod contents;
pub mod scheduled;
pub mod server_files;
pub mod verify;

use std::io::Write;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable};
use crate::ca::authority::{Authority, AuthorityError};
pub use crate::ca::envelope::EnvelopeSettings;
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::server::ServerCaError;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{self, Change};

/// Why there is no backup, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The settings name none, and none lies where one is looked for unnamed.
    #[error("there is no envelope to seal the backup with")]
    NoEnvelope,
    /// It was found and can't be used, or it could not seal.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Found out before anything is written: whoever restores must open both with one envelope.
    #[error(
        "the envelope is not the one that the agent CA is sealed with, so the backup could never be used"
    )]
    OtherEnvelope(#[source] AuthorityError),
    /// What lies in `tls/` can't be read.
    #[error("what agents trust the server by could not be read")]
    ServerFiles(#[from] ServerCaError),
    /// The snapshot could not be read, or the output took no more.
    #[error(transparent)]
    Store(#[from] store::SnapshotWriteError),
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A backup that may begin.
#[derive(Debug)]
pub struct Backup {
    app: Arc<App>,
    envelope: Envelope,
    begun_at: Timestamp,
    /// Whether somebody asked for it, who keeps it somewhere.
    asked_for: bool,
}

impl App {
    /// Finds what a backup is sealed with and puts it on record that one is taken.
    pub async fn begin_backup(
        self: &Arc<Self>,
        caller: &Caller,
        settings: &EnvelopeSettings,
    ) -> Result<Backup, BackupError> {
        let event = caller.event(AuditAction::StoreBackup, None, store::FILE_NAME);
        self.begin(event, settings, true).await
    }

    async fn begin(
        self: &Arc<Self>,
        event: AuditEvent,
        settings: &EnvelopeSettings,
        asked_for: bool,
    ) -> Result<Backup, BackupError> {
        let envelope = Envelope::find(settings)?.ok_or(BackupError::NoEnvelope)?;
        if let Some(hierarchy) = self.hierarchy()? {
            drop(Authority::open(&hierarchy, &envelope).map_err(BackupError::OtherEnvelope)?);
        }
        let begun_at = self.clock.now();
        self.record(vec![Change::Audit(event)]).await?;
        Ok(Backup { app: Arc::clone(self), envelope, begun_at, asked_for })
    }
}

impl Backup {
    /// Writes the sealed backup; how many rows are in it.
    pub async fn write_to(self, output: impl Write + Send + 'static) -> Result<u64, BackupError> {
        let (app, begun_at, asked_for) = (Arc::clone(&self.app), self.begun_at, self.asked_for);
        let rows = app.query_long(move |_| self.write(output)).await?;
        // What the server makes by itself is not in its place yet.
        if asked_for {
            app.note_backup(begun_at, true).await;
        }
        Ok(rows)
    }

    fn write(self, output: impl Write) -> Result<u64, BackupError> {
        // Before the snapshot: a journal that knew more than the store would say that records are missing.
        let files = contents::files_of(&self.app.data_dir)?;
        let mut sealing = self.envelope.sealing(output)?;
        let backed_up = self.app.store.back_up(files, self.begun_at, &mut sealing)?;
        let mut output = sealing.finish().map_err(store::SnapshotWriteError::Write)?;
        output.flush().map_err(store::SnapshotWriteError::Write)?;
        Ok(backed_up.rows)
    }
}
