//! Storms: what a whole fleet does at once when its server comes back.
//!
//! The first is a crash: all agents find their sessions gone, come back as soon as anybody answers, and renew. The second is an
//! outage that was longer than their certificates: nobody has a session, everybody rotates over HTTPS with an expired one, and
//! then holds a session. Each fleet behaves as agents do: who is refused for want of time asks again when told to.
//! Run with `cargo bench --bench storms [-- --agents N --expired N --binary PATH]`.

#![allow(unreachable_pub, reason = "nothing leaves a benchmark")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures")]

#[path = "../load/mod.rs"]
#[allow(dead_code, reason = "each benchmark uses its part")]
mod load;
mod returning;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use load::arguments::flag;
use load::closed_loop::{self, Connections};
use load::figures::{Times, line, load_average};
use load::machines::{Fleet, Host, rotating};
use load::server::Server;
use returning::{Back, attach, rotate};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How long it may take to make a fleet.
const FILLED_WITHIN: Duration = Duration::from_secs(300);
/// Agents that come back in the same moment: as many handshakes as a machine does in half a second.
const AT_ONCE: usize = 1_000;
/// Connections of machines that rotate over HTTPS at the same time.
const CONNECTIONS: usize = 8_000;
/// Of those, how many hold a session in the end: what one server takes on a machine with 20,000 descriptors.
const SESSIONS: usize = 9_000;
/// The lifetime of certificates that are to expire, in seconds. The shortest that agents are given is 60.
const SHORT_LIVED: u64 = 60;

fn main() {
    let binary = flag("--binary").unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_muster")));
    let agents = flag("--agents").unwrap_or(9_900_usize);
    let expired = flag("--expired").unwrap_or(50_000_usize);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        line("machine", &format!("load average {}", load_average()));
        if agents > 0 {
            crash(&binary, agents).await;
        }
        if expired > 0 {
            outage(&binary, expired).await;
        }
    });
}

/// So many machines with an identity each.
async fn filled(server: &Server, count: usize) -> Vec<Host> {
    let mut fleet = Fleet::new(server);
    let machines = fleet.newcomers(count);
    let (door, device) = (server.door(), server.device());
    let (_, answered) =
        closed_loop::run((&door, server.id(), &device), Connections::Kept, machines, FILLED_WITHIN).await;
    assert_eq!(answered.len(), count, "the fleet was not made in time");
    fleet.welcome(answered);
    fleet.take(count)
}

/// A server is killed and comes back; its agents had sessions and want them again, and each renews.
async fn crash(binary: &std::path::Path, count: usize) {
    let mut server = Server::first_start(binary);
    let hosts = filled(&server, count).await;
    let returning: Vec<_> = hosts.iter().map(|host| returning::Agent::new(&server, host)).collect();
    server.kill();
    let begun = Instant::now();
    server.serve();
    let meter = server.meter();
    let doors = Arc::new(Semaphore::new(AT_ONCE));
    let mut storm = JoinSet::new();
    for agent in returning {
        storm.spawn(attach(agent, Arc::clone(&doors), begun));
    }
    let back = storm.join_all().await;
    let spent = meter.spent();
    tell("storm after a crash", &back, begun.elapsed());
    line(
        "  CPU, and memory in the end",
        &format!("{}, {:.0} MiB", spent.each(back.len()), server.resident_mib()),
    );
}

/// A server was away for longer than certificates live.
async fn outage(binary: &std::path::Path, count: usize) {
    let settings =
        [("MUSTER_SVID_TTL", format!("{SHORT_LIVED}s")), ("MUSTER_ROTATION_GRACE", "24h".to_owned())];
    let mut server = Server::first_start_with(binary, &settings);
    let hosts = filled(&server, count).await;
    let ended = Instant::now() + Duration::from_secs(SHORT_LIVED);
    let rotating: Vec<_> = hosts.iter().map(rotating).collect();
    server.kill();
    tokio::time::sleep_until(ended.into()).await;
    let begun = Instant::now();
    server.serve();
    let meter = server.meter();
    let (door, connections) = (server.door(), Arc::new(Semaphore::new(CONNECTIONS)));
    let doors = Arc::new(Semaphore::new(AT_ONCE));
    let mut storm = JoinSet::new();
    for (number, machine) in (0_u32..).zip(rotating) {
        // Each comes from its own address, as far as loopback has some.
        let [_, _, high, low] = (256 + number % 60_000).to_be_bytes();
        let from = Ipv4Addr::new(127, 1, high, low);
        let holds = (number as usize) < SESSIONS;
        let (door, connections, doors) = (door.clone(), Arc::clone(&connections), Arc::clone(&doors));
        let (grpc, ca) = (server.grpc, server.ca.clone());
        storm.spawn(async move {
            let (host, mut back) = rotate(&door, from, machine, &connections, begun).await;
            if holds {
                let agent = returning::Agent::at(grpc, &ca, &host);
                back.session = attach(agent, doors, begun).await.session;
            }
            back
        });
    }
    let back = storm.join_all().await;
    let spent = meter.spent();
    tell("storm after an outage", &back, begun.elapsed());
    line(
        "  CPU, and memory in the end",
        &format!("{}, {:.0} MiB", spent.each(back.len()), server.resident_mib()),
    );
}

fn tell(name: &str, back: &[Back], all: Duration) {
    let refused: u32 = back.iter().map(|agent| agent.told_to_wait).sum();
    let unanswered: u32 = back.iter().map(|agent| agent.unanswered).sum();
    line(name, &format!("{} agents back after {:.1} s", back.len(), all.as_secs_f64()));
    line(
        "  with a certificate after",
        &back.iter().map(|agent| agent.certificate).collect::<Times>().to_string(),
    );
    let sessions: Times = back.iter().filter_map(|agent| agent.session.as_ref()).map(|it| it.open).collect();
    line("  with a session after", &sessions.to_string());
    let sessions: Vec<_> = back.iter().filter_map(|agent| agent.session.as_ref()).collect();
    line("  sessions that are open", &sessions.len().to_string());
    line("  told to wait, not answered", &format!("{refused} and {unanswered} times"));
}
