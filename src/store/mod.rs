//! The store: one redb file, one writer thread, any number of readers.
//!
//! This is the only room that names redb. Requests queue a decision; the writer runs the decisions that are
//! waiting against one transaction, commits them together, publishes what others must know, and then
//! answers. Nothing is answered that is not on disk.

mod apply;
mod backup;
mod by_tenant;
mod change;
mod check;
pub mod journal;
pub mod opening;
mod record;
mod restore;
mod rows;
pub mod tests;
mod view;
mod writer;

use std::path::Path;
use std::sync::Arc;

pub use backup::{BackedUp, BackupError};
pub use by_tenant::Numbered;
pub use change::{Change, Verdict};
pub use check::{CheckedTable, Damage};
use jiff::Timestamp;
use redb::ReadableDatabase;
pub use restore::{RestoreError, Restoring};
use rows::Snapshot;
pub use view::{View, day_of};
pub use writer::WriteError;
use writer::Writer;

use crate::clock::Clock;
use crate::domain::host::Host;
use crate::domain::identity::deny::{DenyChange, DenyList};
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit::{AuditKind, AuditRecord, MissingRecords};
use crate::domain::people::access::AccessChange;
use crate::store::journal::audit_checkpoints::Loss;
use crate::store::journal::file::Journal;
pub use crate::store::journal::file::{JournalError, OnlyInJournal};
use crate::store::opening::disk::Disk;
pub use crate::store::opening::durability::Durability;
pub use crate::store::opening::open::{CHECK_THREAD, OpenError};

/// The store's file inside the data directory.
pub const FILE_NAME: &str = "muster.redb";
/// The revocation journal's file, beside the store's.
pub const JOURNAL_NAME: &str = "revocations.log";

/// A record could not be read. The store may be damaged; nothing was guessed in its place.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("cannot read table {table}")]
    Table {
        table: &'static str,
        #[source]
        source: Box<redb::Error>,
    },
    #[error("a record in table {table} does not match its checksum: the store is damaged")]
    Checksum { table: &'static str },
    #[error("a record in table {table} cannot be understood")]
    Record {
        table: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("the store is being opened anew after a failed commit")]
    Reopening,
    #[error("table {table} names a record that is missing from {missing_from}")]
    Dangling { table: &'static str, missing_from: &'static str },
}

/// What the writer tells the rest of the process after a commit and before its callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    pub deny: Vec<DenyChange>,
    pub hosts: Vec<HostChange>,
    /// Hosts that got a certificate.
    pub enrollments: Vec<(TenantId, HostId)>,
    /// Hosts whose agents have reported events.
    pub reports: Vec<(TenantId, HostId)>,
    pub secrets: Vec<(TenantId, CredentialId)>,
    /// What the audit trail has got, to be counted.
    pub audited: Vec<AuditKind>,
    /// The same as it stands in the trail.
    pub records: Vec<AuditRecord>,
    /// Whose rights have changed: who holds a stream open on the strength of them must prove them anew.
    pub access: Vec<AccessChange>,
    /// This is all of the store and not what has changed in it: denials and hosts that are not named are gone.
    pub whole: bool,
}

/// What became of a host's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostChange {
    Put(Box<Host>),
    Removed { tenant: TenantId, id: HostId },
}

/// Called on the writer thread for every commit that published something. Must not block.
pub type Publish = Box<dyn Fn(&Published) + Send>;

/// A handle to the open store. Clones share it; the file closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    // The writer is dropped first: it drains its queue and commits while the database is still open.
    writer: Arc<Writer>,
    disk: Arc<Disk>,
    deny: DenyList,
    loss: Arc<Loss>,
}

impl Store {
    /// Opens the store at `path`, creating it if there is none, and proves its integrity before anything
    /// is read from it.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, publish: Publish) -> Result<Self, OpenError> {
        let database = crate::store::opening::open::open(path, clock.now())?;
        let (journal, missing) =
            crate::store::opening::open::journal(&database, &path.with_file_name(JOURNAL_NAME), clock.now())?;
        let store = Self::start(Disk::new(Some(path.to_owned()), database), Some(journal), clock, publish)?;
        store.loss.found(missing);
        Ok(store)
    }

    /// Reads from a store without opening it for writing, and so without touching the file; `None` when there
    /// is no store, or when only a proper opening can tell, as after a crash.
    pub fn peek<T: Send + 'static>(
        path: &Path,
        read: impl FnOnce(&View<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Option<T> {
        crate::store::opening::open::apart(path, move |path| {
            let transaction = crate::store::opening::open::read_only(path)?.begin_read().ok()?;
            read(&View::new(&Snapshot { transaction })).ok()
        })
        .ok()??
    }

    fn start(
        disk: Disk,
        journal: Option<Journal>,
        clock: Arc<dyn Clock>,
        publish: Publish,
    ) -> Result<Self, OpenError> {
        let disk = Arc::new(disk);
        let deny = DenyList::default();
        let snapshot = Snapshot { transaction: disk.begin_read()? };
        deny.apply(View::new(&snapshot).denied()?);
        drop(snapshot);
        let loss = Arc::new(Loss::default());
        let writer =
            Writer::start(Arc::clone(&disk), journal, Arc::clone(&loss), clock, deny.clone(), publish)?;
        Ok(Self { writer: Arc::new(writer), disk, deny, loss })
    }

    /// Reads from a consistent snapshot. Meant for point reads and short pages; long scans belong on a
    /// blocking thread.
    pub fn read<T, E: From<ReadError>>(&self, read: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let snapshot = Snapshot { transaction: self.disk.begin_read()? };
        read(&View::new(&snapshot))
    }

    /// Writes every row of a consistent snapshot, taken now, to `to`. Blocking and long.
    pub fn back_up(&self, now: Timestamp, to: &mut dyn std::io::Write) -> Result<BackedUp, BackupError> {
        backup::write(&Snapshot { transaction: self.disk.begin_read()? }, now, to)
    }

    /// Reads everything that is committed now and holds it together. Blocking and long.
    pub fn check(&self, now: Timestamp, report: &mut dyn FnMut(CheckedTable)) -> Result<(), Damage> {
        check::check(&Snapshot { transaction: self.disk.begin_read()? }, now, report)
    }

    /// Queues a decision and waits until its changes are on disk.
    ///
    /// The decision runs on the writer thread: it must be quick, finish every check before it returns
    /// changes, and leave hashing and signing to its caller.
    pub async fn write<T, E, D>(&self, decision: D) -> Result<Result<T, E>, WriteError>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        self.writer.submit(decision).await
    }

    /// The live deny list, kept by the writer.
    pub fn deny_list(&self) -> &DenyList {
        &self.deny
    }

    /// Records of the audit trail that were missing when the store was opened, until that is on record.
    pub fn missing_records(&self) -> Option<MissingRecords> {
        self.loss.get()
    }

    /// Whether the store takes writes, as far as is known: not from a failed commit until one has succeeded.
    pub fn takes_writes(&self) -> bool {
        self.writer.is_healthy()
    }

    /// Commits that failed since the store was opened.
    pub fn failed_commits(&self) -> u64 {
        self.writer.failed_commits()
    }

    /// Opens a store that lives in memory, for tests of rooms above.
    #[cfg(test)]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Builder::new().create_with_backend(backend).expect("memory does not fail");
        crate::store::opening::open::initialise(&database, clock.now()).expect("memory does not fail");
        Self::start(Disk::new(None, database), None, clock, Box::new(|_| {})).expect("a fresh store opens")
    }
}
