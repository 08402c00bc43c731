//! The store as everybody holds it: reads on snapshots, writes through the writer.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use redb::ReadableDatabase;

use super::CommitFigures;
use crate::clock::Clock;
use crate::domain::identity::deny::DenyList;
use crate::domain::insight::audit::MissingRecords;
use crate::store::backup::{BackedUp, BackedUpFile, SnapshotWriteError};
use crate::store::change::Verdict;
use crate::store::journal::audit_checkpoints::Loss;
use crate::store::journal::file::Journal;
use crate::store::layers::snapshot::Snapshot;
use crate::store::log::change_log::ChangeLog;
use crate::store::log::position::LogPosition;
use crate::store::log::tap::{FramePlace, FrameTap};
use crate::store::opening::checked;
use crate::store::opening::compaction::CompactionError;
use crate::store::opening::disk::Disk;
use crate::store::opening::open;
use crate::store::opening::open::{OpenError, OpenedJournal};
use crate::store::proof::check::{CheckedTable, Damage, Proof, check};
use crate::store::queued::{Queued, WriteError, WriteQueue};
use crate::store::view::View;
use crate::store::writer::Writer;
use crate::store::{Publish, ReadError, backup};

/// The store's file inside the data directory.
pub const FILE_NAME: &str = "muster.redb";

/// The revocation journal's file, beside the store's.
pub const JOURNAL_NAME: &str = "revocations.log";

/// The change log's directory, beside the store's file while it is open.
pub const CHANGES_NAME: &str = "changes";

/// A handle to the open store. Clones share it; the file closes when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Store {
    // The writer is dropped first: it drains its queue and puts everything into the file while that is still open.
    pub(crate) writer: Arc<Writer>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) deny: DenyList,
    pub(crate) loss: Arc<Loss>,
    tap: Arc<FrameTap>,
    walked: bool,
}

/// What a store has on disk beside its file, in octets.
#[derive(Debug, Clone, Copy, Default)]
pub struct BesideTheFile {
    /// What the file lacks.
    pub change_log: u64,
    /// The revocation journal.
    pub journal: u64,
    /// When that was last written to.
    pub journal_written: Option<Timestamp>,
}

/// Reads what is in the store, and does not keep its writer.
#[derive(Debug, Clone)]
pub struct StoreReader {
    disk: Arc<Disk>,
}

impl StoreReader {
    /// Reads from a consistent snapshot, as [`Store::read`] does.
    pub fn read<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, ReadError>) -> Result<T, ReadError> {
        read(&View::new(&self.disk.snapshot()?))
    }
}

impl Store {
    /// Opens the store at `path`, creating it if there is none, and proves what nobody may be served without; all of it
    /// where that is quick.
    pub fn open(path: &Path, clock: Arc<dyn Clock>, publish: Publish) -> Result<Self, OpenError> {
        let mut opened = open::open(path, clock.now())?;
        let walked = opened.walked;
        let journal = path.with_file_name(JOURNAL_NAME);
        let OpenedJournal { journal, missing, lesson } =
            open::journal(opened.snapshot()?, &journal, clock.now())?;
        if !lesson.is_empty() {
            lesson.teach(opened.whole()?, clock.now())?;
        }
        let unlogged = opened.unlogged;
        let (disk, mut log) = Disk::new(path.to_owned(), opened);
        let tap = Arc::new(FrameTap::default());
        tap.begin(log.head(), log.take_found(), unlogged);
        let store = Self::start(disk, (Some(log), tap), Some(journal), clock, publish)?;
        store.loss.found(missing);
        Ok(Self { walked, ..store })
    }

