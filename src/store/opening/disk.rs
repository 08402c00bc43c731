//! The open file with what stands above it, and how it is opened anew after a failed write.
//!
//! After a failed write redb does not say any more what is on disk. Opening the file again does, and the change log says
//! what has to be in it besides. Until then nothing is read from it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex, RwLock};
use redb::{Database, ReadableDatabase};

use crate::clock;
use crate::store::ReadError;
use crate::store::layers::checkpoint;
use crate::store::layers::checkpoint::WINDOW;
use crate::store::layers::delta::Delta;
use crate::store::layers::overlay::Overlay;
use crate::store::layers::snapshot::{FileView, Snapshot};
use crate::store::log::change_log::ChangeLog;
use crate::store::log::position::LogPosition;
use crate::store::opening::compaction::Rewritten;
use crate::store::opening::open;
use crate::store::opening::open::{OpenError, Opened};
use crate::store::rows::Table;

/// How long readers may take to let go of the file before it is opened anew.
const LET_GO_WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Disk {
    /// `None` for a store that lives in memory.
    path: Option<PathBuf>,
    pub(super) database: RwLock<Option<Arc<Database>>>,
    layers: Mutex<Layers>,
    /// Held by whoever puts a window into the file, from taking it to its end: one that was taken earlier would write over
    /// what is newer.
    pub(super) filing: Mutex<Filing>,
    /// Told when there is room for another window.
    room: Condvar,
}

/// Where windows go.
#[derive(Debug, Default)]
pub(super) struct Filing {
    /// Beside the store's file a new one that is to take its place.
    pub(super) rewritten: Option<Rewritten>,
}

/// What stands above the file.
#[derive(Debug, Default)]
struct Layers {
    /// What is written now.
    open: Arc<Overlay>,
    /// Where in the log that ends.
    reached: Option<LogPosition>,
    /// What is on its way into the file, and where in the log that ends.
    closed: Option<(Arc<Overlay>, Option<LogPosition>)>,
    /// The number of the last frame that is in the file.
    in_file: u64,
    /// Counts the moments at which the file may have come to hold something else than before.
    generation: u64,
    /// The file as it has been since the last of them, for all who read: to open its tables costs more than most reads. None
    /// is kept while a window goes in, so that what it writes over can be used again.
    file: Option<Arc<FileView>>,
}

impl Layers {
    /// Right after an opening.
    fn above(tail: Overlay, in_file: u64, head: LogPosition) -> Self {
        Self { open: Arc::new(tail), reached: Some(head), in_file, ..Self::default() }
    }

    /// The file may have come to hold something else than before.
    fn file_changes(&mut self) {
        self.generation += 1;
        self.file = None;
    }

    /// What stands above the file, newest first.
    fn overlays(&self) -> Vec<Arc<Overlay>> {
        let closed = self.closed.as_ref().map(|(closed, _)| closed);
        std::iter::once(&self.open).chain(closed).map(Arc::clone).collect()
    }
}

/// What goes into the file together.
#[derive(Debug)]
struct Window {
    overlay: Arc<Overlay>,
    /// Where the file will have come; `None` for a store that lives in memory.
    position: Option<LogPosition>,
    generation: u64,
}

impl Disk {
    /// The file of a store that was opened, and the log for its writer.
    pub(crate) fn new(path: PathBuf, opened: Opened) -> (Self, ChangeLog) {
        let Opened { database, log, tail, in_file, .. } = opened;
        let layers = Layers::above(tail, in_file, log.head());
        (Self::with(Some(path), database, layers), log)
    }

    #[cfg(test)]
    pub(crate) fn in_memory(database: Database) -> Self {
        Self::with(None, database, Layers::default())
    }

    fn with(path: Option<PathBuf>, database: Database, layers: Layers) -> Self {
        let (database, layers) = (RwLock::new(Some(Arc::new(database))), Mutex::new(layers));
        Self { path, database, layers, filing: Mutex::default(), room: Condvar::new() }
    }

    /// Where it is; `None` for a store that lives in memory.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The open database; `None` while it is being opened anew.
    pub(crate) fn database(&self) -> Option<Arc<Database>> {
        self.database.read().clone()
    }

