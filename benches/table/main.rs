//! The product beside a ceiling of our own, `bare`, in one run: what share of what this machine could do at all it does.
//!
//! Rates of a machine say little about another machine, or about the same one under another load. So both servers stay up for
//! the whole run and take turns, scenario by scenario, and what counts are the ratios within a round. Prints one table, and
//! writes `bench/table.json` and `bench/table.svg` into the target directory; `docs/performance.md` says how to read them.
//! Run with `cargo bench --bench table [-- --rounds N --seconds N --binary PATH]`.

#![allow(unreachable_pub, reason = "nothing leaves a benchmark")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures")]

mod bare;
mod chart;
mod contender;
#[path = "../load/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part")]
mod load;
mod machine;
mod outcome;
mod report;
mod rounds;
mod scenario;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use load::arguments::flag;
use tokio::signal::unix::{SignalKind, signal};

/// More would only be a long wait.
const ROUNDS_MAX: u32 = 20;
const SECONDS_MAX: u64 = 60;

/// What the command line may change.
#[derive(Debug)]
struct Settings {
    rounds: u32,
    /// How long one server may be under load in one scenario of one round.
    phase: Duration,
    binary: PathBuf,
}

fn main() -> ExitCode {
    if let Some(room) = flag::<PathBuf>("--bare") {
        bare::serve(&room);
        return ExitCode::SUCCESS;
    }
    let settings = Settings {
        rounds: flag("--rounds").unwrap_or(3).clamp(1, ROUNDS_MAX),
        phase: Duration::from_secs(flag("--seconds").unwrap_or(5).clamp(1, SECONDS_MAX)),
        binary: flag("--binary").unwrap_or_else(|| env!("CARGO_BIN_EXE_muster").into()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    // Whoever is told to end ends what it started, and leaves nothing behind.
    let report = runtime.block_on(async {
        tokio::select! {
            report = rounds::run(&settings) => Some(report),
            () = told_to_end() => None,
        }
    });
    let Some(report) = report else { return ExitCode::FAILURE };
    print!("{}", text::table(&report));
    for file in report.write().expect("the target directory can be written to") {
        println!("{}", file.display());
    }
    ExitCode::SUCCESS
}

async fn told_to_end() {
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("signals can be waited for"));
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
