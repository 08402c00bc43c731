//! Keys, certificate requests, rotation proofs and PEM, made without the server's own code.

use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm, SigningKey};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A key pair of an agent.
#[derive(Debug, Clone)]
pub struct Key(Arc<KeyPair>);

impl Key {
    /// What agents use.
    pub fn p256() -> Self {
        Self::of(&rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub fn p384() -> Self {
        Self::of(&rcgen::PKCS_ECDSA_P384_SHA384)
    }

    pub fn of(algorithm: &'static SignatureAlgorithm) -> Self {
        Self(Arc::new(KeyPair::generate_for(algorithm).unwrap()))
    }

    pub fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }

    pub fn csr(&self) -> Csr {
        self.csr_for(&CertificateParams::default())
    }

    /// A request that asks for what `params` says.
    pub fn csr_for(&self, params: &CertificateParams) -> Csr {
        let request = params.serialize_request(&*self.0).unwrap();
        Csr { der: request.der().to_vec(), pem: request.pem().unwrap() }
    }

    /// The possession proof of a rotation: a signature over the new request's DER, in base64.
    pub fn proof(&self, csr: &Csr) -> String {
        BASE64.encode(&self.sign(&csr.der))
    }

    /// An ASN.1 DER ECDSA signature with the hash that belongs to the curve.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).unwrap()
    }
}

/// A certificate request.
#[derive(Debug, Clone)]
pub struct Csr {
    pub der: Vec<u8>,
    pub pem: String,
}

/// The DER of every certificate in a PEM text.
pub fn certificates(pem: &str) -> Vec<Vec<u8>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| der.unwrap().to_vec()).collect()
}

/// PEM with any label, as the specimens need it.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Lower-case hex SHA-256, as pins are written.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    data_encoding::HEXLOWER.encode(digest.as_ref())
}
