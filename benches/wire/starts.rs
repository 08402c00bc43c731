//! How long a server that has data needs from exec to its first answer.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::load::figures::{Times, line};
use crate::load::machines::Fleet;
use crate::load::server::Server;

/// Starts of each kind.
const STARTS: usize = 5;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for the first answer that says "ready".
pub async fn answer(server: &Server) {
    let https = server.door();
    let ready = b"GET /readyz HTTP/1.1\r\nHost: muster\r\n\r\n";
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(mut connection) = https.connect(Ipv4Addr::LOCALHOST.into()).await
            && matches!(connection.exchange(ready).await, Ok((200, _)))
        {
            return;
        }
        assert!(Instant::now() < deadline, "it does not answer");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub async fn measure(server: &mut Server, fleet: &mut Fleet) {
    let (mut stops, mut clean, mut crashed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        stops.push(server.stop());
        clean.push(start(server).await);
    }
    for _ in 0..STARTS {
        // A store that was written to since it was opened.
        let machine = fleet.newcomers(1).remove(0);
        let mut connection = server.door().connect(Ipv4Addr::LOCALHOST.into()).await.expect("it runs");
        let (_, body) = connection.exchange(&machine.request).await.expect("an answer");
        fleet.welcome([(machine, body)]);
        server.kill();
        crashed.push(start(server).await);
    }
    line("clean stop", &format!("{}", stops.into_iter().collect::<Times>()));
    line("start after a clean stop", &format!("{}", clean.into_iter().collect::<Times>()));
    line("start after kill -9", &format!("{}", crashed.into_iter().collect::<Times>()));
}

async fn start(server: &mut Server) -> Duration {
    let begun = Instant::now();
    server.serve();
    answer(server).await;
    begun.elapsed()
}
