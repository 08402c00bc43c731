//! Opening: create, migrate, and prove what is needed before anything is served; what is small is proved whole.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;
use jiff::Timestamp;
use redb::{Builder, Database, ReadableDatabase, TableHandle};
use tempfile::NamedTempFile;

use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::deny::Denial;
use crate::domain::identity::trust_version::TrustEpoch;
use crate::domain::ids::TenantId;
use crate::domain::insight::audit::{AuditEvent, MissingRecords};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::people::tenant::{DEFAULT_TENANT, Tenant};
use crate::domain::withdrawal::StoreId;
use crate::durable;
use crate::store::apply::Batch;
use crate::store::change::{Change, RestoredChange};
use crate::store::journal::file::{Journal, JournalError, OnlyInJournal};
use crate::store::layers::checkpoint;
use crate::store::layers::overlay::Overlay;
use crate::store::layers::snapshot::{FileView, Snapshot};
use crate::store::log::change_log::ChangeLog;
use crate::store::log::directory::{Directory, Segments};
use crate::store::log::error::ChangeLogError;
use crate::store::log::position;
use crate::store::opening::checked::{checked, damaged};
use crate::store::opening::migrate;
use crate::store::opening::migrate::{LAYOUT, Unusable};
use crate::store::rows::Table;
use crate::store::view::View;
use crate::store::{CHANGES_NAME, JOURNAL_NAME, ReadError};

/// How the names of stores begin that are being made.
const UNFINISHED: &str = ".muster.redb.";

/// redb's page cache. Its default of 1 GiB is no faster here, and the server should stay small.
const CACHE_BYTES: usize = 64 << 20;

