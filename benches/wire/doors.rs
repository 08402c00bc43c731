//! Enrollment and rotation over HTTPS, by clients that each wait for one answer before they ask again.

use std::time::{Duration, Instant};

use crate::load::closed_loop::{self, Connections};
use crate::load::figures::line;
use crate::load::machines::{Fleet, Machine, rotating};
use crate::load::server::Server;

/// How long it may take to enroll what the phases have left out.
const FILLED_WITHIN: Duration = Duration::from_secs(300);

pub async fn measure(server: &Server, fleet: &mut Fleet, phase: Duration) {
    let prepared = closed_loop::prepared(phase);
    for (name, connections) in
        [("enrollment, fresh TLS", Connections::Fresh), ("enrollment, kept connections", Connections::Kept)]
    {
        let machines = fleet.newcomers(prepared);
        fleet.welcome(load(server, name, connections, machines, phase).await);
    }
    // A host rotates once; the other half of the hosts stays as it is.
    let hosts = fleet.take(fleet.enrolled() / 2);
    let machines = hosts.iter().map(rotating).collect();
    load(server, "rotation, kept connections", Connections::Kept, machines, phase).await;
}

/// How many enrollments a second are answered to clients that wait for each answer.
pub async fn capacity(server: &Server, fleet: &mut Fleet, phase: Duration) -> f64 {
    let machines = fleet.newcomers(closed_loop::prepared(phase));
    let begun = Instant::now();
    let answered = load(server, "enrollment, before overload", Connections::Kept, machines, phase).await;
    let rate = answered.len() as f64 / begun.elapsed().as_secs_f64();
    fleet.welcome(answered);
    rate
}

/// Enrolls until so many hosts are at hand.
pub async fn fill(server: &Server, fleet: &mut Fleet, count: usize) {
    let missing = count.saturating_sub(fleet.at_hand());
    if missing > 0 {
        let machines = fleet.newcomers(missing);
        let name = "enrollment, the rest of the fleet";
        fleet.welcome(load(server, name, Connections::Kept, machines, FILLED_WITHIN).await);
    }
}

/// Lets machines ask until all have or the time is over, and prints how it went.
async fn load(
    server: &Server,
    name: &str,
    connections: Connections,
    machines: Vec<Machine>,
    phase: Duration,
) -> Vec<(Machine, Vec<u8>)> {
    let (https, device) = (server.door(), server.device());
    let (run, answered) =
        closed_loop::run((&https, server.id(), &device), connections, machines, phase).await;
    let written = run.written.map_or_else(|| "no device".to_owned(), |written| written.to_string());
    line(name, &format!("{}, {written}", run.spent.each(run.times.count())));
    line("  answered in", &run.times.to_string());
    answered
}
