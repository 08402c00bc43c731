//! Watchers of trust: what it costs to have them, and how soon after a revocation the last of them knows.

use std::time::{Duration, Instant};

use muster::grpc::proto::agent_service_client::AgentServiceClient;
use muster::grpc::proto::{TrustUpdate, WatchTrustRequest};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::load::figures::{Times, line};
use crate::load::https::post;
use crate::load::server::Server;

/// Revocations that are told, and how long the machine rests before each.
const TOLD: usize = 20;
const REST: Duration = Duration::from_secs(1);
/// How long the last watcher may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// `clients` watch and are asked by nobody, `gone` are revoked one after the other.
pub async fn measure(
    server: &Server,
    bearer: &str,
    clients: Vec<AgentServiceClient<Channel>>,
    gone: Vec<String>,
) {
    let before = server.resident_mib();
    let count = clients.len();
    let meter = server.meter();
    let (told, mut heard) = mpsc::unbounded_channel();
    let (mut opening, mut watching) = (JoinSet::new(), JoinSet::new());
    for mut client in clients {
        let told = told.clone();
        opening.spawn(async move {
            let answer = client.watch_trust(WatchTrustRequest::default()).await.expect("a watch");
            let mut updates = answer.into_inner();
            updates.message().await.expect("an open watch").expect("a snapshot");
            (updates, client, told)
        });
    }
    while let Some(opened) = opening.join_next().await {
        let (updates, client, told) = opened.expect("it does not panic");
        watching.spawn(watch(updates, client, told));
    }
    line("watches, opened with a snapshot", &meter.spent().each(count));
    tokio::time::sleep(REST).await;
    let each = (server.resident_mib() - before) * 1024.0 / count as f64;
    line("memory, watchers", &format!("{each:.1} KiB each ({count} watchers)"));

    let mut admin = server.door().connect(server.https.ip()).await.expect("a connection");
    let (mut all, mut last, mut answers, mut cpu) = (Vec::new(), Vec::new(), Vec::new(), Duration::ZERO);
    for agent in gone.iter().take(TOLD) {
        tokio::time::sleep(REST).await;
        let request = post(&format!("/v1/agents/{agent}/revoke"), bearer, "");
        let meter = server.meter();
        let begun = Instant::now();
        let (status, _) = admin.exchange(&request).await.expect("an answer");
        assert_eq!(status, 200);
        let answered = Instant::now();
        answers.push(answered - begun);
        let mut times = Vec::new();
        while times.len() < count {
            let at: Instant =
                tokio::time::timeout(PATIENCE, heard.recv()).await.expect("in time").expect("it is open");
            times.push(at.saturating_duration_since(answered));
        }
        cpu += meter.spent().server_cpu;
        last.extend(times.iter().max());
        all.extend(times);
    }
    let each = cpu.as_secs_f64() / TOLD.min(gone.len()) as f64;
    line("revocation with watchers, answered", &answers.into_iter().collect::<Times>().to_string());
    line("  from there to a watcher", &all.into_iter().collect::<Times>().to_string());
    line("  from there to the last one", &last.into_iter().collect::<Times>().to_string());
    line("  CPU of the server each", &format!("{each:.4} s ({count} watchers, nobody asks them)"));
}

/// Says when it hears of a denial.
async fn watch(
    mut updates: Streaming<TrustUpdate>,
    _client: AgentServiceClient<Channel>,
    told: mpsc::UnboundedSender<Instant>,
) {
    while let Ok(Some(update)) = updates.message().await {
        if !update.denied.is_empty() {
            // Nobody may be interested any more, but it goes on watching.
            let _ = told.send(Instant::now());
        }
    }
}