/// Why the store did not open. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// redb locks the file while it is open. Where it is opened anew, a read of our own may be what holds it.
    #[error("the store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// Pages, checksums or the layout make no sense, or the file is empty.
    #[error("the store {} is damaged ({damage}); restore a backup, or move it away to start anew", path.display())]
    Damaged {
        /// The store's.
        path: PathBuf,
        /// What is wrong with it, as a clause.
        damage: String,
    },
    /// A directory or a symbolic link, say, has its name.
    #[error("{} is not a regular file, so it cannot be the store", .0.display())]
    NotAFile(PathBuf),
    /// It was last used by a newer muster.
    #[error(
        "the store {} has layout {found}, but this version of muster reads up to {LAYOUT}; use a newer muster",
        path.display()
    )]
    Newer {
        /// The store's.
        path: PathBuf,
        /// The layout that it has.
        found: u32,
    },
    /// Before a migration the file is copied, so that the older program can be put back.
    #[error("cannot keep a copy of the store as {} before its layout changes; make room for it", path.display())]
    Copy {
        /// The copy's: the store's, with the old layout's number behind it.
        path: PathBuf,
        /// What the system says; mostly that the disk is full.
        source: io::Error,
    },
    /// The file or its directory could not be read or written.
    #[error("cannot open the store {}", path.display())]
    Io {
        /// The store's.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There was no thread to be had, or there were no random octets for the first tenant's id.
    #[error("cannot start the store")]
    Start(#[from] io::Error),
    /// What was opened can't be read, or a migration failed on it.
    #[error("cannot read the store")]
    Read(#[from] ReadError),
    /// The revocation journal beside it can't be used, and without it nobody knows whether revocations are
    /// lost.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The change log beside it can't be used, and without it the store lacks what was promised last.
    #[error(transparent)]
    Log(#[from] ChangeLogError),
}

/// A store's file, the change log, and what the log has and the file does not. That goes in later, as what is written from
/// now on does: on a full disk a store must open.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) log: ChangeLog,
    pub(crate) tail: Overlay,
    /// The number of the last frame that is in the file.
    pub(crate) in_file: u64,
    /// Whether the whole file was walked.
    pub(crate) walked: bool,
    /// Whether something was put into the file that is in no frame.
    pub(crate) unlogged: bool,
}

impl Opened {
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        let transaction = self.database.begin_read().map_err(|e| Table::Meta.error(e))?;
        let file = Arc::new(FileView::new(transaction));
        Ok(Snapshot::new(file, vec![Arc::new(self.tail.clone())]))
    }

    /// The file, with everything in it.
    ///
    /// For whoever changes it without a frame.
    pub(crate) fn whole(&mut self) -> Result<&Database, OpenError> {
        self.unlogged = true;
        if !self.tail.is_empty() {
            let head = self.log.head();
            checkpoint::commit_overlay(&self.database, &self.tail, Some(&head)).map_err(failed)?;
            (self.tail, self.in_file) = (Overlay::default(), head.number);
        }
        Ok(&self.database)
    }
}

pub(crate) fn open(path: &Path, now: Timestamp) -> Result<Opened, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_file() => {
            return Err(OpenError::NotAFile(path.to_owned()));
        }
        Ok(found) if found.size() == 0 => {
            return Err(OpenError::Damaged { path: path.to_owned(), damage: "it is empty".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, now)?,
        Err(error) => return Err(io(error)),
    }
    let opened = open_existing(path, now)?;
    // Whoever holds the store is alone here; a restore that still goes on could not give its file this name.
    if let Err(error) = durable::sweep_named(path.parent().unwrap_or(Path::new(".")), UNFINISHED) {
        tracing::warn!(%error, "what an interrupted restore has left cannot be removed");
    }
    Ok(opened)
}

/// Opens a store that is there, and brings it to the layout of this version.
pub(crate) fn open_existing(path: &Path, now: Timestamp) -> Result<Opened, OpenError> {
    let (mut opened, found) = checked(path, now)?;
    complete(&opened.database)?;
    if found < LAYOUT {
        migrate::migrate(opened.whole()?, found)?;
    }
    if View::new(&opened.snapshot()?).trust_version()?.is_none() {
        let epoch = trust_epoch()?;
        write(opened.whole()?, |batch| batch.begin_trust_epoch(epoch))?;
    }
    Ok(opened)
}

/// The change log of a store that was moved away belongs to that one. A new store has none.
pub(crate) fn set_changes_aside(path: &Path) -> io::Result<()> {
    let changes = path.with_file_name(CHANGES_NAME);
    if changes.symlink_metadata().is_err() {
        return Ok(());
    }
    let aside = Directory::new(changes).set_aside()?;
    tracing::warn!(
        changes = %aside.display(),
        "the store that was here was not closed; the change log with the last of what it had promised was set aside"
    );
    Ok(())
}

/// The change log of a store.
pub(crate) fn changes_beside(path: &Path) -> Box<dyn Segments> {
    Box::new(Directory::new(path.with_file_name(CHANGES_NAME)))
}

/// Reads what is in the change log and not in the file.
pub(crate) fn recover(database: Database, segments: Box<dyn Segments>) -> Result<Opened, OpenError> {
    let position = position::of(&database)?;
    let (log, tail) = ChangeLog::recover(segments, position)?;
    let changes = log.head().number - position.number;
    if changes > 0 {
        tracing::info!(changes, "the store was not closed; what its file lacks was read from the change log");
    }
    Ok(Opened { database, log, tail, in_file: position.number, walked: false, unlogged: false })
}

/// A new one.
pub(crate) fn trust_epoch() -> io::Result<TrustEpoch> {
    random().map(TrustEpoch::from_bytes)
}

/// A new one.
fn store_id() -> io::Result<StoreId> {
    random().map(StoreId::from_bytes)
}

fn random() -> io::Result<[u8; 16]> {
    let mut octets = [0; 16];
    rand::fill(&mut octets).map_err(|_| io::Error::other("the system gave no random bytes"))?;
    Ok(octets)
}

/// Opens a cleanly closed store of the newest layout for reading alone.
pub(crate) fn read_only(path: &Path) -> Option<redb::ReadOnlyDatabase> {
    let database = builder().open_read_only(path).ok()?;
    let is_whole = matches!(position::of(&database), Ok(position) if !position.in_use);
    (is_whole && matches!(migrate::known_layout(&database), Ok(Ok(LAYOUT)))).then_some(database)
}

/// Creates the store under a temporary name, so that a file of the right name is always a whole store.
fn create(path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let (file, database) = create_unnamed(directory).map_err(io)?;
    initialise(&database, now)?;
    drop(database);
    name(file, path).map_err(io)
}

/// An empty database that goes away unless it gets a name.
pub(crate) fn create_unnamed(directory: &Path) -> io::Result<(NamedTempFile, Database)> {
    let file = unnamed(directory)?;
    let database = builder().create(file.path()).map_err(io::Error::other)?;
    Ok((file, database))
}

/// A file for a store, which goes away unless it gets a name.
pub(crate) fn unnamed(directory: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .tempfile_in(directory)
}

/// Gives a database that has been closed its name, for good, or leaves no trace of it.
pub(crate) fn name(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.persist_noclobber(path).map_err(|e| {
        // Whoever made a store here meanwhile has cleared away what was being made.
        let made_meanwhile = e.error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_ok();
        if made_meanwhile { io::ErrorKind::AlreadyExists.into() } else { e.error }
    })?;
    let named = std::fs::File::open(path.parent().unwrap_or(Path::new(".")))
        .and_then(|directory| directory.sync_all());
    named.inspect_err(|_| drop(std::fs::remove_file(path)))
}

pub(crate) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

pub(crate) fn initialise(database: &Database, now: Timestamp) -> Result<(), OpenError> {
    let mut entropy = [0; 10];
    rand::fill(&mut entropy).map_err(|_| io::Error::other("the system gave no random bytes"))?;
    let name = DEFAULT_TENANT.parse().expect("the default tenant's name is a valid label");
    let tenant = Tenant { id: TenantId::new(now, entropy), name, created_at: now };
    let (epoch, id) = (trust_epoch()?, store_id()?);
    complete(database)?;
    write(database, |batch| {
        batch.first_rows(&tenant, LAYOUT)?;
        batch.apply(Change::Restored(RestoredChange::SetStoreId(id)), now)?;
        batch.begin_trust_epoch(epoch)
    })
}

/// One batch of the store's own, before or without a writer thread: straight into the file.
pub(crate) fn write(
    database: &Database,
    change: impl FnOnce(&mut Batch) -> Result<(), ReadError>,
) -> Result<(), OpenError> {
    let transaction = database.begin_read().map_err(|e| Table::Meta.error(e))?;
    let mut batch = Batch::begin(Snapshot::of_file(transaction))?;
    change(&mut batch)?;
    checkpoint::commit_delta(database, &batch.finish()?.delta).map_err(failed)
}

/// What the file did not take.
pub(crate) fn failed(error: redb::Error) -> OpenError {
    OpenError::Start(io::Error::other(error))
}

/// The revocation journal, and what comes of opening it.
pub(crate) struct OpenedJournal {
    pub(crate) journal: Journal,
    /// What the audit trail has lost. That is put on record by the start of a server, not by whoever happens to look.
    pub(crate) missing: Option<MissingRecords>,
    /// What the store has to learn: only the journal knows it, so the store is an older copy of itself.
    pub(crate) lesson: Lesson,
}

#[derive(Default)]
pub(crate) struct Lesson {
    changes: Vec<Change>,
    epoch: Option<TrustEpoch>,
}

impl Lesson {
    pub(crate) const fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.epoch.is_none()
    }

    /// `database`: with everything in it.
    pub(crate) fn teach(self, database: &Database, now: Timestamp) -> Result<(), OpenError> {
        write(database, |batch| {
            self.changes.into_iter().try_for_each(|change| batch.apply(change, now))?;
            self.epoch.map_or(Ok(()), |epoch| batch.begin_trust_epoch(epoch))
        })
    }
}

