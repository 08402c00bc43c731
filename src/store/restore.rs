//! A store made from a backup: under a temporary name until it is whole.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use redb::{Database, ReadableDatabase};
use tempfile::NamedTempFile;

use super::backup::{self, Item};
use super::change::Change;
use super::layers::checkpoint;
use super::layers::overlay::Overlay;
use super::layers::snapshot::Snapshot;
use super::log::frame::{Frame, decode_body};
use super::log::tap::TappedFrame;
use super::rows::{Table, protect};
use super::view::View;
use super::{FILE_NAME, JOURNAL_NAME, ReadError};
use crate::durable::Unfinished;
use crate::store::journal::file;
use crate::store::journal::file::{Journal, JournalError, OnlyInJournal};
use crate::store::journal::line::Line;
use crate::store::opening::open;
use crate::store::opening::open::OpenError;

/// Octets of rows that go into one commit.
const COMMIT_OCTETS: usize = 8 << 20;

/// Why nothing was restored. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotReadError {
    /// Something has the store's name already, whatever it is.
    #[error("there is a store already ({}); move it away first", .0.display())]
    Exists(PathBuf),
    /// The new file could not be made, filled or named.
    #[error("cannot write a store into {}", path.display())]
    Write {
        /// The data directory, or the store in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ends early, is no backup of ours, or what unseals it has failed.
    #[error("cannot read the backup")]
    Backup(#[source] io::Error),
    /// A newer muster has made it.
    #[error("the backup has a table '{0}' that this version of muster does not know; use a newer muster")]
    UnknownTable(String),
    /// The same of a file.
    #[error("the backup has a file '{0}' that this version of muster does not know; use a newer muster")]
    UnknownFile(String),
    /// Rows are missing, or are too many.
    #[error("the backup counts {counted} rows, but {found} came out of it")]
    Count {
        /// What its end says.
        counted: u64,
        /// How many were read.
        found: u64,
    },
    /// Its rows make no store that this version could use or migrate.
    #[error("the backup's content cannot be used")]
    Content(#[source] OpenError),
    /// The revocation journal beside the store's place can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A frame of the change log has something that only a newer muster knows.
    #[error("frame {0} has a table that this version of muster does not know; use a newer muster")]
    Frame(u64),
    /// A record does not follow the one before it.
    #[error("the backup's audit trail is broken after record {after}")]
    Chain {
        /// The last record that follows the one before it.
        after: u64,
    },
    /// What was written from it can't be read again.
    #[error("the backup's content cannot be read")]
    Read(#[from] ReadError),
}

/// A store that is being made.
#[derive(Debug)]
pub struct Restoring {
    database: Database,
    file: NamedTempFile,
    path: PathBuf,
    /// The backup's journal, where no other is in its place.
    journal: Option<Unfinished>,
    /// When the backup was begun.
    pub created_at: Timestamp,
    /// How many were in it, of all tables together.
    pub rows: u64,
}

impl Restoring {
    /// Whether a store stands where one would be restored to.
    pub fn vacant(directory: &Path) -> Result<(), SnapshotReadError> {
        let path = directory.join(FILE_NAME);
        match path.symlink_metadata() {
            Ok(_) => Err(SnapshotReadError::Exists(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(SnapshotReadError::Write { path: directory.to_owned(), source }),
        }
    }

    /// Reads a whole backup into a new file beside its future place, and hands on each piece of each file in it that is not
    /// the store's.
    pub fn read(
        directory: &Path,
        from: &mut impl Read,
        other: TakeFile<'_>,
    ) -> Result<Self, SnapshotReadError> {
        Self::unpack(directory, from, other)?.migrated()
    }

    /// Brings what was unpacked, and what was replayed on it, to the layout of this version.
    pub fn migrated(self) -> Result<Self, SnapshotReadError> {
        open::migrate(&self.database, &self.path).map_err(SnapshotReadError::Content)?;
        Ok(self)
    }

    /// The same as [`Self::read`], in the layout that it was made in: frames of the change log that follow it have that, too.
    pub fn unpack(
        directory: &Path,
        from: &mut impl Read,
        other: TakeFile<'_>,
    ) -> Result<Self, SnapshotReadError> {
        Self::vacant(directory)?;
        let write = |source| SnapshotReadError::Write { path: directory.to_owned(), source };
        let head = backup::read_head(from).map_err(SnapshotReadError::Backup)?;
        let (file, database) = open::create_unnamed(directory).map_err(write)?;
        let mut journal = None;
        let mut take = |name: &str, piece: &[u8]| match name {
            JOURNAL_NAME => spool(&mut journal, directory, piece).map_err(write),
            _ => take_file(other, name, piece),
        };
        let rows = read_rows(&database, from, directory, &mut take)?;
        let path = directory.join(FILE_NAME);
        Ok(Self { database, file, path, journal: journal.flatten(), created_at: head.created_at, rows })
    }

    /// Puts frames of the change log on top that follow what is there.
    pub fn replay<'f>(&self, frames: impl Iterator<Item = &'f TappedFrame>) -> Result<(), SnapshotReadError> {
        let mut overlay = Overlay::default();
        let commit = |overlay: &Overlay| {
            checkpoint::commit_overlay(&self.database, overlay, None).map_err(|error| {
                let (path, source) = (self.path.clone(), io::Error::other(error));
                SnapshotReadError::Write { path, source }
            })
        };
        for frame in frames {
            let delta = Frame::decode(&frame.octets).and_then(|found| decode_body(found.body));
            overlay.apply(delta.ok_or(SnapshotReadError::Frame(frame.number))?);
            if overlay.octets() > COMMIT_OCTETS {
                commit(&overlay)?;
                overlay = Overlay::default();
            }
        }
        if overlay.is_empty() { Ok(()) } else { commit(&overlay) }
    }

    /// Writes into a journal everything that the server of this store would have written there, and how far it had come. What is
    /// in the journal already stays.
    pub fn write_journal(&mut self, path: &Path, now: Timestamp) -> Result<(), SnapshotReadError> {
        if let Some(spooled) = self.journal.take() {
            spooled.finish().map_err(|source| SnapshotReadError::Write { path: path.to_owned(), source })?;
        }
        let transaction = self.database.begin_read().map_err(|error| Table::Meta.error(error))?;
        let (head, alive) = self.view(|view| Ok((view.audit_head()?, view.last_alive()?)))?;
        let opened = open::journal(Snapshot::of_file(transaction), path, now);
        let mut journal = opened.map_err(SnapshotReadError::Content)?.journal;
        let alive = alive.map(Line::Alive).into_iter().collect();
        Ok(journal.append_lines(alive, Some(&head))?)
    }

    /// Reads what is restored so far, as it will stand in the store.
    pub fn view<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, ReadError>) -> Result<T, ReadError> {
        let transaction = self.database.begin_read().map_err(|error| Table::Meta.error(error))?;
        read(&View::new(&Snapshot::of_file(transaction)))
    }

    /// What a revocation journal knows, mostly the one beside the store's future place, and the backup does not: denials, and
    /// records of the audit trail. `None` when there is no journal.
    pub fn unknown_in(
        &self,
        journal: &Path,
        now: Timestamp,
    ) -> Result<Option<OnlyInJournal>, SnapshotReadError> {
        let transaction = self.database.begin_read().map_err(|error| Table::Meta.error(error))?;
        let lost = (self.created_at, Timestamp::MAX);
        Ok(file::unknown_to(&View::new(&Snapshot::of_file(transaction)), journal, lost, now)?)
    }

    /// Changes what was restored, before it is in place, and begins another epoch of trust.
    pub fn write(&self, changes: Vec<Change>, now: Timestamp) -> Result<(), SnapshotReadError> {
        let mut changes = changes.into_iter();
        // Watchers of trust may know more than the backup, under a version that this store comes to a second time.
        let epoch = open::trust_epoch().map_err(|error| SnapshotReadError::Content(error.into()))?;
        open::write(&self.database, |batch| {
            changes.try_for_each(|change| batch.apply(change, now))?;
            batch.begin_trust_epoch(epoch)
        })
        .map_err(SnapshotReadError::Content)
    }

    /// Gives the store its name, which must still be free, and lets the journal know that the audit trail goes
    /// on from here. That only narrows what could still be cut off unnoticed: what the journal has seen and the
    /// store has accepted as lost stands in the store.
    pub fn put_in_place(self) -> Result<(), SnapshotReadError> {
        let head = self.view(|view| view.audit_head())?;
        let Self { database, file, path, journal, .. } = self;
        drop(database);
        // Before the store has its name: who opens it makes a journal where there is none.
        match journal.map(Unfinished::finish) {
            Some(Err(source)) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(SnapshotReadError::Write { path: path.with_file_name(JOURNAL_NAME), source });
            }
            _ => {}
        }
        open::name(file, &path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => SnapshotReadError::Exists(path.clone()),
            _ => SnapshotReadError::Write { path: path.clone(), source },
        })?;
        // A server that starts at this moment has the journal to itself.
        let Ok(held) = open::builder().open(&path) else { return Ok(()) };
        if let Err(error) = open::set_changes_aside(&path) {
            tracing::warn!(%error, "the change log of the store that was here cannot be set aside");
        }
        let rebased = Journal::rebase(&path.with_file_name(JOURNAL_NAME), &head);
        drop(held);
        if let Err(error) = rebased {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the journal was not told where the restored audit trail ends; it will be when the store is used"
            );
        }
        Ok(())
    }
}