    /// Reads from a store without opening it for writing, and so without touching the file; `None` when there
    /// is no store, or when only a proper opening can tell, as after a crash.
    pub fn peek<T: Send + 'static>(
        path: &Path,
        read: impl FnOnce(&View<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Option<T> {
        checked::apart(path, move |path| {
            let transaction = open::read_only(path)?.begin_read().ok()?;
            read(&View::new(&Snapshot::of_file(transaction))).ok()
        })
        .ok()??
    }

    pub(crate) fn start(
        disk: Disk,
        (log, tap): (Option<ChangeLog>, Arc<FrameTap>),
        journal: Option<Journal>,
        clock: Arc<dyn Clock>,
        publish: Publish,
    ) -> Result<Self, OpenError> {
        let disk = Arc::new(disk);
        let deny = DenyList::default();
        let snapshot = disk.snapshot()?;
        deny.apply(View::new(&snapshot).denied()?);
        drop(snapshot);
        let loss = Arc::new(Loss::default());
        let writer = Writer::start(
            Arc::clone(&disk),
            (log, Arc::clone(&tap)),
            journal,
            Arc::clone(&loss),
            clock,
            deny.clone(),
            publish,
        )?;
        Ok(Self { writer: Arc::new(writer), disk, deny, loss, tap, walked: true })
    }

    /// Reads from a consistent snapshot. Meant for point reads and short pages; long scans belong on a
    /// blocking thread.
    pub fn read<T, E: From<ReadError>>(&self, read: impl FnOnce(&View<'_>) -> Result<T, E>) -> Result<T, E> {
        let snapshot = self.disk.snapshot()?;
        read(&View::new(&snapshot))
    }

    /// For those who read and never write.
    pub fn reader(&self) -> StoreReader {
        StoreReader { disk: Arc::clone(&self.disk) }
    }

    /// Writes files, and every row of a consistent snapshot, taken now, to `to`. Blocking and long.
    pub fn back_up(
        &self,
        files: Vec<BackedUpFile>,
        now: Timestamp,
        to: &mut dyn std::io::Write,
    ) -> Result<BackedUp, SnapshotWriteError> {
        backup::write(&self.disk.snapshot()?, files, now, to)
    }

    /// The same, and where in the change log that is; for a replica, which goes on from there.
    pub fn back_up_in_log(
        &self,
        files: Vec<BackedUpFile>,
        now: Timestamp,
        to: &mut dyn std::io::Write,
    ) -> Result<FramePlace, SnapshotWriteError> {
        let (snapshot, place) = self.disk.snapshot_in_log()?;
        backup::write(&snapshot, files, now, to)?;
        Ok(place.unwrap_or(LogPosition::NONE).into())
    }

    /// What replicas take frames from.
    pub const fn tap(&self) -> &Arc<FrameTap> {
        &self.tap
    }

    /// Reads everything that is committed now and holds it together. Blocking and long.
    pub fn check(&self, now: Timestamp, report: &mut dyn FnMut(CheckedTable)) -> Result<(), Damage> {
        check(&self.disk.snapshot()?, now, report)
    }

    /// Whether everything in the file was proved when it was opened.
    pub const fn was_walked(&self) -> bool {
        self.walked
    }

    /// Begins to do what [`Self::check`] does, in short steps.
    pub fn begin_proof() -> Proof {
        Proof::begin()
    }

    /// Reads on, so many rows at most; whether that was all. Blocking.
    pub fn go_on_proving(
        &self,
        proof: &mut Proof,
        now: Timestamp,
        rows: usize,
    ) -> Result<ControlFlow<()>, Damage> {
        proof.go_on(&self.disk.snapshot()?, now, rows, &mut |_| {})
    }

    /// Proves the structure of a file that nobody has open, however large it is.
    pub fn prove_file(path: &Path) -> Result<(), OpenError> {
        checked::prove(path)
    }

    /// How large the file is, in octets.
    pub fn file_octets(&self) -> u64 {
        self.disk.path().and_then(|path| path.metadata().ok()).map_or(0, |file| file.len())
    }

    /// Writes all rows into a new file that takes the place of this one, a part with each call of `rest`, which says whether to
    /// go on. Blocking and long; everything else goes on.
    pub fn compact(&self, mut rest: impl FnMut() -> bool) -> Result<(), CompactionError> {
        let Some(path) = self.disk.path() else { return Ok(()) };
        let mut copied = self.disk.begin_compaction(path)?;
        let done = loop {
            match self.disk.go_on_compacting(&mut copied) {
                Ok(true) => break self.disk.end_compaction(path),
                Ok(false) if rest() => {}
                Ok(false) => break Err(CompactionError::GivenUp),
                Err(error) => break Err(error),
            }
        };
        done.inspect_err(|_| self.disk.give_up_compaction())
    }

    /// Queues a decision and waits until its changes are on disk.
    pub async fn write<T, E, D>(&self, decision: D) -> Result<Result<T, E>, WriteError>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        self.begin_write(decision).answer().await
    }

    /// Queues a decision, for those who wait elsewhere.
    ///
    /// The decision runs on the writer thread: it must be quick, finish every check before it returns
    /// changes, and leave hashing and signing to its caller.
    pub fn begin_write<T, E, D>(&self, decision: D) -> Queued<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        self.writer.begin(decision)
    }

    /// The queue for who must not keep the store open.
    pub fn queue(&self) -> WriteQueue {
        self.writer.queue()
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
        self.writer.health().is_good()
    }

    /// Whether a commit failed of which only the store, once it is open again, can say if it has reached the disk.
    pub fn is_in_doubt(&self) -> bool {
        self.writer.health().is_in_doubt()
    }

    /// Commits that failed since the store was opened.
    pub fn failed_commits(&self) -> u64 {
        self.writer.health().failed_writes()
    }

    /// How commits have gone since then.
    pub fn commits(&self) -> CommitFigures {
        self.writer.health().commits().clone()
    }

    /// How many decisions wait for the writer.
    pub fn waiting(&self) -> usize {
        self.writer.waiting()
    }

    /// What it has on disk beside its file: the change log, and the revocation journal with when it was last written to.
    pub fn beside_the_file(&self) -> BesideTheFile {
        let Some(path) = self.disk.path() else { return BesideTheFile::default() };
        let octets =
            |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.metadata().ok().map(|it| it.len());
        let log = std::fs::read_dir(path.with_file_name(CHANGES_NAME)).ok();
        let journal = path.with_file_name(JOURNAL_NAME).metadata().ok();
        let written = journal.as_ref().and_then(|it| it.modified().ok());
        BesideTheFile {
            change_log: log.map_or(0, |entries| entries.filter_map(octets).sum()),
            journal: journal.map_or(0, |it| it.len()),
            journal_written: written.and_then(|at| Timestamp::try_from(at).ok()),
        }
    }

    /// Opens a store that lives in memory, for tests of rooms above.
    #[cfg(test)]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Builder::new().create_with_backend(backend).expect("memory does not fail");
        open::initialise(&database, clock.now()).expect("memory does not fail");
        Self::start(Disk::in_memory(database), (None, Arc::default()), None, clock, Box::new(|_| {}))
            .expect("a fresh store opens")
    }
}
