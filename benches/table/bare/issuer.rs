//! Certificates of `bare`: what is verified of a request, and what is signed for it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use data_encoding::BASE64;
use muster::tls::server_certificate::LiveCertificate;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// The CA's certificate, in the server's directory.
pub const CA_FILE: &str = "ca.pem";
/// How long a certificate lasts; the product's default.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is understood of a request. A rotation has the two at the end.
#[derive(Debug, Deserialize)]
struct Asked {
    csr: String,
    chain: Option<String>,
    proof: Option<String>,
}

/// What is answered: as much as the product answers, so that both answers cost the same to send and to receive.
#[derive(Debug, Serialize)]
pub struct Answer {
    agent_id: String,
    certificate: String,
    intermediate: String,
}

/// A certificate, to be recorded before it is answered.
#[derive(Debug)]
pub struct Issued {
    pub serial: [u8; 16],
    pub der: Vec<u8>,
    pub answer: Answer,
}

/// The key that signs.
pub struct Signing {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
}

impl Signing {
    /// A new CA, and the server's own certificate below it.
    pub fn set_up(room: &Path) -> (Self, Arc<LiveCertificate>) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "bare");
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate().expect("a key");
        let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = names.signed_by(&key, &issuer).expect("a certificate");
        let [cert_file, key_file] = ["server.crt", "server.key"].map(|name| room.join(name));
        fs::write(room.join(CA_FILE), &ca).expect("a file");
        fs::write(&cert_file, certificate.pem() + &ca).expect("a file");
        let only_owner = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key_file);
        only_owner.and_then(|mut file| file.write_all(key.serialize_pem().as_bytes())).expect("a file");
        let live = LiveCertificate::load(&cert_file, &key_file).expect("they belong together");
        (Self { issuer, ca }, Arc::new(live))
    }

    /// Verifies what is signed in a request, and signs a certificate for it. None where anything is not as it should be.
    pub fn issue(&self, body: &[u8]) -> Option<Issued> {
        let asked: Asked = serde_json::from_slice(body).ok()?;
        let der = CertificateSigningRequestDer::from_pem_slice(asked.csr.as_bytes()).ok()?;
        // It verifies the signature, too.
        let csr = CertificateSigningRequestParams::from_der(&der).ok()?;
        if let Some(proof) = asked.proof {
            let chain = asked.chain?;
            let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
            let (_, leaf) = X509Certificate::from_der(&leaf).ok()?;
            let key = &leaf.public_key().subject_public_key.data;
            let proof = BASE64.decode(proof.as_bytes()).ok()?;
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&der, &proof).ok()?;
        }

        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).ok()?;
        // Positive, and of one length (RFC 5280 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        let now = SystemTime::now();
        let mut leaf = CertificateParams::default();
        leaf.serial_number = Some(SerialNumber::from_slice(&serial));
        (leaf.not_before, leaf.not_after) = (now.into(), (now + LIFE).into());
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let agent_id = data_encoding::HEXLOWER.encode(&serial);
        leaf.distinguished_name.push(DnType::CommonName, agent_id.as_str());
        let leaf = leaf.signed_by(&csr.public_key, &self.issuer).ok()?;
        let answer = Answer { agent_id, certificate: leaf.pem(), intermediate: self.ca.clone() };
        Some(Issued { serial, der: leaf.der().to_vec(), answer })
    }
}