/// Opens the revocation journal at `path` and compares it with what the store holds.
pub(crate) fn journal(snapshot: Snapshot, path: &Path, now: Timestamp) -> Result<OpenedJournal, OpenError> {
    let (journal, OnlyInJournal { denials: unknown, records, withdrawn, store, .. }) =
        Journal::open(path, &View::new(&snapshot), store_id()?, now)?;
    let unnamed = View::new(&snapshot).store_id()?.is_none();
    let known = View::new(&snapshot).known_loss()?.map(|known| known.missing);
    let found = records.clone().filter(|missing| known.as_ref() != Some(missing));
    // Of a certificate that is not on record and has expired, the store may simply have forgotten the denial. It is
    // taken back all the same, because the clock may be wrong, but says nothing about the store's age.
    let mut old_news = true;
    for denial in &unknown {
        old_news &= match denial {
            Denial::Serial { serial, not_after, .. } => {
                past_not_after(*not_after, now)
                    && View::new(&snapshot).any_tenant().enrollment(*serial)?.is_none()
            }
            Denial::Identity { .. } | Denial::Lifted { .. } => false,
        };
    }
    drop(snapshot);
    if let Some(missing) = &records {
        tracing::warn!(
            journal = %path.display(),
            "THE AUDIT TRAIL IS CUT SHORT: {missing}. Somebody has removed them, or put an older copy of the store \
             in place"
        );
    }
    let identities = unknown.iter().filter(|denial| matches!(denial, Denial::Identity { .. })).count();
    let certificates = unknown.len() - identities;
    // The loss before anything is written behind the cut.
    let mut changes: Vec<_> = found.map(Change::FindLoss).into_iter().collect();
    changes.extend(store.filter(|_| unnamed).map(RestoredChange::SetStoreId).map(Change::Restored));
    changes.extend(unknown.into_iter().map(Change::Deny));
    old_news &= withdrawn.is_empty();
    let counts = withdrawn.counts();
    changes.extend(withdrawn.changes);
    if !old_news {
        tracing::warn!(
            certificates,
            identities,
            journal = %path.display(),
            "THE STORE IS OLDER THAN ITS REVOCATION JOURNAL: the revocations that it had lost are in force again. \
             Certificates issued since then are unknown to it; let their agents come back with: muster restore declare"
        );
        let mut event =
            AuditEvent::by_muster("store", AuditAction::StoreReplayRevocations, None, JOURNAL_NAME);
        event.detail = BTreeMap::from([
            ("certificates", certificates.to_string()),
            ("identities", identities.to_string()),
        ]);
        event.detail.extend(
            counts.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name, count.to_string())),
        );
        changes.push(Change::Audit(event));
    }
    // Watchers of trust may know more than this store, under a version that it comes to a second time.
    let epoch = (!old_news || records.is_some()).then(trust_epoch).transpose()?;
    Ok(OpenedJournal { journal, missing: records, lesson: Lesson { changes, epoch } })
}

