//! What agents are answered with an SVID over gRPC: the same as over HTTPS, in other words.

use std::sync::Arc;

use crate::api::enroll::SvidAnswer;
use crate::app::issue::issuing::IssuedAnswer;
use crate::grpc::proto::RenewResponse;
use crate::grpc::renew::SvidAnswers;
use crate::http::ServerFacts;

#[derive(Debug)]
pub(crate) struct AgentAnswers(pub(crate) Arc<ServerFacts>);

impl SvidAnswers for AgentAnswers {
    fn answer(&self, svid: IssuedAnswer) -> RenewResponse {
        // By which address of the HTTPS listener an agent comes is not known here, so it is told what is set.
        let SvidAnswer {
            agent_id,
            host_id,
            tenant_id,
            spiffe_id,
            certificate,
            intermediate,
            trust_bundle,
            server_ca,
            grpc_addr,
            servers,
            grpc_addrs,
            serial,
            issued_at,
            not_after,
        } = SvidAnswer::new(svid, self.0.server_ca(), self.0.reach.told(None));
        RenewResponse {
            agent_id,
            host_id,
            tenant_id,
            spiffe_id,
            certificate,
            intermediate,
            trust_bundle,
            server_ca,
            grpc_addr,
            servers,
            grpc_addrs,
            serial,
            issued_at: issued_at.to_string(),
            not_after: not_after.to_string(),
        }
    }
}
