//! Checkpoint: what stands above the store's file goes into it, in one transaction with the position in the change log, on a
//! thread of its own. Nobody's answer waits for it unless the next window is full before it is done.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::Database;

use super::delta::Delta;
use super::overlay::Overlay;
use crate::clock;
use crate::store::log::position;
use crate::store::log::position::LogPosition;
use crate::store::opening::disk::Disk;
use crate::store::opening::durability::Durability;
use crate::store::rows::Table;

/// How much may stand above the file before it goes in, in octets of memory.
#[cfg(not(test))]
pub(crate) const WINDOW: usize = 16 << 20;
#[cfg(test)]
pub(crate) const WINDOW: usize = 16 << 10;
/// How long it may stand there.
const EVERY: Duration = Duration::from_secs(30);
/// How long it waits after a checkpoint that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How nice its thread is to the others (`setpriority(2)`): on a busy machine answers come first, until they have to wait for
/// it, and then nothing else has much to do.
const NICE: i32 = 5;

/// A row of a checkpoint: a value as it goes to disk, or `None` where it is removed.
type Row<'r> = (&'r [u8], Option<&'r [u8]>);

/// Puts rows into the file.
pub(crate) fn commit<'r, R: Iterator<Item = Row<'r>>>(
    database: &Database,
    tables: impl Iterator<Item = (Table, R)>,
    position: Option<&LogPosition>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    Durability::QuickRepair.prepare(&mut transaction);
    for (table, rows) in tables {
        let mut open = transaction.open_table(table.definition())?;
        for (key, value) in rows {
            match value {
                Some(value) => drop(open.insert(key, value)?),
                None => drop(open.remove(key)?),
            }
        }
    }
    if let Some(position) = position {
        position::put(&transaction, position)?;
    }
    Ok(transaction.commit()?)
}

/// The same of an overlay.
pub(crate) fn commit_overlay(
    database: &Database,
    overlay: &Overlay,
    position: Option<&LogPosition>,
) -> Result<(), redb::Error> {
    commit(database, overlay.tables(), position)
}

/// Notes in the file where it stands, and nothing else.
pub(crate) fn commit_position(database: &Database, position: &LogPosition) -> Result<(), redb::Error> {
    commit_overlay(database, &Overlay::default(), Some(position))
}

/// Puts what one batch changes into the file.
pub(crate) fn commit_delta(database: &Database, delta: &Delta) -> Result<(), redb::Error> {
    let rows = delta
        .tables()
        .map(|(table, rows)| (table, rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))));
    commit(database, rows, None)
}

/// The thread, until it is dropped.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    ring: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// `failed`: told of a checkpoint that failed; the file has to be opened anew.
    pub(crate) fn start(
        disk: Arc<Disk>,
        failed: impl Fn(redb::Error) + Send + 'static,
    ) -> Result<Self, std::io::Error> {
        let (ring, rings) = sync_channel(1);
        let thread = std::thread::Builder::new().name("store-checkpoint".to_owned()).spawn(move || {
            // Without it, it only competes.
            let _ = rustix::process::setpriority_process(None, NICE);
            let ended =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&disk, &rings, &failed)));
            if ended.is_err() {
                tracing::error!("the store's checkpoint failed; stopping before anything else is promised");
                std::process::abort();
            }
        })?;
        Ok(Self { ring: Some(ring), thread: Some(thread) })
    }

    /// Asks for a checkpoint now. One that goes on is followed by another.
    pub(crate) fn ask(&self) {
        // Where one was asked for already, that is enough.
        let _ = self.ring.as_ref().map(|ring| ring.try_send(()));
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.ring = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has already ended the process.
            let _ = thread.join();
        }
    }
}

fn run(disk: &Disk, rings: &Receiver<()>, failed: &impl Fn(redb::Error)) {
    while !matches!(rings.recv_timeout(EVERY), Err(RecvTimeoutError::Disconnected)) {
        if let Err(error) = disk.put_in_file() {
            failed(error);
            // On a full disk every try means that the store is opened anew.
            if rests(rings, AGAIN_AFTER).is_err() {
                return;
            }
        }
    }
}

/// Waits, whoever rings.
fn rests(rings: &Receiver<()>, wait: Duration) -> Result<(), RecvTimeoutError> {
    let begun = clock::monotonic();
    loop {
        match rings.recv_timeout(wait.saturating_sub(begun.elapsed())) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(ended @ RecvTimeoutError::Disconnected) => return Err(ended),
        }
    }
}
