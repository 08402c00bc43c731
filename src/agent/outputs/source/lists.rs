//! Revocation lists of a provider: each is signed by an authority that is known, and none is missing.
//!
//! A file that lacks one issuer's list is worse than an old file: some programs refuse all agents of that issuer, others
//! let its revoked ones in. So a set that is incomplete takes the place of nothing.
//!
//! The list of an intermediate that its root's list names goes, at once and for good. Programs that look for the agent's
//! certificate alone, and never for the intermediate's, then refuse all that it has signed because there is no list: what a
//! thief of its key has signed stands on none, so with its list they would let that in.

use jiff::Timestamp;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use crate::domain::printable::printable;

/// What a provider's lists are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JudgedLists {
    /// The provider has none.
    Absent,
    /// In the order in which they came; each was verified.
    Complete(Vec<VerifiedList>),
    /// In one sentence.
    Unusable(String),
}

/// A list whose signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VerifiedList {
    pub der: Vec<u8>,
    /// Where its issuer stands among the authorities.
    pub issuer: usize,
    /// Until when relying parties take it.
    pub next_update: Option<Timestamp>,
    /// Big-endian, without zeros before them.
    pub serials: Vec<Vec<u8>>,
}

/// Judges lists by the certificates of their issuers: roots and intermediates. Those that have run out need no list.
pub(crate) fn judge(lists: &[Vec<u8>], authorities: &[Vec<u8>], now: Timestamp) -> JudgedLists {
    if lists.is_empty() {
        return JudgedLists::Absent;
    }
    let issuers: Vec<_> = authorities.iter().map(|der| X509Certificate::from_der(der).ok()).collect();
    let mut verified = Vec::new();
    for (number, der) in (1..).zip(lists) {
        let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
            return JudgedLists::Unusable(format!("the provider's list {number} is no revocation list"));
        };
        let mut named = issuers.iter().enumerate().filter_map(|(index, issuer)| {
            let (_, issuer) = issuer.as_ref()?;
            (issuer.subject().as_raw() == list.issuer().as_raw() && keys_match(&list, issuer))
                .then_some((index, issuer))
        });
        let Some(first) = named.next() else {
            tracing::debug!(number, issuer = %list.issuer(), "a list of an unknown issuer is left out");
            continue;
        };
        let signer = std::iter::once(first)
            .chain(named)
            .find(|(_, issuer)| list.verify_signature(issuer.public_key()).is_ok());
        let Some((issuer, _)) = signer else {
            let issuer = printable(&list.issuer().to_string(), 120);
            return JudgedLists::Unusable(format!("the provider's list of {issuer} is not signed by it"));
        };
        let serials = list.iter_revoked_certificates().map(|entry| trimmed(entry.raw_serial()));
        verified.push(VerifiedList {
            der: der.clone(),
            issuer,
            next_update: list.next_update().and_then(|at| Timestamp::from_second(at.timestamp()).ok()),
            serials: serials.collect(),
        });
    }
    let revoked = |issuer: &X509Certificate<'_>| is_revoked(issuer, &issuers, &verified);
    let kept = verified.iter().filter(|list| {
        issuers.get(list.issuer).and_then(Option::as_ref).is_none_or(|(_, issuer)| !revoked(issuer))
    });
    let kept: Vec<_> = kept.cloned().collect();
    let in_force = |issuer: &X509Certificate<'_>| issuer.validity().not_after.timestamp() >= now.as_second();
    for (index, issuer) in issuers.iter().enumerate() {
        let Some((_, issuer)) = issuer.as_ref().filter(|(_, it)| in_force(it) && !revoked(it)) else {
            continue;
        };
        let same_key = |other: usize| {
            issuers.get(other).and_then(Option::as_ref).is_some_and(|(_, other)| {
                other.subject().as_raw() == issuer.subject().as_raw()
                    && other.public_key().raw == issuer.public_key().raw
            })
        };
        if !verified.iter().any(|list| list.issuer == index || same_key(list.issuer)) {
            let issuer = printable(&issuer.subject().to_string(), 120);
            return JudgedLists::Unusable(format!("the provider has no list of {issuer}"));
        }
    }
    JudgedLists::Complete(kept)
}

/// Whether an authority stands on the list of the one that signed it.
fn is_revoked(
    authority: &X509Certificate<'_>,
    issuers: &[Option<(&[u8], X509Certificate<'_>)>],
    lists: &[VerifiedList],
) -> bool {
    let serial = trimmed(authority.raw_serial());
    lists.iter().any(|list| {
        let issuer = issuers.get(list.issuer).and_then(Option::as_ref);
        issuer.is_some_and(|(_, issuer)| issuer.subject().as_raw() == authority.issuer().as_raw())
            && list.serials.contains(&serial)
    })
}

/// RFC 5280 5.2.1: the list names its issuer's key. One that names none may be anybody's of that name.
fn keys_match(list: &CertificateRevocationList<'_>, issuer: &X509Certificate<'_>) -> bool {
    let named = list.extensions().iter().find(|it| it.oid == OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER);
    let named = named.and_then(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(named) => named.key_identifier.as_ref().map(|key| key.0),
        _ => None,
    });
    let own = issuer.extensions().iter().find(|it| it.oid == OID_X509_EXT_SUBJECT_KEY_IDENTIFIER);
    let own = own.and_then(|it| match it.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(own) => Some(own.0),
        _ => None,
    });
    match (named, own) {
        (Some(named), Some(own)) => named == own,
        _ => true,
    }
}

/// A serial without the zeros that its encoding may begin with.
pub(crate) fn trimmed(serial: &[u8]) -> Vec<u8> {
    serial.iter().copied().skip_while(|octet| *octet == 0).collect()
}
