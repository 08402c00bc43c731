//! Compaction while the store is written to: at every moment the file says what was promised, before, between and after.

use std::sync::Arc;

use crate::store::tests::lost_writes::{Noon, dump, live};
use crate::store::{CompactionError, FILE_NAME, Store};

fn open(path: &std::path::Path) -> Store {
    Store::open(path, Arc::new(Noon), Box::new(|_| {})).unwrap()
}

#[test]
fn a_store_that_is_written_to_is_compacted_and_holds_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let store = open(&path);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(live(&store));
    store.disk.put_all_in_file().unwrap();
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    let old = inode(&path);

    // Somebody reads the old file through all of it.
    let reading = store.disk.snapshot().unwrap();
    let read_before = dump(&store.disk);
    let mut copied = store.disk.begin_compaction(&path).unwrap();
    let mut parts = 0;
    while !store.disk.go_on_compacting(&mut copied).unwrap() {
        parts += 1;
        if parts % 9 == 0 {
            // The same hosts again, others gone: rows that were copied change, and some that were not.
            runtime.block_on(live(&store));
            store.disk.put_in_file().unwrap();
        }
    }
    let promised = dump(&store.disk);
    assert!(promised != read_before);
    store.disk.end_compaction(&path).unwrap();
    assert!(dump(&store.disk) == promised, "right after the swap");
    assert_ne!(inode(&path), old);
    drop(reading);
    runtime.block_on(live(&store));
    let promised = dump(&store.disk);
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains(".muster.redb.")), "{left:?}");
    drop(store);
    let store = open(&path);
    assert!(dump(&store.disk) == promised, "after it was opened anew");
    store.check(jiff::Timestamp::UNIX_EPOCH, &mut |_| {}).unwrap();

    // What is given up leaves nothing.
    assert!(matches!(store.compact(|| false), Err(CompactionError::GivenUp)));
    store.compact(|| true).unwrap();
    assert!(dump(&store.disk) == promised);
}