/// Brings what was restored from a backup to the layout of this version.
pub(crate) fn migrate(database: &Database, path: &Path) -> Result<(), OpenError> {
    let found = known_layout(database, path)?;
    complete(database)?;
    migrate::migrate(database, found)
}

/// Demands a layout that this version can work with.
pub(crate) fn known_layout(database: &Database, path: &Path) -> Result<u32, OpenError> {
    migrate::known_layout(database)?.map_err(|unusable| match unusable {
        Unusable::Newer(found) => OpenError::Newer { path: path.to_owned(), found },
        Unusable::Nonsense(damage) => damaged(path, &damage),
    })
}

/// Adds the tables that this version has and the file lacks, so that readers find them all.
pub(crate) fn complete(database: &Database) -> Result<(), OpenError> {
    let transaction = database.begin_read().map_err(|e| Table::Meta.error(e))?;
    let tables = transaction.list_tables().map_err(|e| Table::Meta.error(e))?;
    let there: Vec<_> = tables.map(|table| table.name().to_owned()).collect();
    drop(transaction);
    let mut missing =
        Table::ALL.iter().filter(|table| !there.iter().any(|name| name == table.name())).peekable();
    if missing.peek().is_none() {
        return Ok(());
    }
    // Opening a table creates it.
    checkpoint::commit(database, missing.map(|table| (*table, std::iter::empty())), None).map_err(failed)
}
