//! Reading a CRL of our own (RFC 5280 section 5), as an operator may have kept one.

use jiff::Timestamp;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::time::ASN1Time;
use x509_parser::x509::ReasonCode;

use crate::ca::ca_certificate::CaCertificate;
use crate::ca::crl::{ListedReason, RevokedEntry};
use crate::ca::parse::signed::SignedData;
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;

/// A list whose signature has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Grows with every list of an issuer (RFC 5280 5.2.3); 0 where it says none.
    pub number: u64,
    /// As it says; see `crl::made_at`.
    pub issued_at: Timestamp,
    pub next_update: Timestamp,
    pub revoked: Vec<RevokedEntry>,
}

/// Why a list is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevocationListError {
    #[error("it is not a certificate revocation list in DER")]
    Malformed,
    #[error("it is not signed by any intermediate of this agent CA")]
    Foreign,
}

/// Reads a list that one of the hierarchy's intermediates has signed.
pub fn read(der: &[u8], hierarchy: &Hierarchy) -> Result<RevocationList, RevocationListError> {
    let intermediates = hierarchy.intermediates.iter();
    let issuers = intermediates.filter_map(|stored| CaCertificate::read(&stored.certificate).ok());
    let mut error = RevocationListError::Foreign;
    for issuer in issuers {
        match read_of(der, &issuer) {
            Err(RevocationListError::Foreign) => {}
            Err(malformed) => error = malformed,
            Ok(list) => return Ok(list),
        }
    }
    Err(error)
}

/// Reads a list that this issuer has signed.
pub(crate) fn read_of(der: &[u8], issuer: &CaCertificate) -> Result<RevocationList, RevocationListError> {
    let malformed = RevocationListError::Malformed;
    let signed = SignedData::read(der).map_err(|_| malformed)?;
    let Ok(([], list)) = CertificateRevocationList::from_der(der) else {
        return Err(malformed);
    };
    if issuer.name != list.issuer().as_raw() || signed.verify(&issuer.key).is_err() {
        return Err(RevocationListError::Foreign);
    }
    let time = |time: ASN1Time| Timestamp::from_second(time.timestamp()).map_err(|_| malformed);
    let revoked = list.iter_revoked_certificates().map(|entry| {
        let serial = Serial::from_der_integer(entry.raw_serial()).map_err(|_| malformed)?;
        let at = time(entry.revocation_date)?;
        Ok((serial, at, reason(entry.reason_code().map(|(_, code)| code))))
    });
    Ok(RevocationList {
        number: list.crl_number().map_or(Some(0), |number| u64::try_from(number).ok()).ok_or(malformed)?,
        issued_at: time(list.last_update())?,
        next_update: time(list.next_update().ok_or(malformed)?)?,
        revoked: revoked.collect::<Result<_, _>>()?,
    })
}

/// The inverse of what the list was made with, as far as it has one.
fn reason(code: Option<ReasonCode>) -> ListedReason {
    match code {
        Some(ReasonCode::CACompromise) => ListedReason::CaCompromise,
        Some(ReasonCode::Superseded) => ListedReason::Revoked(RevocationReason::Superseded),
        Some(ReasonCode::CessationOfOperation) => ListedReason::Revoked(RevocationReason::Decommissioned),
        _ => ListedReason::Revoked(RevocationReason::Revoked),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ca::crl::ListOrder;
    use crate::ca::testing::{Ca, now};

    #[test]
    fn a_list_of_ours_reads_back_and_no_other_does() {
        let ca = Ca::new();
        let at = Timestamp::from_second(now().as_second()).unwrap();
        let revoked = vec![
            (Serial::new(now(), [1; 10]), at, ListedReason::Revoked(RevocationReason::Revoked)),
            (Serial::new(now(), [2; 10]), at, ListedReason::Revoked(RevocationReason::Superseded)),
            (Serial::new(now(), [3; 10]), at, ListedReason::CaCompromise),
        ];
        let until = now() + SignedDuration::from_hours(24);
        let order = ListOrder { revoked: &revoked, number: 7, at: now(), next_update: until };
        let der = ca.authority.lists(&order).unwrap().remove(0).der;
        let next_update = at + SignedDuration::from_hours(24);
        let issued_at = at - SignedDuration::from_mins(5);
        let read_back = RevocationList { number: 7, issued_at, next_update, revoked: revoked.clone() };
        assert_eq!(read(&der, &ca.hierarchy), Ok(read_back));
        assert_eq!(read(&der, &Ca::new().hierarchy), Err(RevocationListError::Foreign));
        for at in 0..der.len() {
            let mut damaged = der.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged, &ca.hierarchy).is_err(), "flipped at {at}");
        }
        assert!(read(&der[..der.len() - 1], &ca.hierarchy).is_err());
        assert!(read(&[der, vec![0]].concat(), &ca.hierarchy).is_err());
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let ca = Ca::new();
        let next_update = now() + SignedDuration::from_hours(24);
        let order = ListOrder { revoked: &[], number: 1, at: now(), next_update };
        let der = ca.authority.lists(&order).unwrap().remove(0).der;
        assert_eq!(read(&der, &ca.hierarchy).unwrap().revoked, Vec::new());
    }
}
