//! What the operator has to see to about the server's certificate and the addresses that are given out.

use super::Shared;
use crate::app::Unavailable;
use crate::app::insight::findings::of_envelope;
use crate::domain::insight::finding::{Ending, Finding, Severity, ranked};
use crate::domain::insight::finding_code::FindingCode;

/// Findings of the listeners' side; those of the store are the application's.
fn of_server(shared: &Shared) -> Vec<Finding> {
    let reach = &shared.facts.reach;
    let mut findings = Vec::new();
    for address in reach.uncertified() {
        findings.push(Finding::new(
            FindingCode::ServerCertificateNames,
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
            FindingCode::ServerCertificateNames,
            Severity::Soon,
            "No address of this server is known that could be given out",
            "Set public_url (MUSTER_PUBLIC_URL) to what agents and people reach it by.",
        ));
    }
    findings.extend(server_certificate_ending(shared).and_then(|it| it.finding(shared.app.clock.now())));
    findings.extend(of_envelope(&shared.facts.envelope));
    findings.extend(shared.app.premises_findings(&shared.facts.secret_files));
    findings
}

/// Everything that there is to see to: what `muster check`, the overview, the figures and webhooks tell of.
pub(crate) async fn all(shared: &Shared) -> Result<Vec<Finding>, Unavailable> {
    let stored = shared.app.all_findings().await?;
    Ok(with_those_of_the_server(shared, stored))
}

/// Adds those of the listeners' side, and ranks them all.
pub(crate) fn with_those_of_the_server(shared: &Shared, mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.extend(of_server(shared));
    // Whoever is told to look somewhere is told so wherever he looks.
    let explained = findings.iter().any(|finding| finding.severity == Severity::Critical);
    if let (true, false, Err(why)) = (serves(shared), explained, shared.app.readiness()) {
        let hint = "The server's log says more; /readyz says when it is over.";
        findings.push(Finding::new(FindingCode::NotReady, Severity::Critical, why.to_string(), hint));
    }
    ranked(findings)
}

/// Whether this is a server, and not a command that has opened the store itself.
pub(crate) fn serves(shared: &Shared) -> bool {
    shared.facts.reach.listening.is_some()
}

/// What ends one day and has to be renewed before.
pub(crate) fn endings(shared: &Shared) -> Result<Vec<Ending>, Unavailable> {
    let agent_ca = shared.app.agent_ca_endings()?;
    Ok(agent_ca.into_iter().chain(server_certificate_ending(shared)).collect())
}

fn server_certificate_ending(shared: &Shared) -> Option<Ending> {
    Some(Ending {
        code: FindingCode::ServerCertificateExpiry,
        what: "The server's certificate",
        at: shared.facts.certificate()?.facts.not_after,
        hint: "Renew it; 'muster gen-cert' does, where it made the one in use.",
    })
}
