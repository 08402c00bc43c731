//! Enrollment and rotation: what goes over the wire, made from what the use cases answer.

use crate::api::enroll::{HostBody, SvidAnswer};
use crate::app::issue::issuing::IssuedAnswer;
use crate::domain::host::HostFacts;
use crate::http::reach::ReachableAddresses;

impl From<HostBody> for HostFacts {
    fn from(body: HostBody) -> Self {
        let [hostname, os, arch, machine_id, agent_version] =
            [&body.hostname, &body.os, &body.arch, &body.machine_id, &body.agent_version]
                .map(|fact| fact.as_deref().unwrap_or_default());
        let ips = body.ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        Self::bounded([hostname, os, arch, machine_id, agent_version], ips)
    }
}

impl SvidAnswer {
    pub(crate) fn new(svid: IssuedAnswer, server_ca: Option<String>, told: ReachableAddresses) -> Self {
        Self {
            agent_id: svid.id.agent.to_string(),
            host_id: svid.host.to_string(),
            tenant_id: svid.id.tenant.to_string(),
            spiffe_id: svid.id.to_string(),
            certificate: svid.certificate_pem,
            intermediate: svid.intermediate_pem,
            trust_bundle: svid.trust_bundle_pem,
            server_ca,
            grpc_addr: told.grpc_addr.map(|address| address.to_string()),
            servers: told.servers.iter().map(ToString::to_string).collect(),
            grpc_addrs: told.grpc_addrs.iter().map(ToString::to_string).collect(),
            serial: svid.serial.to_string(),
            issued_at: svid.issued_at,
            not_after: svid.not_after,
        }
    }
}
