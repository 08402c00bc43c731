//! Twice as much as the server can do: what is accepted has to be answered soon, what is not has to be told so, and whoever
//! asks whether the server is well must not notice.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::doors;
use crate::load::figures::{Times, line};
use crate::load::https::Https;
use crate::load::machines::{Fleet, Machine};
use crate::load::server::Server;

/// Clients that ask when their time has come, whether or not the others were answered.
const CLIENTS: u32 = 800;
/// How many times as much is asked for as was answered before.
const TIMES: f64 = 2.0;
/// The longest that requests come for; they are made before, each with a key.
const LONGEST: Duration = Duration::from_secs(4);
/// How often somebody asks whether the server is well.
const LOOKS_EVERY: Duration = Duration::from_millis(20);

/// What became of the requests of one client.
#[derive(Debug, Default)]
struct Answers {
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    bodies: Vec<(Machine, Vec<u8>)>,
}

pub async fn measure(server: &Server, fleet: &mut Fleet, phase: Duration) {
    let phase = phase.min(LONGEST);
    let capacity = doors::capacity(server, fleet, phase).await;
    let rate = capacity * TIMES;
    let within_phase = |number: &u32| f64::from(*number) / rate < phase.as_secs_f64();
    let machines = fleet.newcomers((0_u32..).take_while(within_phase).count());
    let mut queues: Vec<_> = (0..CLIENTS).map(|_| Vec::new()).collect();
    let https = server.door();
    // They are all connected before the first request.
    let begins = Instant::now() + Duration::from_secs(3);
    for (number, machine) in machines.into_iter().enumerate() {
        let at = begins + Duration::from_secs_f64(number as f64 / rate);
        queues[number % CLIENTS as usize].push((at, machine));
    }
    let mut clients = JoinSet::new();
    for (number, queue) in (0..).zip(queues) {
        clients.spawn(client(https.clone(), address(number), queue));
    }
    let looks = tokio::spawn(looks(https, begins, begins + phase));
    let meter = server.meter();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    while let Some(answers) = clients.join_next().await {
        let answers = answers.expect("it does not panic");
        accepted.extend(answers.accepted);
        refused.extend(answers.refused);
        fleet.welcome(answers.bodies);
    }
    let spent = meter.spent().server_cpu.as_secs_f64();
    let (yes, no) = (accepted.len(), refused.len());
    line(
        "twice as much as that",
        &format!("{rate:>7.0}/s asked for, {yes} accepted, {no} refused; CPU of the server {spent:.1} s"),
    );
    line("  accepted in", &format!("{}", accepted.into_iter().collect::<Times>()));
    line("  refused in", &format!("{}", refused.into_iter().collect::<Times>()));
    line("  /healthz, fresh TLS", &format!("{}", looks.await.expect("it does not panic")));
}

fn address(number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

/// Times count from the moment at which a request was to be sent.
async fn client(https: Https, from: IpAddr, queue: Vec<(Instant, Machine)>) -> Answers {
    let mut connection = https.connect(from).await.expect("a connection");
    let mut answers = Answers::default();
    for (at, machine) in queue {
        tokio::time::sleep_until(at.into()).await;
        let (status, body) = connection.exchange(&machine.request).await.expect("an answer");
        if status == 503 {
            answers.refused.push(at.elapsed());
            continue;
        }
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
        answers.accepted.push(at.elapsed());
        answers.bodies.push((machine, body));
    }
    answers
}

async fn looks(https: Https, begins: Instant, ends: Instant) -> Times {
    let request = b"GET /healthz HTTP/1.1\r\nHost: muster\r\n\r\n";
    let mut looks = JoinSet::new();
    let mut at = begins;
    while at < ends {
        tokio::time::sleep_until(at.into()).await;
        let https = https.clone();
        looks.spawn(async move {
            let mut connection =
                https.connect(Ipv4Addr::new(127, 2, 0, 1).into()).await.expect("a connection");
            let (status, _) = connection.exchange(request).await.expect("an answer");
            assert_eq!(status, 200);
            at.elapsed()
        });
        at += LOOKS_EVERY;
    }
    looks.join_all().await.into_iter().collect()
}
