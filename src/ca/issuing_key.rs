//! The private key of a CA: P-256, wiped when dropped, leaving only as PKCS#8 to be sealed or shown once.

use std::fmt;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::pem::file::{KeyForm, PrivateKey};

pub(crate) struct IssuingKey(Zeroizing<KeyPair>);

impl IssuingKey {
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        Ok(Self(Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)))
    }

    /// A key in any of the forms that tools write. It signs; it is not for [`IssuingKey::pkcs8`].
    pub(crate) fn read(key: &PrivateKey) -> Result<Self, rcgen::Error> {
        let der = match key.form {
            KeyForm::Pkcs8 => return Self::from_pkcs8(&key.der),
            KeyForm::Sec1 => PrivateKeyDer::Sec1(key.der[..].into()),
            KeyForm::Pkcs1 => PrivateKeyDer::Pkcs1(key.der[..].into()),
        };
        Ok(Self(Zeroizing::new(KeyPair::from_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)?)))
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &PKCS_ECDSA_P256_SHA256)?;
        Ok(Self(Zeroizing::new(key)))
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        self.0.serialized_der()
    }
}

impl fmt::Debug for IssuingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[private key]")
    }
}

impl PublicKeyData for IssuingKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for IssuingKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}
