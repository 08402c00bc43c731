//! Renewals: agents that ask for an SVID over the connections that they hold.

use std::time::{Duration, Instant};

use muster::grpc::proto::RenewRequest;
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use rcgen::KeyPair;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::load::account::{Account, Run};
use crate::load::device::Device;
use crate::load::machines::csr;

/// Agents that ask at a time.
const ASKING: usize = 16;

/// Each agent asks once: whoever renews again shows the new certificate first, on another connection.
pub async fn run(
    (server, device): (u32, &Device),
    clients: &[AgentServiceClient<Channel>],
    phase: Duration,
) -> Run {
    let mut requests: Vec<Vec<u8>> =
        clients.iter().map(|_| csr(&KeyPair::generate().expect("a key")).der().to_vec()).collect();
    let account = Account::open(server, device);
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
    account.close(asking.join_all().await.into_iter().flatten())
}
