//! JWT-SVIDs: how many the server signs for agents that hold a session.

use std::time::{Duration, Instant};

use muster::grpc::proto::SignJwtRequest;
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::load::figures::{Times, line};
use crate::load::server::Server;

/// Agents that ask at a time.
const ASKING: usize = 16;
/// Tokens of one agent: what the server gives in one go is a little more.
const EACH: usize = 90;

pub async fn measure(server: &Server, clients: &[AgentServiceClient<Channel>], phase: Duration) {
    let meter = server.meter();
    let until = Instant::now() + phase;
    let mut asking = JoinSet::new();
    for number in 0..ASKING.min(clients.len()) {
        let clients: Vec<_> = clients.iter().skip(number).step_by(ASKING).cloned().collect();
        asking.spawn(async move {
            let mut times = Vec::new();
            for mut client in clients {
                for _ in 0..EACH {
                    let asked = Instant::now();
                    if asked > until {
                        return times;
                    }
                    let audience = vec!["https://app.example.org".to_owned()];
                    let answer = client.sign_jwt(SignJwtRequest { audience, ttl_seconds: 0 }).await;
                    assert!(!answer.expect("a token").into_inner().svid.is_empty());
                    times.push(asked.elapsed());
                }
            }
            times
        });
    }
    let times: Times = asking.join_all().await.into_iter().flatten().collect();
    line("JWT-SVIDs, 16 agents at a time", &meter.spent().each(times.count()));
    line("  answered in", &format!("{times}"));
}