/// Takes a piece of a file out of a backup; whether it knows the file.
pub type TakeFile<'t> = &'t mut dyn FnMut(&str, &[u8]) -> io::Result<bool>;

pub(super) fn take_file(take: TakeFile<'_>, name: &str, piece: &[u8]) -> Result<(), SnapshotReadError> {
    match take(name, piece).map_err(SnapshotReadError::Backup)? {
        true => Ok(()),
        false => Err(SnapshotReadError::UnknownFile(name.to_owned())),
    }
}

/// Keeps a piece of the backup's journal. One that is there already may know more, and stays.
fn spool(journal: &mut Option<Option<Unfinished>>, directory: &Path, piece: &[u8]) -> io::Result<()> {
    let begin = || match Unfinished::begin(&directory.join(JOURNAL_NAME)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    };
    let spooled = match journal {
        Some(spooled) => spooled,
        None => journal.insert(begin()?),
    };
    spooled.as_mut().map_or(Ok(()), |file| file.write_all(piece))
}

/// Hands a piece of a file on to whoever keeps it.
type HandOn<'h> = &'h mut dyn FnMut(&str, &[u8]) -> Result<(), SnapshotReadError>;

/// Copies rows, a bounded amount in each commit, and hands on the files between them.
fn read_rows(
    database: &Database,
    from: &mut impl Read,
    directory: &Path,
    file: HandOn<'_>,
) -> Result<u64, SnapshotReadError> {
    let failed = |error: redb::Error| SnapshotReadError::Write {
        path: directory.to_owned(),
        source: io::Error::other(error),
    };
    let mut table = None;
    let mut found = 0;
    loop {
        let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
        let mut octets = 0;
        let mut end = None;
        while octets < COMMIT_OCTETS && end.is_none() {
            match backup::read_item(from).map_err(SnapshotReadError::Backup)? {
                Item::Table(name) => {
                    let known = Table::ALL.iter().copied().find(|table| table.name() == name);
                    table = Some(known.ok_or(SnapshotReadError::UnknownTable(name))?);
                }
                Item::Row { key, content } => {
                    let lost =
                        || io::Error::new(io::ErrorKind::InvalidData, "it has a row outside of any table");
                    let table = table.ok_or_else(|| SnapshotReadError::Backup(lost()))?;
                    let mut open =
                        transaction.open_table(table.definition()).map_err(|e| failed(e.into()))?;
                    let value = protect(table, &key, &content);
                    open.insert(key.as_slice(), value.as_slice()).map_err(|e| failed(e.into()))?;
                    octets += key.len() + value.len();
                    found += 1;
                }
                Item::File { name, piece } => file(&name, &piece)?,
                Item::End { rows } => end = Some(rows),
            }
        }
        transaction.commit().map_err(|e| failed(e.into()))?;
        match end {
            Some(counted) if counted != found => return Err(SnapshotReadError::Count { counted, found }),
            Some(_) => return Ok(found),
            None => {}
        }
    }
}
