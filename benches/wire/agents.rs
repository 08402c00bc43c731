//! Live agents: what it costs to attach them, to have them, to hear from them, and how fast one is put out.

use std::time::{Duration, Instant};

use muster::grpc::proto::agent_service_client::AgentServiceClient;
use muster::grpc::proto::{HeartbeatRequest, HostFacts, SessionRequest, SessionResponse, session_request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use crate::load::dial::Dial;
use crate::load::figures::{Times, line};
use crate::load::https::post;
use crate::load::machines::{Fleet, Host};
use crate::load::server::Server;
use crate::still::StillWatchers;
use crate::{Settings, renewals, tokens, vouching, watchers};

/// Agents that connect at the same time.
const ATTACHING: usize = 64;
/// Streams that are kept busy, and how often: the server ends a session that sends more than 20 a second.
const HOT: usize = 100;
const BEAT: Duration = Duration::from_millis(50);
/// Heartbeats that a session may send in one go, with some to spare: the server takes 40.
const BURST: usize = 30;
pub const REVOKED: usize = 200;
/// Those whose revocation is told to watchers.
pub const TOLD: usize = 20;
/// How long the server has to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(2);

fn heartbeat(facts: Option<HostFacts>) -> SessionRequest {
    SessionRequest {
        message: Some(session_request::Message::Heartbeat(HeartbeatRequest {
            facts,
            ..HeartbeatRequest::default()
        })),
    }
}

/// An agent with an open session.
struct Agent {
    id: String,
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<SessionResponse>,
    /// The connection lives as long as its client.
    client: AgentServiceClient<Channel>,
    dial: Dial,
}

pub async fn measure(server: &Server, fleet: &mut Fleet, settings: &Settings) {
    let before = server.resident_mib();
    line("memory, idle", &format!("{before:.1} MiB resident"));
    let count = settings.agents.min(room());
    let mut agents = attach(server, &fleet.take(count)).await;
    tokio::time::sleep(REST).await;
    // The pages of the store that the handshakes have read are in it, too: up to 64 MiB of cache.
    let now = server.resident_mib();
    let each = (now - before) * 1024.0 / agents.len() as f64;
    line(
        "memory, live agents",
        &format!("{now:.1} MiB resident, {each:.1} KiB each ({} agents)", agents.len()),
    );

    heartbeats(server, &mut agents, settings.phase).await;
    let token = server.operator(&["api-token", "create", "--name", "bench", "--permission", "agent.write"]);
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().expect("a text"));
    let gone = agents.split_off(agents.len().saturating_sub(TOLD)).into_iter().map(|agent| agent.id);
    let clients: Vec<_> = agents.iter().map(|agent| agent.client.clone()).collect();
    tokens::measure(server, &clients, settings.phase).await;
    renewals::measure(server, &clients, settings.phase).await;
    watchers::measure(server, &bearer, clients, gone.collect()).await;
    revoke(server, &mut agents, &bearer).await;

    // They let go of their sessions, and some come in place of those that are out.
    let mut dials: Vec<Dial> = agents.into_iter().map(|agent| agent.dial).collect();
    dials.extend(fleet.take(count - dials.len()).iter().map(|host| Dial::new(server, host)));
    let watchers = tokio::task::block_in_place(|| StillWatchers::start(dials));
    vouching::measure(server, fleet, &bearer, watchers, settings.phase).await;
}

/// How many agents fit under this machine's bound on descriptors, which the server inherits: it lets agents have
/// half of them.
fn room() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    usize::try_from(descriptors.unwrap_or(u64::MAX) / 2).unwrap_or(usize::MAX).saturating_sub(ATTACHING)
}

async fn attach(server: &Server, hosts: &[Host]) -> Vec<Agent> {
    let dials: Vec<_> = hosts.iter().map(|host| Dial::new(server, host)).collect();
    let meter = server.meter();
    let (mut attaching, mut agents) = (JoinSet::new(), Vec::new());
    for dial in dials {
        if attaching.len() >= ATTACHING {
            agents.extend(attaching.join_next().await);
        }
        attaching.spawn(Agent::attach(dial));
    }
    agents.extend(attaching.join_all().await.into_iter().map(Ok));
    let spent = meter.spent();
    line("attach, mTLS and first heartbeat", &spent.each(agents.len()));
    agents.into_iter().map(|agent| agent.expect("it does not panic")).collect()
}

