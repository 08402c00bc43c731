//! Revocation lists are signed here (RFC 5280 section 5): one for each issuer, by that issuer.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, RevokedCertParams, SerialNumber, SigningKey,
};

use super::ca_certificate::CaCertificate;
use crate::ca::parse::revocation_list::RevocationList;
use crate::ca::parse::validity::{OutOfRange, x509_time};
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::serial::Serial;

/// A revoked certificate: its serial, since when, and why.
pub type RevokedEntry = (Serial, Timestamp, ListedReason);

/// Why a certificate is on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedReason {
    /// It was revoked itself.
    Revoked(RevocationReason),
    /// It is an intermediate's that was revoked, or was signed by one: relying parties refuse it, and our own doors take it
    /// from an agent for which it is on record.
    CaCompromise,
}

/// What a list is to say.
#[derive(Debug, Clone)]
pub struct ListOrder<'a> {
    pub revoked: &'a [RevokedEntry],
    /// Grows with every list of an issuer (RFC 5280 5.2.3).
    pub number: u64,
    /// When it is made. It says that it is a little older.
    pub at: Timestamp,
    /// When relying parties begin to refuse everybody because the list is old.
    pub next_update: Timestamp,
}

/// Lists say that they are older than they are, by as much as certificates do: verifiers refuse everybody because of a list from
/// what their clocks take for the future.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// Why a list was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CrlSignError {
    #[error("can't write the times of the revocation list")]
    Time(#[from] OutOfRange),
    #[error("can't sign the revocation list")]
    Sign(#[from] rcgen::Error),
}

/// Signs the list of an issuer, DER. The authority key identifier is the issuer certificate's own subject key identifier:
/// OpenSSL finds a list by it, whatever else the key could be named by.
pub(crate) fn sign(
    certificate: &CaCertificate,
    issuer: &Issuer<'static, impl SigningKey>,
    order: &ListOrder<'_>,
) -> Result<Vec<u8>, CrlSignError> {
    let entry = |(serial, at, reason): &RevokedEntry| {
        Ok(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial.as_bytes()),
            revocation_time: x509_time(*at)?.to_datetime(),
            reason_code: Some(reason_code(*reason)),
            invalidity_date: None,
        })
    };
    let list = CertificateRevocationListParams {
        this_update: x509_time(order.at.saturating_sub(BACKDATED).unwrap_or(order.at))?.to_datetime(),
        next_update: x509_time(order.next_update)?.to_datetime(),
        crl_number: SerialNumber::from(order.number),
        issuing_distribution_point: None,
        revoked_certs: order.revoked.iter().map(entry).collect::<Result<_, OutOfRange>>()?,
        key_identifier_method: KeyIdMethod::PreSpecified(certificate.key_identifier.clone()),
    };
    Ok(list.signed_by(issuer)?.der().to_vec())
}

/// The number of a list made at a time: it grows as long as the clock does, whoever made the list before.
pub fn number_at(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// When a list was made, as far as its number and its own time tell.
pub fn made_at(list: &RevocationList) -> Timestamp {
    let numbered = i64::try_from(list.number).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    numbered.map_or(list.issued_at, |numbered| numbered.max(list.issued_at))
}

/// An operator who revokes an agent withdraws its privilege; whether its key leaked is not known here.
const fn reason_code(reason: ListedReason) -> rcgen::RevocationReason {
    match reason {
        ListedReason::Revoked(RevocationReason::Decommissioned | RevocationReason::Deleted) => {
            rcgen::RevocationReason::CessationOfOperation
        }
        ListedReason::Revoked(RevocationReason::Revoked) => rcgen::RevocationReason::PrivilegeWithdrawn,
        ListedReason::Revoked(RevocationReason::Superseded) => rcgen::RevocationReason::Superseded,
        ListedReason::CaCompromise => rcgen::RevocationReason::CaCompromise,
    }
}
