//! Certificate authorities that a test signs with: foreign ones, siblings of the server's own, and its own.

use muster::ca::envelope::{Envelope, EnvelopeSettings};
use muster::store::Store;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use x509_parser::time::ASN1Time;

use super::identity::Identity;
use super::keys::{Key, pem};
use super::server::Server;

/// A root and an intermediate under it.
#[derive(Debug)]
pub struct Hierarchy {
    pub root_pem: String,
    pub intermediate_pem: String,
    intermediate: Issuer<'static, KeyPair>,
}

impl Hierarchy {
    /// A look-alike that shares nothing but names with the server's agent CA.
    pub fn foreign() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params("muster root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        let root_pem = params.self_signed(&key).unwrap().pem();
        Self::below(root_pem, key)
    }

    /// An intermediate under a root whose key the test holds.
    pub fn below(root_pem: String, root_key: KeyPair) -> Self {
        let root = Issuer::from_ca_cert_pem(&root_pem, root_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = ca_params("muster intermediate");
        let intermediate_pem = params.signed_by(&key, &root).unwrap().pem();
        let intermediate = Issuer::from_ca_cert_pem(&intermediate_pem, key).unwrap();
        Self { root_pem, intermediate_pem, intermediate }
    }

    /// The agent CA of a server that is stopped, as a thief of the store and the envelope would have it.
    pub fn stolen(server: &Server) -> Self {
        let settings = EnvelopeSettings { data_dir: server.data_dir(), ..EnvelopeSettings::default() };
        let envelope = Envelope::find(&settings).unwrap().unwrap();
        let hierarchy = Store::peek(&server.store_file(), |view| view.hierarchy()).flatten().unwrap();
        let issuing = hierarchy.intermediates.last().unwrap();
        let key = envelope.unseal(issuing.sealed_key.as_ref().unwrap()).unwrap();
        let key = KeyPair::try_from(key.as_slice()).unwrap();
        let intermediate_pem = pem("CERTIFICATE", &issuing.certificate);
        let intermediate = Issuer::from_ca_cert_pem(&intermediate_pem, key).unwrap();
        Self { root_pem: pem("CERTIFICATE", &hierarchy.roots[0]), intermediate_pem, intermediate }
    }

    /// The intermediate's own key.
    pub fn key(&self) -> &KeyPair {
        self.intermediate.key()
    }

    /// A certificate for `key` that claims what another identity's certificate says, with `change` made to it.
    pub fn imitate_with(
        &self,
        identity: &Identity,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let mut params = Self::leaf_params(&[&identity.field("spiffe_id")], &identity.serial());
        change(&mut params);
        params.signed_by(key, &self.intermediate).unwrap().pem()
    }

    /// The same, and ends in an hour, as an SVID that the server would issue now.
    pub fn imitate_closely(&self, identity: &Identity, key: &Key) -> String {
        self.imitate_with(identity, key.pair(), Self::end_in_an_hour)
    }

    /// The same under another serial.
    pub fn imitate_as(&self, identity: &Identity, serial: &[u8], key: &Key) -> String {
        self.imitate_with(identity, key.pair(), |params| {
            params.serial_number = Some(SerialNumber::from_slice(serial));
            Self::end_in_an_hour(params);
        })
    }

    fn end_in_an_hour(params: &mut CertificateParams) {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
        params.not_after = ASN1Time::from_timestamp(until.as_second()).unwrap().to_datetime();
    }

    /// A certificate for `key` that claims what another identity's certificate says, and never ends.
    pub fn imitate(&self, identity: &Identity, key: &Key) -> String {
        self.leaf(&[&identity.field("spiffe_id")], &identity.serial(), key)
    }

    /// A client certificate with these URIs and this serial.
    pub fn leaf(&self, uris: &[&str], serial: &str, key: &Key) -> String {
        let params = Self::leaf_params(uris, serial);
        params.signed_by(key.pair(), &self.intermediate).unwrap().pem()
    }

    /// The same for the key in another certificate (PEM), with `change` made to it.
    pub fn leaf_for_key_of(
        &self,
        certificate: &str,
        uri: &str,
        serial: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> String {
        let der = &super::keys::certificates(certificate)[0];
        let (_, parsed) = x509_parser::parse_x509_certificate(der).unwrap();
        let key = SubjectPublicKeyInfo::from_der(parsed.public_key().raw).unwrap();
        let mut params = Self::leaf_params(&[uri], serial);
        change(&mut params);
        params.signed_by(&key, &self.intermediate).unwrap().pem()
    }

    /// What such a certificate says.
    pub fn leaf_params(uris: &[&str], serial: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        let serial = data_encoding::HEXLOWER.decode(serial.as_bytes()).unwrap();
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name.push(DnType::CommonName, "agent");
        params.subject_alt_names = uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap())).collect();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}
