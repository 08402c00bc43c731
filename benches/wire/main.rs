//! The real server under load: a process of its own, real TLS on loopback, a store on a real disk.
//!
//! The load comes from this process, so both share the machine: rates are those of a machine that does both
//! halves, and the CPU per operation, taken from /proc, says what the server's half is. What a request needs
//! of keys and signatures is made before the clock starts. Every number of requests is bounded by a time.
//! Run with `cargo bench --bench wire [-- --seconds N --agents N --binary PATH]`.

#![allow(unreachable_pub, reason = "nothing leaves a benchmark")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures")]

mod agents;
mod beside;
mod doors;
#[path = "../load/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part")]
mod load;
mod overload;
mod renewals;
mod starts;
mod still;
mod tokens;
mod vouching;
mod watchers;

use std::path::PathBuf;
use std::time::Duration;

use load::arguments::flag;
use load::figures::{line, load_average};
use load::machines::Fleet;
use load::server::Server;

/// What the command line may change.
#[derive(Debug)]
struct Settings {
    /// How long one phase may take.
    phase: Duration,
    agents: usize,
    binary: PathBuf,
}

fn main() {
    let settings = Settings {
        phase: Duration::from_secs(flag("--seconds").unwrap_or(10)),
        agents: flag("--agents").unwrap_or(2_000),
        binary: flag("--binary").unwrap_or_else(|| env!("CARGO_BIN_EXE_muster").into()),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(run(&settings));
}

async fn run(settings: &Settings) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    line("machine", &format!("{cores} cores, shared by server and load; load average {}", load_average()));
    let mut server = Server::first_start(&settings.binary);
    line("memory, empty", &format!("{:.1} MiB resident", server.resident_mib()));

    let mut fleet = Fleet::new(&server);
    doors::measure(&server, &mut fleet, settings.phase).await;
    overload::measure(&server, &mut fleet, settings.phase).await;
    doors::fill(&server, &mut fleet, settings.agents + agents::REVOKED + agents::TOLD + vouching::HOSTS)
        .await;
    line("store", &format!("{} hosts, {:.0} MiB on disk", fleet.enrolled(), server.store_mib()));

    // What the enrollments left in memory would hide what an agent needs.
    server.stop();
    server.serve();
    starts::answer(&server).await;
    agents::measure(&server, &mut fleet, settings).await;
    starts::measure(&mut server, &mut fleet).await;
    line("machine", &format!("load average {} at the end", load_average()));
}
