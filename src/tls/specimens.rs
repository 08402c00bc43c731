//! Certificates, a registry and handshakes for tests.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use tempfile::TempDir;

use super::provider::provider;
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::admission::{Admission, NotAdmitted};
use crate::domain::identity::deny::{AgentRef, DenyChange, DenyList};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};
use crate::domain::ids::{HostId, TenantId};
use crate::tls::client_verifier::PeerVerifier;
use crate::tls::server_certificate::LiveCertificate;

/// Makes a certificate valid from and until so many seconds from now.
pub(crate) fn set_validity(params: &mut CertificateParams, from: i64, until: i64) {
    let moment = |seconds: i64| {
        let since_epoch = (Timestamp::now().as_second() + seconds).try_into().unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_epoch)
    };
    params.not_before = moment(from);
    params.not_after = moment(until);
}

pub(crate) fn trust_domain() -> TrustDomain {
    "muster".parse().unwrap()
}

pub(crate) fn agent(name: &str) -> SpiffeId {
    let tenant = TenantId::from_bytes([7; 16]);
    SpiffeId { trust_domain: trust_domain(), tenant, agent: name.parse().unwrap() }
}

pub(crate) fn identity(id: &SpiffeId) -> AgentRef {
    AgentRef { tenant: id.tenant, agent: id.agent.clone() }
}

pub(crate) fn serial(number: u8) -> Serial {
    let mut entropy = [0x5a; 10];
    entropy[9] = number;
    Serial::new(Timestamp::now(), entropy)
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A root and the intermediate below it, as an agent CA has them.
pub(crate) struct SpecimenCa {
    root: CertifiedIssuer<'static, KeyPair>,
    pub intermediate: CertifiedIssuer<'static, KeyPair>,
}

impl SpecimenCa {
    pub(crate) fn new() -> Self {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(ca_params("root"), key()).unwrap();
        let mut params = ca_params("intermediate");
        params.subject_alt_names = vec![uri("spiffe://muster")];
        let intermediate = CertifiedIssuer::signed_by(params, key(), &root).unwrap();
        Self { root, intermediate }
    }

    pub(crate) fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.root.der().to_vec()]
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> ClientIdentity {
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        ClientIdentity {
            chain: vec![leaf.der().clone(), self.intermediate.der().clone()],
            key: key.serialize_der().try_into().unwrap(),
        }
    }

    /// The intermediate itself, as if it were an agent.
    pub(crate) fn intermediate_as_client(&self) -> ClientIdentity {
        ClientIdentity {
            chain: vec![self.intermediate.der().clone()],
            key: self.intermediate.key().serialize_der().try_into().unwrap(),
        }
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// What the agent CA puts into an SVID.
pub(crate) fn svid_params(id: &SpiffeId, serial: Serial) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, id.agent.as_str());
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.subject_alt_names = vec![uri(&id.to_string())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, -300, 86_400);
    params
}

/// A client's chain and key.
pub(crate) struct ClientIdentity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// A server certificate in files, under a CA of its own.
pub(crate) struct ServerFiles {
    dir: TempDir,
    pub ca: CertifiedIssuer<'static, KeyPair>,
}

impl ServerFiles {
    pub(crate) fn new() -> Self {
        let ca = CertifiedIssuer::self_signed(ca_params("server ca"), KeyPair::generate().unwrap()).unwrap();
        let files = Self { dir: tempfile::tempdir().unwrap(), ca };
        files.renew();
        files
    }

    /// One whose certificate has these names.
    pub(crate) fn for_names(names: &[&str]) -> Self {
        let files = Self::new();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        files.renew_with(&CertificateParams::new(names).unwrap());
        files
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.dir.path().join("server.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.dir.path().join("server.key")
    }

    pub(crate) fn params() -> CertificateParams {
        CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
    }

    /// Issues a certificate for a new key and puts both into place.
    pub(crate) fn renew(&self) {
        self.renew_with(&Self::params());
    }

    pub(crate) fn renew_with(&self, params: &CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.cert(), cert.pem() + &self.ca.pem()).unwrap();
        self.write_key(&key.serialize_pem(), 0o600);
    }

    pub(crate) fn write_key(&self, pem: &str, mode: u32) {
        std::fs::write(self.key(), pem).unwrap();
        std::fs::set_permissions(self.key(), PermissionsExt::from_mode(mode)).unwrap();
    }

    pub(crate) fn live(&self) -> Arc<LiveCertificate> {
        Arc::new(LiveCertificate::load(&self.cert(), &self.key()).unwrap())
    }

    /// A client that trusts this server.
    pub(crate) fn client(&self, identity: Option<ClientIdentity>) -> Arc<ClientConfig> {
        self.client_speaking(identity, &[&TLS13])
    }

    pub(crate) fn client_speaking(
        &self,
        identity: Option<ClientIdentity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(ClientIdentity { chain, key }) => {
                let key = provider().key_provider.load_private_key(key).unwrap();
                // Presented as it is: rustls would not take every hostile certificate.
                let hostile = SingleCertAndKey::from(CertifiedKey::new(chain, key));
                builder.with_client_cert_resolver(Arc::new(hostile))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

/// A registry in memory: what was recorded, and what is denied.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    hosts: Mutex<HashMap<Serial, HostId>>,
    pub deny: DenyList,
    /// Revokes an agent right after it was admitted so many times.
    pub revoke_after: Mutex<Option<usize>>,
}

impl Recorded {
    /// Records a serial, and with it the host of the same bytes.
    pub(crate) fn record(&self, serial: Serial) -> HostId {
        let host = HostId::from_bytes(*serial.as_bytes());
        self.hosts.lock().insert(serial, host);
        host
    }
}

impl Admission for Recorded {
    fn note_shown(&self, _: HostId, _: Serial) {}

    fn admit(&self, _: &[u8], _: SpkiHash, serial: Serial, id: &SpiffeId) -> Result<HostId, NotAdmitted> {
        if self.deny.denies(serial, &identity(id)) {
            return Err(NotAdmitted::Revoked);
        }
        if let Some(left) = &mut *self.revoke_after.lock() {
            *left -= 1;
            if *left == 0 {
                self.deny.apply([DenyChange::Identity(identity(id))]);
            }
        }
        self.hosts.lock().get(&serial).copied().ok_or(NotAdmitted::Unrecorded)
    }
}

/// A verifier that trusts `ca` and asks `registry`.
pub(crate) fn verifier(ca: &SpecimenCa, registry: &Arc<Recorded>) -> Arc<PeerVerifier> {
    let verifier = PeerVerifier::new(Arc::clone(registry) as Arc<dyn Admission>);
    verifier.replace_roots(trust_domain(), &ca.roots(), &[]).unwrap();
    Arc::new(verifier)
}

/// A handshake without a network: the server's side of it, and of what it made of the client.
pub(crate) fn handshake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while server.is_handshaking() || client.is_handshaking() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            server.read_tls(&mut unread).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut unread = wire.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((server, client))
}
