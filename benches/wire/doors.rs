//! Enrollment and rotation over HTTPS, by clients that each wait for one answer before they ask again.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::figures::{Times, line};
use crate::https::Https;
use crate::machines::{Fleet, Machine, rotating};
use crate::server::Server;

/// Clients at a time.
const CLIENTS: u8 = 16;
/// Requests that are prepared for each second. A phase that has used them up ends early; the rate is as good.
const PREPARED_PER_SECOND: usize = 5_000;

/// How long it may take to enroll what the phases have left out.
const FILLED_WITHIN: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    Fresh,
    Kept,
}

pub async fn measure(server: &Server, fleet: &mut Fleet, phase: Duration) {
    let prepared = PREPARED_PER_SECOND * usize::try_from(phase.as_secs()).expect("a short time");
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
    let seconds = usize::try_from(phase.as_secs()).expect("a short time");
    let machines = fleet.newcomers(PREPARED_PER_SECOND * seconds);
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
    let https = Https::new(server);
    let mut queues: Vec<_> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (number, machine) in machines.into_iter().enumerate() {
        queues[number % usize::from(CLIENTS)].push(machine);
    }
    let (meter, device) = (server.meter(), server.device());
    let before = device.written();
    let until = Instant::now() + phase;
    let mut clients = tokio::task::JoinSet::new();
    for (number, queue) in (1..).zip(queues) {
        let from = Ipv4Addr::new(127, 0, 0, 1 + number).into();
        clients.spawn(client(https.clone(), from, connections, queue, until));
    }
    let (mut times, mut answered) = (Vec::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        for (machine, took, answer) in client.expect("it does not panic") {
            times.push(took);
            answered.push((machine, answer));
        }
    }
    let spent = meter.spent();
    let count = times.len();
    let written = device.written().zip(before).map(|(now, before)| now.each(before, count));
    line(name, &format!("{}, {}", spent.each(count), written.as_deref().unwrap_or("no device")));
    line("  answered in", &format!("{}", times.into_iter().collect::<Times>()));
    answered
}

async fn client(
    https: Https,
    from: IpAddr,
    connections: Connections,
    machines: Vec<Machine>,
    until: Instant,
) -> Vec<(Machine, Duration, Vec<u8>)> {
    let mut kept = None;
    let mut answered = Vec::with_capacity(machines.len());
    for machine in machines {
        let begun = Instant::now();
        if begun > until {
            break;
        }
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => https.connect(from).await.expect("a connection"),
        };
        let (status, body) = connection.exchange(&machine.request).await.expect("an answer");
        assert!(matches!(status, 200 | 201), "{status} {}", String::from_utf8_lossy(&body));
        if connections == Connections::Kept {
            kept = Some(connection);
        }
        answered.push((machine, begun.elapsed(), body));
    }
    answered
}
