//! A CA certificate as its signatures need it: the issuer's name, key and key identifier.

use rcgen::{Issuer, PublicKeyData};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::issuing_key::IssuingKey;
use crate::ca::parse::ecdsa::PublicKey;
use crate::ca::parse::signed::SignedData;
use crate::ca::parse::validity::Validity;
use crate::domain::identity::serial::Serial;

#[derive(Debug, Clone)]
pub(crate) struct CaCertificate {
    pub der: Vec<u8>,
    /// None where it is not one of ours.
    pub serial: Option<Serial>,
    /// The subject, as encoded; the issuer of what it signs.
    pub name: Vec<u8>,
    pub key_identifier: Vec<u8>,
    pub key: PublicKey,
    pub validity: Validity,
    spki: Vec<u8>,
}

/// Why a CA certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum CaCertificateError {
    #[error("the CA certificate is damaged")]
    Damaged,
    #[error("the CA certificate has no ECDSA P-256 or P-384 key, or no subject key identifier")]
    Unsuitable,
    #[error("the private key does not belong to the CA certificate")]
    OtherKey,
    #[error("the CA certificate can't be used to sign")]
    Issuer(#[source] rcgen::Error),
}

impl CaCertificate {
    pub(crate) fn read(der: &[u8]) -> Result<Self, CaCertificateError> {
        SignedData::read(der).map_err(|_| CaCertificateError::Damaged)?;
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CaCertificateError::Damaged)?;
        let spki = certificate.public_key().raw;
        let key_identifier =
            certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
                _ => None,
            });
        Ok(Self {
            der: der.to_vec(),
            serial: Serial::from_der_integer(certificate.raw_serial()).ok(),
            name: certificate.subject().as_raw().to_vec(),
            key_identifier: key_identifier.ok_or(CaCertificateError::Unsuitable)?,
            key: PublicKey::from_spki(spki).map_err(|_| CaCertificateError::Unsuitable)?,
            validity: Validity::read(&certificate).map_err(|_| CaCertificateError::Damaged)?,
            spki: spki.to_vec(),
        })
    }

    /// Whether this certificate is of that key.
    pub(crate) fn is_of(&self, key: &IssuingKey) -> bool {
        key.subject_public_key_info() == self.spki
    }

    /// What signs in this certificate's name, if the key is its.
    pub(crate) fn issuer(&self, key: IssuingKey) -> Result<Issuer<'static, IssuingKey>, CaCertificateError> {
        if !self.is_of(&key) {
            return Err(CaCertificateError::OtherKey);
        }
        Issuer::from_ca_cert_der(&self.der[..].into(), key).map_err(CaCertificateError::Issuer)
    }
}
