//! What the operator has to see to about the server's certificate and the addresses that are given out.

use super::Shared;
use crate::app::findings::{Finding, Severity, expiry};

/// Findings of the listeners' side; those of the store are the application's.
pub(super) fn of_server(shared: &Shared) -> Vec<Finding> {
    let reach = &shared.facts.reach;
    let mut findings = Vec::new();
    for address in reach.uncertified() {
        findings.push(Finding {
            code: "server_certificate_names",
            severity: Severity::Soon,
            at: None,
            message: format!(
                "The server's certificate is not for {}, which is given out as its address",
                address.host
            ),
            hint: format!(
                "Agents and browsers refuse the server there. Make a certificate that is for it (muster gen-cert --name {}), \
                 or correct public_url and grpc_addr.",
                address.host
            ),
        });
    }
    if reach.listening.is_some() && reach.address().is_none() {
        findings.push(Finding {
            code: "server_certificate_names",
            severity: Severity::Soon,
            at: None,
            message: "No address of this server is known that could be given out".to_owned(),
            hint: "Set public_url (MUSTER_PUBLIC_URL) to what agents and people reach it by.".to_owned(),
        });
    }
    if let Some(certificate) = shared.facts.certificate() {
        let hint = "Renew it; 'muster gen-cert' does, where it made the one in use.";
        let now = shared.app.clock().now();
        findings.extend(expiry(
            "server_certificate_expiry",
            "The server's certificate",
            certificate.not_after(),
            now,
            hint,
        ));
    }
    findings
}
