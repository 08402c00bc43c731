//! Clients that each wait for one answer before they ask again, until all machines have asked or the time is over.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::load::account::{Account, Run};
use crate::load::device::Device;
use crate::load::https::Https;
use crate::load::machines::Machine;

/// Clients at a time, each with an address of its own.
pub const CLIENTS: u8 = 16;

/// Requests that are prepared for each second. A phase that has used them up ends early; the rate is as good.
const PREPARED_PER_SECOND: usize = 5_000;

/// How many requests a phase of that length is given.
pub fn prepared(phase: Duration) -> usize {
    PREPARED_PER_SECOND * usize::try_from(phase.as_secs()).expect("a short time")
}

/// Whether a client opens a connection for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    Fresh,
    Kept,
}

/// Lets machines ask a server, known by its process and the device below its store: how it went, and what was answered to
/// whom.
pub async fn run(
    (https, server, device): (&Https, u32, &Device),
    connections: Connections,
    machines: Vec<Machine>,
    phase: Duration,
) -> (Run, Vec<(Machine, Vec<u8>)>) {
    let mut queues: Vec<_> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (number, machine) in machines.into_iter().enumerate() {
        queues[number % usize::from(CLIENTS)].push(machine);
    }
    let account = Account::open(server, device);
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
    (account.close(times), answered)
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
