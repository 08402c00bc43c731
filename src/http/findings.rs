//! What the operator has to see to about the server's certificate and the addresses that are given out.

use super::Shared;
use crate::app::insight::findings::of_envelope;
use crate::domain::insight::finding::{Finding, Severity};

/// Findings of the listeners' side; those of the store are the application's.
pub(crate) fn of_server(shared: &Shared) -> Vec<Finding> {
    let reach = &shared.facts.reach;
    let mut findings = Vec::new();
    for address in reach.uncertified() {
        findings.push(Finding::new(
            "server_certificate_names",
            Severity::Soon,
            format!(
                "The server's certificate is not for {}, which is given out as its address",
                address.host
            ),
            format!(
                "Agents and browsers refuse the server there. Make a certificate that is for it (muster gen-cert --name {}), \
                 or correct public_url and grpc_addr.",
                address.host
            ),
        ));
    }
    if reach.listening.is_some() && reach.address().is_none() {
        findings.push(Finding::new(
            "server_certificate_names",
            Severity::Soon,
            "No address of this server is known that could be given out",
            "Set public_url (MUSTER_PUBLIC_URL) to what agents and people reach it by.",
        ));
    }
    if let Some(certificate) = shared.facts.certificate() {
        let hint = "Renew it; 'muster gen-cert' does, where it made the one in use.";
        let now = shared.app.clock.now();
        findings.extend(Finding::expiry(
            "server_certificate_expiry",
            "The server's certificate",
            certificate.facts.not_after,
            now,
            hint,
        ));
    }
    findings.extend(of_envelope(&shared.facts.envelope));
    findings
}
