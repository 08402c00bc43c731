//! The open file, and how it is opened anew after a failed commit.
//!
//! After a failed write redb does not say any more what is on disk. Opening the file again does: it proves
//! what was committed. Until then nothing is read from it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase};

use crate::store::ReadError;
use crate::store::opening::open;
use crate::store::opening::open::OpenError;
use crate::store::rows::Table;

/// How long readers may take to let go of the file before it is opened anew.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Disk {
    /// `None` for a store that lives in memory.
    path: Option<PathBuf>,
    database: RwLock<Option<Arc<Database>>>,
}

impl Disk {
    pub(crate) fn new(path: Option<PathBuf>, database: Database) -> Self {
        Self { path, database: RwLock::new(Some(Arc::new(database))) }
    }

    /// The open database; `None` while it is being opened anew.
    pub(crate) fn database(&self) -> Option<Arc<Database>> {
        self.database.read().clone()
    }

    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, ReadError> {
        let database = self.database().ok_or(ReadError::Reopening)?;
        database.begin_read().map_err(|error| Table::Meta.error(error))
    }

    /// Closes the file and opens it again, with every check.
    pub(crate) fn reopen(&self) -> Result<(), OpenError> {
        let Some(path) = &self.path else {
            return Err(OpenError::Start(std::io::Error::other("a store in memory cannot be opened anew")));
        };
        let closing = self.database.write().take();
        if let Some(mut closing) = closing {
            let begun = Instant::now();
            // Reads are short; the file closes when the last one is done.
            while let Err(still_read) = Arc::try_unwrap(closing).map(drop) {
                closing = still_read;
                if begun.elapsed() > LET_GO_WITHIN {
                    *self.database.write() = Some(closing);
                    return Err(OpenError::InUse(path.clone()));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let database = open::open_existing(path)?;
        *self.database.write() = Some(Arc::new(database));
        Ok(())
    }
}
