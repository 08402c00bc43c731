//! The store of `bare`: one table, and one thread that puts into it what is waiting, with one durable commit for all of it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use muster::store::Durability;
use redb::{Builder, Database, TableDefinition};
use tokio::sync::oneshot;

const CERTIFICATES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("certificates");
/// The product's.
const CACHE_BYTES: usize = 64 << 20;
/// Most rows of one commit, and most that wait.
const BATCH_MAX: usize = 512;
const WAITING_MAX: usize = 4_096;

/// A row, and who waits until it is durable.
#[derive(Debug)]
pub struct Row {
    pub serial: [u8; 16],
    pub certificate: Vec<u8>,
    pub written: oneshot::Sender<()>,
}

/// The thread lives as long as somebody may send it something.
pub fn start(file: &Path) -> SyncSender<Row> {
    let database = Builder::new().set_cache_size(CACHE_BYTES).create(file).expect("a fresh file");
    let (rows, waiting) = sync_channel(WAITING_MAX);
    std::thread::spawn(move || {
        while let Ok(first) = waiting.recv() {
            write(&database, first, &waiting);
        }
    });
    rows
}

fn write(database: &Database, first: Row, waiting: &Receiver<Row>) {
    let batch: Vec<Row> = std::iter::once(first).chain(waiting.try_iter()).take(BATCH_MAX).collect();
    let mut transaction = database.begin_write().expect("a transaction");
    Durability::QuickRepair.prepare(&mut transaction);
    {
        let mut table = transaction.open_table(CERTIFICATES).expect("a table");
        for row in &batch {
            table.insert(row.serial.as_slice(), row.certificate.as_slice()).expect("a row");
        }
    }
    transaction.commit().expect("a commit");
    for row in batch {
        // Who waited may have gone.
        let _ = row.written.send(());
    }
}
