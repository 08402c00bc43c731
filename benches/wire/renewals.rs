//! Renewals: how many SVIDs the server gives to agents over the connections that they hold.

use std::time::Duration;

use muster::grpc::proto::agent_service_client::AgentServiceClient;
use tonic::transport::Channel;

use crate::load::figures::line;
use crate::load::renewals;
use crate::load::server::Server;

pub async fn measure(server: &Server, clients: &[AgentServiceClient<Channel>], phase: Duration) {
    let run = renewals::run((server.id(), &server.device()), clients, phase).await;
    line("renewal over the session, 16 at a time", &run.spent.each(run.times.count()));
    line("  answered in", &run.times.to_string());
}
