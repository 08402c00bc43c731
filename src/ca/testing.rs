//! What the tests of this room share: a CA at a fixed time, requests for it, and the real `openssl`.

use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SignatureAlgorithm};
use zeroize::Zeroizing;

use super::authority::{Authority, SvidOrder};
use super::envelope::{Envelope, EnvelopeSettings};
use super::hierarchy;
use super::issuing_key::IssuingKey;
use crate::ca::parse::csr::VerifiedCsr;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;

pub(crate) fn now() -> Timestamp {
    "2026-11-21T10:00:00.987Z".parse().unwrap()
}

pub(crate) fn envelope() -> Envelope {
    let directory = tempfile::tempdir().unwrap();
    let settings = EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
    Envelope::find_or_create(&settings, now()).unwrap().0
}

/// An agent CA with everything that is ever known about it.
pub(crate) struct Ca {
    pub envelope: Envelope,
    pub hierarchy: Hierarchy,
    pub root_key_pem: Zeroizing<String>,
    pub authority: Authority,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let envelope = envelope();
        let made = hierarchy::init(&"muster".parse().unwrap(), &envelope, None, now()).unwrap();
        let authority = Authority::open(&made.hierarchy, &envelope).unwrap();
        Self { envelope, hierarchy: made.hierarchy, root_key_pem: made.root_key_pem, authority }
    }

    pub(crate) fn root(&self) -> Issuer<'static, KeyPair> {
        let key = KeyPair::from_pem(&self.root_key_pem).unwrap();
        Issuer::from_ca_cert_der(&self.hierarchy.roots[0][..].into(), key).unwrap()
    }

    /// The intermediate, free to sign what the authority would not.
    pub(crate) fn intermediate(&self) -> Issuer<'static, IssuingKey> {
        let certificate = &self.hierarchy.intermediates[0].certificate;
        Issuer::from_ca_cert_der(&certificate[..].into(), self.intermediate_key()).unwrap()
    }

    pub(crate) fn intermediate_der(&self) -> &[u8] {
        &self.hierarchy.intermediates[0].certificate
    }

    pub(crate) fn intermediate_key(&self) -> IssuingKey {
        let sealed_key = self.hierarchy.intermediates[0].sealed_key.as_ref().unwrap();
        IssuingKey::from_pkcs8(&self.envelope.unseal(sealed_key).unwrap()).unwrap()
    }
}

pub(crate) fn id(agent: &str) -> SpiffeId {
    format!("spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/{agent}").parse().unwrap()
}

pub(crate) fn order(agent: &str) -> SvidOrder {
    SvidOrder {
        id: id(agent),
        serial: Serial::new(now(), [0xc3; 10]),
        at: now(),
        lifetime: SignedDuration::from_hours(24),
        server_auth: false,
        dns_name: None,
        crl_base: None,
    }
}

pub(crate) fn csr() -> (VerifiedCsr, KeyPair) {
    csr_with(&PKCS_ECDSA_P256_SHA256)
}

pub(crate) fn csr_with(algorithm: &'static SignatureAlgorithm) -> (VerifiedCsr, KeyPair) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let text = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (VerifiedCsr::from_pem(&text).unwrap(), key)
}

/// Runs `openssl` in a directory and returns whether it was content, and all it said. `None` without openssl.
pub(crate) fn openssl(directory: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}