    /// Everything that was promised by now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, ReadError> {
        Ok(self.snapshot_in_log()?.0)
    }

    /// The same, and where in the log that is; `None` for a store that lives in memory.
    pub(crate) fn snapshot_in_log(&self) -> Result<(Snapshot, Option<LogPosition>), ReadError> {
        loop {
            let (generation, reached, overlays) = {
                let layers = self.layers.lock();
                if let Some(file) = &layers.file {
                    return Ok((Snapshot::new(Arc::clone(file), layers.overlays()), layers.reached));
                }
                (layers.generation, layers.reached, layers.overlays())
            };
            let database = self.database().ok_or(ReadError::Reopening)?;
            let transaction = database.begin_read().map_err(|error| Table::Meta.error(error))?;
            let file = Arc::new(FileView::new(transaction));
            let mut layers = self.layers.lock();
            // The file is as old as the layers, or has come to hold the closed one, which says the same.
            if layers.generation == generation {
                if layers.closed.is_none() {
                    layers.file = Some(Arc::clone(&file));
                }
                return Ok((Snapshot::new(file, overlays), reached));
            }
        }
    }

    /// Puts what a batch has changed above the file; `position`: where in the log that ends.
    pub(crate) fn install(&self, delta: Delta, position: Option<LogPosition>) {
        let mut layers = self.layers.lock();
        Arc::make_mut(&mut layers.open).apply(delta);
        layers.reached = position;
    }

    /// Whether so much stands above the file that it should go in.
    pub(crate) fn window_is_full(&self) -> bool {
        self.layers.lock().open.octets() >= WINDOW
    }

    /// Waits until there is room above the file; whether there is.
    pub(crate) fn wait_for_room(&self, within: Duration) -> bool {
        let mut layers = self.layers.lock();
        let full = |layers: &mut Layers| layers.closed.is_some() && layers.open.octets() >= WINDOW;
        !self.room.wait_while_for(&mut layers, full, within).timed_out()
    }

    /// The number of the last frame that is in the file.
    pub(crate) fn in_file(&self) -> u64 {
        self.layers.lock().in_file
    }

    /// What stands above the file, to be put into it: what was on its way already, or what is written now. `None` when there
    /// is nothing.
    fn close_window(&self) -> Option<Window> {
        let mut layers = self.layers.lock();
        if layers.closed.is_none() && !layers.open.is_empty() {
            layers.closed = Some((std::mem::take(&mut layers.open), layers.reached));
            layers.file_changes();
        }
        let (overlay, position) = layers.closed.clone()?;
        Some(Window { overlay, position, generation: layers.generation })
    }

    /// The window is in the file.
    fn is_in_file(&self, window: &Window) {
        let mut layers = self.layers.lock();
        // Otherwise the file was opened anew meanwhile.
        if layers.generation == window.generation {
            layers.closed = None;
            layers.in_file = window.position.map_or(0, |position| position.number);
            layers.file_changes();
        }
        drop(layers);
        self.room.notify_all();
    }

    /// Puts what stands above the file into it: what was on its way already, or what is written now. Whether there was any.
    pub(crate) fn put_in_file(&self) -> Result<bool, redb::Error> {
        let mut filing = self.filing.lock();
        // It is being opened anew, and then what stands above it is read from the log.
        let Some(database) = self.database() else { return Ok(false) };
        let Some(window) = self.close_window() else { return Ok(false) };
        checkpoint::commit_overlay(&database, &window.overlay, window.position.as_ref())?;
        self.is_in_file(&window);
        if let Some(Rewritten { database, .. }) = &filing.rewritten
            && let Err(error) = checkpoint::commit_overlay(database, &window.overlay, None)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "compaction of the store was given up");
            filing.rewritten = None;
        }
        Ok(true)
    }

    /// Something else was written into the file, or another one has taken its place. Nothing goes into it meanwhile.
    pub(super) fn file_changes(&self, _filing: &mut Filing) {
        self.layers.lock().file_changes();
    }

    /// Writes into the file beside what stands above it.
    pub(crate) fn write_beside<T>(&self, write: impl FnOnce() -> T) -> T {
        let mut filing = self.filing.lock();
        let written = write();
        self.file_changes(&mut filing);
        written
    }

    /// Puts everything that stands above the file into it.
    pub(crate) fn put_all_in_file(&self) -> Result<(), redb::Error> {
        while self.put_in_file()? {}
        Ok(())
    }

    /// Puts everything into the file, notes there that it was closed, and removes the log.
    pub(crate) fn settle(
        &self,
        log: Option<ChangeLog>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(database) = self.database() else { return Ok(()) };
        self.put_all_in_file()?;
        let Some(log) = log.filter(ChangeLog::is_begun) else { return Ok(()) };
        let closed = LogPosition { in_use: false, ..log.head() };
        checkpoint::commit_position(&database, &closed)?;
        self.layers.lock().file_changes();
        Ok(log.close()?)
    }

    /// Closes the file and opens it again, with every check.
    pub(crate) fn reopen(&self, now: Timestamp) -> Result<ChangeLog, OpenError> {
        let Some(path) = &self.path else {
            return Err(OpenError::Start(std::io::Error::other("a store in memory cannot be opened anew")));
        };
        // Nothing goes into the file meanwhile, and no other one takes its name.
        let mut filing = self.filing.lock();
        filing.rewritten = None;
        let closing = self.database.write().take();
        // Whoever opens a view of it at this moment does not keep it.
        self.file_changes(&mut filing);
        if let Some(mut closing) = closing {
            let begun = clock::monotonic();
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
        let Opened { database, log, tail, in_file, .. } = open::open_existing(path, now)?;
        let mut layers = self.layers.lock();
        let generation = layers.generation + 1;
        *layers = Layers { generation, ..Layers::above(tail, in_file, log.head()) };
        drop(layers);
        *self.database.write() = Some(Arc::new(database));
        self.room.notify_all();
        Ok(log)
    }
}
