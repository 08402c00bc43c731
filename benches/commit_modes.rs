//! How long a durable commit takes in each of redb's modes, and how long opening takes after a crash.
//!
//! The store's choice of mode rests on these figures (`src/ARCHITECTURE.md`). Run with
//! `cargo bench --bench commit_modes [-- --rows N]`; prints one line per mode and batch size.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use muster::store::Durability;
use redb::{Builder, Database, TableDefinition};

const HOSTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("hosts");
const SERIALS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("serials");
const AUDIT: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("audit");

const MODES: [Durability; 3] = [Durability::OnePhase, Durability::TwoPhase, Durability::QuickRepair];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(mode) = value("--crash-in-mode") {
        fill_and_crash(Path::new(&arguments[arguments.len() - 1]), mode, value("--rows").unwrap_or(1));
    }
    let rows = value("--rows").unwrap_or(100_000);
    println!("{:<12} {:>6} {:>12} {:>10} {:>10}", "mode", "batch", "writes/s", "p50 us", "p99 us");
    for mode in MODES {
        for batch in [1, 8, 64] {
            commits(mode, batch);
        }
    }
    println!("\nopening after a crash, {rows} rows");
    for (index, mode) in MODES.into_iter().enumerate() {
        reopening(mode, index, rows);
    }
}

fn open(path: &Path) -> Database {
    Builder::new().set_cache_size(64 << 20).create(path).expect("a fresh file")
}

/// What one enrollment writes: a host row, an index row and an audit row, all with growing keys.
fn write(database: &Database, mode: Durability, first: u64, count: u64) {
    let mut transaction = database.begin_write().expect("begin");
    mode.prepare(&mut transaction);
    for (definition, size) in [(HOSTS, 400), (SERIALS, 32), (AUDIT, 200)] {
        let mut table = transaction.open_table(definition).expect("open table");
        for row in first..first + count {
            let key = u128::from(row).to_be_bytes();
            table.insert(key.as_slice(), vec![7_u8; size].as_slice()).expect("insert");
        }
    }
    transaction.commit().expect("commit");
}

fn commits(mode: Durability, batch: u64) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
    let database = open(&directory.path().join("bench.redb"));
    write(&database, mode, 0, 20_000);
    let mut times = Vec::new();
    let started = Instant::now();
    let mut row = 20_000;
    while started.elapsed() < Duration::from_secs(3) {
        let before = Instant::now();
        write(&database, mode, row, batch);
        times.push(before.elapsed());
        row += batch;
    }
    let rate = (row - 20_000) as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    println!("{:<12} {batch:>6} {rate:>12.0} {:>10} {:>10}", format!("{mode:?}"), at(50), at(99));
}

fn fill_and_crash(path: &Path, mode: u64, rows: u64) -> ! {
    let database = open(path);
    let mode = MODES[usize::try_from(mode).expect("a mode's number")];
    for first in (0..rows).step_by(1_000) {
        write(&database, mode, first, 1_000);
    }
    // No destructor runs, as after a power cut.
    std::process::abort();
}

fn reopening(mode: Durability, index: usize, rows: u64) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
    let path = directory.path().join("bench.redb");
    let own = std::env::current_exe().expect("this program");
    let crashed = Command::new(own)
        .args(["--crash-in-mode", &index.to_string(), "--rows", &rows.to_string()])
        .arg(&path)
        .stderr(Stdio::null())
        .status()
        .expect("the crashing process");
    assert!(!crashed.success(), "it was to crash");
    let before = Instant::now();
    let mut database = Builder::new().set_cache_size(64 << 20).open(&path).expect("it opens");
    let opened = before.elapsed();
    assert!(database.check_integrity().expect("it can be checked"));
    println!(
        "{:<12} open {:>8.1} ms, check {:>8.1} ms",
        format!("{mode:?}"),
        opened.as_secs_f64() * 1e3,
        (before.elapsed() - opened).as_secs_f64() * 1e3
    );
}
