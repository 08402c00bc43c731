//! What an operator wants to know about the certificates of the agent CA.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::parse::validity::Validity;
use crate::domain::identity::hierarchy::{Hierarchy, IntermediateRevocation};
use crate::domain::network::pin::Pin;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// A certificate's place in the hierarchy.
    pub enum CaRole {
        Root = "root",
        Intermediate = "intermediate",
    }
}

/// What an operator wants to know about a CA certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    pub role: CaRole,
    pub subject: String,
    /// Lower-case hex.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The SHA-256 of the certificate in lower-case hex.
    pub fingerprint: String,
    /// From when on an intermediate issues; none for one of a root that is not activated.
    pub issuing_from: Option<Timestamp>,
    /// That an intermediate was revoked.
    pub revocation: Option<IntermediateRevocation>,
}

/// A stored certificate can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored certificate of the agent CA is damaged; check the store with: muster check")]
pub struct DamagedCertificate;

/// Every certificate of the hierarchy: roots, then intermediates, oldest first.
pub fn describe(hierarchy: &Hierarchy) -> Result<Vec<CertificateSummary>, DamagedCertificate> {
    let roots = hierarchy.roots.iter().map(|root| summary(CaRole::Root, root));
    let intermediates = hierarchy.intermediates.iter().map(|stored| {
        let summary = summary(CaRole::Intermediate, &stored.certificate)?;
        let begins = stored.issuing_from.unwrap_or(summary.not_before);
        let issuing_from = (!stored.held).then_some(begins);
        Some(CertificateSummary { issuing_from, revocation: stored.revocation, ..summary })
    });
    roots.chain(intermediates).map(|summary| summary.ok_or(DamagedCertificate)).collect()
}

/// The one that issues at a time.
pub fn issuing(hierarchy: &Hierarchy, at: Timestamp) -> Result<CertificateSummary, DamagedCertificate> {
    let issues = |it: &CertificateSummary| {
        it.role == CaRole::Intermediate
            && it.revocation.is_none()
            && it.issuing_from.is_some_and(|from| from <= at)
    };
    let mut summaries = describe(hierarchy)?;
    let place = summaries.iter().rposition(issues).unwrap_or(summaries.len().saturating_sub(1));
    if place < summaries.len() { Ok(summaries.swap_remove(place)) } else { Err(DamagedCertificate) }
}

fn summary(role: CaRole, der: &[u8]) -> Option<CertificateSummary> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let Validity { not_before, not_after } = Validity::read(&certificate).ok()?;
    Some(CertificateSummary {
        role,
        subject: certificate.subject().to_string(),
        serial: HEXLOWER.encode(certificate.raw_serial()),
        not_before,
        not_after,
        fingerprint: Pin::of(der).to_string(),
        issuing_from: None,
        revocation: None,
    })
}
