//! What an X.509-SVID says, read without judging who signed it.

use jiff::Timestamp;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::serial::{NotASerial, Serial};
use crate::domain::spiffe::{SpiffeError, SpiffeId};

/// The contents of a leaf certificate that matter to its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    pub spiffe_id: SpiffeId,
    pub serial: Serial,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

/// Why a certificate is no SVID of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnSvid {
    #[error("the certificate can't be read")]
    Damaged,
    #[error("the certificate is a CA's")]
    Ca,
    #[error("the certificate has not exactly one name, a SPIFFE id")]
    Names,
    #[error("the certificate's name is refused: {0}")]
    SpiffeId(#[from] SpiffeError),
    #[error("the certificate's serial is refused: {0}")]
    Serial(#[from] NotASerial),
    #[error("the certificate's times make no sense")]
    Times,
}

impl Svid {
    pub fn from_der(der: &[u8]) -> Result<Self, NotAnSvid> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| NotAnSvid::Damaged)?;
        if !rest.is_empty() {
            return Err(NotAnSvid::Damaged);
        }
        if certificate.basic_constraints().map_err(|_| NotAnSvid::Damaged)?.is_some_and(|bc| bc.value.ca) {
            return Err(NotAnSvid::Ca);
        }
        let names = certificate.subject_alternative_name().map_err(|_| NotAnSvid::Damaged)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let [GeneralName::URI(name)] = names else {
            return Err(NotAnSvid::Names);
        };
        let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| NotAnSvid::Times);
        let not_before = time(certificate.validity().not_before.timestamp())?;
        let not_after = time(certificate.validity().not_after.timestamp())?;
        if not_after <= not_before {
            return Err(NotAnSvid::Times);
        }
        Ok(Self {
            spiffe_id: name.parse()?,
            serial: Serial::from_der_integer(certificate.raw_serial())?,
            not_before,
            not_after,
            public_key: certificate.public_key().raw.to_vec(),
        })
    }
}