impl Agent {
    /// Opens a session and waits for the answer to its first heartbeat.
    async fn attach(dial: Dial) -> Self {
        let (mut client, id) = (dial.connect().await, dial.id.clone());
        let (up, requests) = mpsc::channel(1);
        let facts = HostFacts { hostname: id.clone(), arch: "x86_64".to_owned(), ..HostFacts::default() };
        up.send(heartbeat(Some(facts))).await.expect("it is open");
        let down = client.session(ReceiverStream::new(requests)).await.expect("a session").into_inner();
        let mut agent = Self { id, up, down, client, dial };
        agent.answer().await;
        agent
    }

    async fn answer(&mut self) {
        self.down.message().await.expect("an open session").expect("an answer");
    }

    /// Says that it is there, as an agent does whose facts have not changed; how long the answer took.
    async fn beat(&mut self) -> Duration {
        let begun = Instant::now();
        self.up.send(heartbeat(None)).await.expect("it is open");
        self.answer().await;
        begun.elapsed()
    }
}

async fn heartbeats(server: &Server, agents: &mut Vec<Agent>, phase: Duration) {
    let idle = agents.split_off(agents.len().min(HOT));
    let until = Instant::now() + phase;
    everybody(server, "heartbeats, 100 streams at 20/s", agents, move |_| async move {
        tokio::time::sleep(BEAT).await;
        Instant::now() < until
    })
    .await;
    agents.extend(idle);
    everybody(server, "heartbeats, bursts on all streams", agents, |sent| std::future::ready(sent < BURST))
        .await;
}

/// Every agent sends one heartbeat after the other, for as long as `goes_on` says so.
async fn everybody<F, W>(server: &Server, name: &str, agents: &mut Vec<Agent>, goes_on: F)
where
    F: Fn(usize) -> W + Copy + Send + 'static,
    W: Future<Output = bool> + Send,
{
    let meter = server.meter();
    let mut beating = JoinSet::new();
    for mut agent in agents.drain(..) {
        beating.spawn(async move {
            let mut times = Vec::new();
            while goes_on(times.len()).await {
                times.push(agent.beat().await);
            }
            (agent, times)
        });
    }
    let mut all = Vec::new();
    while let Some(beaten) = beating.join_next().await {
        let (agent, times) = beaten.expect("it does not panic");
        agents.push(agent);
        all.extend(times);
    }
    let spent = meter.spent();
    let times: Times = all.into_iter().collect();
    line(name, &spent.each(times.count()));
    line("  answered in", &format!("{times}"));
}

/// Revokes live agents one after the other while the others stay.
async fn revoke(server: &Server, agents: &mut Vec<Agent>, bearer: &str) {
    let mut admin = server.door().connect(server.https.ip()).await.expect("a connection");
    let (mut answers, mut ends) = (Vec::new(), Vec::new());
    for mut agent in agents.split_off(agents.len().saturating_sub(REVOKED)) {
        let request = post(&format!("/v1/agents/{}/revoke", agent.id), bearer, "");
        let begun = Instant::now();
        let answered = async {
            let (status, body) = admin.exchange(&request).await.expect("an answer");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            begun.elapsed()
        };
        let ended = async {
            let end = agent.down.message().await.expect_err("a revoked agent is put out");
            assert_eq!(end.code(), Code::PermissionDenied, "{end}");
            begun.elapsed()
        };
        let (answer, end) = tokio::join!(answered, ended);
        answers.push(answer);
        ends.push(end);
    }
    for agent in agents.iter_mut() {
        agent.beat().await;
    }
    let others = format!("{} others stay", agents.len());
    line("revocation, to the answer", &format!("{}, {others}", answers.into_iter().collect::<Times>()));
    line("revocation, to the stream's end", &format!("{}", ends.into_iter().collect::<Times>()));
}
