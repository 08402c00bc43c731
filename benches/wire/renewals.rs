//! Renewals: how many SVIDs the server gives to agents over the connections that they hold.

use std::time::{Duration, Instant};

use muster::grpc::proto::RenewRequest;
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use rcgen::KeyPair;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::figures::{Times, line};
use crate::machines::csr;
use crate::server::Server;

/// Agents that ask at a time.
const ASKING: usize = 16;

pub async fn measure(server: &Server, clients: &[AgentServiceClient<Channel>], phase: Duration) {
    // One of each: whoever renews again shows the new certificate first, on another connection.
    let mut requests: Vec<Vec<u8>> =
        clients.iter().map(|_| csr(&KeyPair::generate().expect("a key")).der().to_vec()).collect();
    let meter = server.meter();
    let until = Instant::now() + phase;
    let mut asking = JoinSet::new();
    for number in 0..ASKING.min(clients.len()) {
        let clients: Vec<_> = clients.iter().skip(number).step_by(ASKING).cloned().collect();
        let own = requests.split_off(requests.len() - requests.len() / (ASKING - number));
        asking.spawn(async move {
            let mut times = Vec::new();
            for (mut client, csr) in clients.into_iter().zip(own) {
                let asked = Instant::now();
                if asked > until {
                    break;
                }
                let renewed = client.renew(RenewRequest { csr }).await;
                assert!(!renewed.expect("an SVID").into_inner().certificate.is_empty());
                times.push(asked.elapsed());
            }
            times
        });
    }
    let times: Times = asking.join_all().await.into_iter().flatten().collect();
    line("renewal over the session, 16 at a time", &meter.spent().each(times.count()));
    line("  answered in", &format!("{times}"));
}
