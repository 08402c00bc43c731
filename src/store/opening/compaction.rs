//! Compaction: the store's rows written into a new file, which takes the place of the old one.
//!
//! A file never shrinks by itself: what history has left it uses again, and after retention has taken much it holds little. Rows are
//! copied a part at a time, each from a snapshot of its own, while everything else goes on; a checkpoint that comes between goes
//! into both files. So what is copied already stays true, and at the end both say the same.

use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTableMetadata};
use tempfile::NamedTempFile;

use crate::store::ReadError;
use crate::store::layers::checkpoint;
use crate::store::layers::merge::guarded;
use crate::store::log::position;
use crate::store::opening::disk::Disk;
use crate::store::opening::open;
use crate::store::rows::{Span, Table, range};

/// Rows that are copied from one snapshot. Checkpoints wait for so many.
const PART: usize = 2_000;
/// How many octets of memory they may take, counted after each row.
const PART_OCTETS: usize = 4 << 20;

/// A file on its way into the place of the store's.
#[derive(Debug)]
pub(crate) struct Rewritten {
    file: NamedTempFile,
    pub(super) database: Database,
}

/// How far the copying has come.
#[derive(Debug, Default)]
pub struct Copied {
    /// The table, by its place among all.
    table: usize,
    after: Option<Vec<u8>>,
}

/// Why no other file has taken the place of this one, which goes on as it was.
#[derive(Debug, thiserror::Error)]
pub enum CompactionError {
    /// The new file could not be made or written, mostly for lack of room.
    #[error("the new file cannot be written")]
    Write(#[from] io::Error),
    /// The same, by the database.
    #[error("the new file cannot be written")]
    Database(#[source] Box<redb::Error>),
    /// A row is damaged, or the store is being opened anew.
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    /// A checkpoint could not be put into it, or the store was opened anew meanwhile.
    #[error("it was given up, because something else failed meanwhile")]
    GivenUp,
    /// What was copied is not what there is. It should not happen.
    #[error("the new file has {new} rows in table {table}, and the store {old}")]
    Differs {
        /// The table's name in the file.
        table: &'static str,
        /// Rows in the new file.
        new: u64,
        /// Rows in the store's.
        old: u64,
    },
}

/// What the database says, as one error.
fn of_database(error: impl Into<redb::Error>) -> CompactionError {
    CompactionError::Database(Box::new(error.into()))
}

fn rows_of(database: &Database, table: Table) -> Result<u64, CompactionError> {
    let transaction = database.begin_read().map_err(of_database)?;
    let open = transaction.open_table(table.definition()).map_err(of_database)?;
    open.len().map_err(of_database)
}

impl Disk {
    /// Begins another file beside the store's. One that was begun before is given up.
    pub(crate) fn begin_compaction(&self, path: &Path) -> Result<Copied, CompactionError> {
        let (file, database) = open::create_unnamed(path.parent().unwrap_or(Path::new(".")))?;
        open::complete(&database).map_err(|error| io::Error::other(error.to_string()))?;
        self.filing.lock().rewritten = Some(Rewritten { file, database });
        Ok(Copied::default())
    }

    pub(crate) fn give_up_compaction(&self) {
        self.filing.lock().rewritten = None;
    }

    /// Copies the next rows; whether those were the last.
    pub(crate) fn go_on_compacting(&self, copied: &mut Copied) -> Result<bool, CompactionError> {
        let filing = self.filing.lock();
        let Some(rewritten) = &filing.rewritten else { return Err(CompactionError::GivenUp) };
        let Some(&table) = Table::ALL.get(copied.table) else { return Ok(true) };
        let database = self.database().ok_or(ReadError::Reopening)?;
        let from = database.begin_read().map_err(of_database)?;
        let from = from.open_table(table.definition()).map_err(of_database)?;
        let span = Span::all().behind(copied.after.take(), false);
        let mut rows = Vec::new();
        let mut octets = 0;
        if let Some(mut found) = guarded(table, || range(table, &from, &span))? {
            while rows.len() < PART && octets < PART_OCTETS {
                let row = guarded(table, || found.next().transpose().map_err(|error| table.error(error)))?;
                let Some((key, value)) = row else { break };
                octets += key.value().len() + value.value().len();
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
        }
        match rows.last() {
            Some((key, _)) => copied.after = Some(key.clone()),
            None => copied.table += 1,
        }
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice())));
        checkpoint::commit(&rewritten.database, std::iter::once((table, rows)), None).map_err(of_database)?;
        Ok(false)
    }

    /// Puts the new file into the place of the store's.
    pub(crate) fn end_compaction(&self, path: &Path) -> Result<(), CompactionError> {
        let mut filing = self.filing.lock();
        let Some(Rewritten { file, database: new }) = filing.rewritten.take() else {
            return Err(CompactionError::GivenUp);
        };
        let old = self.database().ok_or(ReadError::Reopening)?;
        for table in Table::ALL {
            let (old, new) = (rows_of(&old, *table)?, rows_of(&new, *table)?);
            if old != new {
                return Err(CompactionError::Differs { table: table.name(), new, old });
            }
        }
        checkpoint::commit_position(&new, &position::of(&*old)?).map_err(of_database)?;
        drop(old);
        file.persist(path).map_err(|error| error.error)?;
        // Whoever reads the old one goes on until he is done; both say the same. From here on what has the name is what is written
        // to, whatever becomes of the sync.
        *self.database.write() = Some(Arc::new(new));
        self.file_changes(&mut filing);
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())?;
        Ok(())
    }
}
