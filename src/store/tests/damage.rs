//! A file that has come to hold something else and is too large to be walked before it is served: whatever is refused or served,
//! nobody who is denied is forgotten, no row is read that was not written, and what proves the store behind finds the damage.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::store::opening::checked::apart;
use crate::store::tests::lost_writes::{Dump, Noon, dump, live};
use crate::store::{FILE_NAME, JOURNAL_NAME, Store};

fn open(path: &Path) -> Option<Store> {
    Store::open(path, Arc::new(Noon), Box::new(|_| {})).ok()
}

/// What is denied, in an order of its own.
fn denied(store: &Store) -> Vec<String> {
    let denied = store.read(|view| view.denied()).unwrap();
    let mut denied: Vec<_> = denied.iter().map(|step| format!("{step:?}")).collect();
    denied.sort();
    denied
}

/// Whether all of a store can be read and is as it should be.
fn proved(store: &Store) -> bool {
    let mut proof = Store::begin_proof();
    loop {
        match store.go_on_proving(&mut proof, jiff::Timestamp::UNIX_EPOCH, 7) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn damage_of_a_large_file_forgets_no_denial_and_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE_NAME);
    let store = open(&path).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(live(&store));
    let (whole, known): (Dump, _) = (dump(&store.disk), denied(&store));
    assert!(!known.is_empty() && proved(&store));
    drop(store);
    let sound = std::fs::read(&path).unwrap();
    let journal = std::fs::read(directory.path().join(JOURNAL_NAME)).unwrap();

    let (mut refused, mut found, mut unharmed) = (0, 0, 0);
    // The places that are in use: the rest of a young file is empty, and a flip there proves nothing.
    let used: Vec<_> = (0..sound.len()).filter(|at| sound[*at] != 0).collect();
    for case in 0..96 {
        let at = used[used.len() / 96 * case + case % 7];
        let mut damaged = sound.clone();
        if case % 6 == 0 {
            // A page that was never written.
            let page = at / 4096 * 4096;
            damaged[page..page + 4096].fill(0);
        } else {
            damaged[at] ^= 1 << (case % 8);
        }
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join(FILE_NAME);
        std::fs::write(&file, &damaged).unwrap();
        std::fs::write(room.path().join(JOURNAL_NAME), &journal).unwrap();
        let (expected, whole) = (known.clone(), whole.clone());
        // On a thread where a panic of redb's is silent.
        let outcome = apart(&file, move |file| {
            let Some(store) = open(file) else { return "refused" };
            assert_eq!(denied(&store), expected, "case {case}: somebody was forgotten");
            if !proved(&store) {
                return "found";
            }
            assert!(dump(&store.disk) == whole, "case {case}: other rows than were written");
            "unharmed"
        });
        match outcome.unwrap() {
            Some("refused") => {
                refused += 1;
                assert!(std::fs::read(&file).unwrap() == damaged, "case {case}: it was changed");
            }
            Some("found") => found += 1,
            Some(_) => unharmed += 1,
            None => panic!("case {case} panicked"),
        }
    }
    // Damage outside of what is in use now harms nobody.
    assert!(refused > 0 && found > 15, "{refused} refused, {found} found, {unharmed} unharmed");
}
