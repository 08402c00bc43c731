//! Agents that come back: they try until somebody answers, and wait when they are told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::grpc::proto::agent_service_client::AgentServiceClient;
use muster::grpc::proto::{
    HeartbeatRequest, HostFacts, RenewRequest, SessionRequest, SessionResponse, session_request,
};
use rcgen::KeyPair;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::load::dial::Dial;
use crate::load::https::Https;
use crate::load::machines::{Host, Machine, Svid, csr};
use crate::load::server::Server;

/// What an agent waits before it knocks again where nobody has answered.
const KNOCKS_EVERY: Duration = Duration::from_millis(100);
/// What an agent waits that was told to.
const TOLD_TO_WAIT: Duration = Duration::from_secs(1);

/// One that has its identity, and what it is going to ask for.
pub struct Agent {
    dial: Dial,
    /// DER.
    csr: Vec<u8>,
}

/// An open session, with what keeps it.
#[expect(dead_code, reason = "a session lives as long as both of its halves and its connection")]
pub struct Session {
    /// When it was answered for the first time, since the storm began.
    pub open: Duration,
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<SessionResponse>,
    client: AgentServiceClient<Channel>,
}

/// How one has come back.
pub struct Back {
    /// When it had its new certificate, since the storm began.
    pub certificate: Duration,
    pub session: Option<Session>,
    pub told_to_wait: u32,
    pub unanswered: u32,
}

impl Agent {
    pub fn new(server: &Server, host: &Host) -> Self {
        Self::at(server.grpc, &server.ca, host)
    }

    pub fn at(grpc: SocketAddr, ca: &str, host: &Host) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self { dial: Dial::at(grpc, ca, host), csr: csr(&key).der().to_vec() }
    }
}

/// Opens a session, and renews over it. At most so many do at the same time as `doors` says.
pub async fn attach(agent: Agent, doors: Arc<Semaphore>, begun: Instant) -> Back {
    let Agent { dial, csr } = agent;
    let (mut told_to_wait, mut unanswered) = (0, 0);
    let door = doors.acquire().await.expect("it is never closed");
    let session = loop {
        match open(&dial, begun).await {
            Some(session) => break session,
            None => {
                unanswered += 1;
                tokio::time::sleep(KNOCKS_EVERY).await;
            }
        }
    };
    let mut client = session.client.clone();
    loop {
        match client.renew(RenewRequest { csr: csr.clone() }).await {
            Ok(_) => break,
            Err(_) => {
                told_to_wait += 1;
                tokio::time::sleep(TOLD_TO_WAIT).await;
            }
        }
    }
    drop(door);
    Back { certificate: begun.elapsed(), session: Some(session), told_to_wait, unanswered }
}

async fn open(dial: &Dial, begun: Instant) -> Option<Session> {
    let mut client = dial.try_connect().await?;
    let (up, requests) = mpsc::channel(1);
    let facts = HostFacts { hostname: dial.id.clone(), arch: "x86_64".to_owned(), ..HostFacts::default() };
    let first = session_request::Message::Heartbeat(HeartbeatRequest {
        facts: Some(facts),
        ..HeartbeatRequest::default()
    });
    up.send(SessionRequest { message: Some(first) }).await.ok()?;
    let mut down = client.session(ReceiverStream::new(requests)).await.ok()?.into_inner();
    down.message().await.ok()??;
    Some(Session { open: begun.elapsed(), up, down, client })
}

/// Rotates over HTTPS on a connection of its own.
pub async fn rotate(
    door: &Https,
    from: Ipv4Addr,
    machine: Machine,
    connections: &Semaphore,
    begun: Instant,
) -> (Host, Back) {
    let (mut told_to_wait, mut unanswered) = (0, 0);
    let answer = loop {
        let connection = connections.acquire().await.expect("it is never closed");
        let asked = async { door.connect(from.into()).await?.exchange(&machine.request).await };
        let asked = asked.await;
        drop(connection);
        match asked {
            Ok((200 | 201, body)) => break body,
            Ok((503 | 429, _)) => {
                told_to_wait += 1;
                tokio::time::sleep(TOLD_TO_WAIT).await;
            }
            answered => {
                let refused =
                    answered.as_ref().ok().map(|(status, body)| (*status, String::from_utf8_lossy(body)));
                assert!(refused.is_none(), "refused for good: {refused:?}");
                unanswered += 1;
                tokio::time::sleep(KNOCKS_EVERY).await;
            }
        }
    };
    let svid: Svid = serde_json::from_slice(&answer).expect("an SVID");
    let back = Back { certificate: begun.elapsed(), session: None, told_to_wait, unanswered };
    (machine.with(svid), back)
}
