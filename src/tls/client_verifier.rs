//! Who an agent is: the identity that a verified client certificate proves.
//!
//! The chain, the validity and the extended key usage are rustls's to judge. What is ours is judged here, in the
//! same way in the handshake and for the identity built after it: the X509-SVID rules, and the registry, which
//! knows what was recorded and what was revoked since.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{CertificateError, DistinguishedName, RootCertStore, ServerConnection};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::identity::admission::{Admission, NotAdmitted};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::ids::HostId;
use crate::svid::{NotAnSvid, Svid};
use crate::tls::provider::{check_signatures_with_provider, provider};

/// Most certificates that a client may show beside its own. Agents show one intermediate, and some clients add the
/// root. What a stranger shows is searched for a path to a root before he has proved anything, and among a hundred
/// CAs that have signed each other the search takes seconds.
const INTERMEDIATES_MAX: usize = 2;

impl From<NotAdmitted> for rustls::Error {
    fn from(refusal: NotAdmitted) -> Self {
        match refusal {
            NotAdmitted::Revoked => CertificateError::Revoked.into(),
            NotAdmitted::Unrecorded | NotAdmitted::UnknownHost => {
                CertificateError::ApplicationVerificationFailure.into()
            }
            NotAdmitted::Unavailable => Self::General(refusal.to_string()),
        }
    }
}

/// Why a certificate is no SVID of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSvid {
    #[error(transparent)]
    Unreadable(#[from] NotAnSvid),
    #[error("the SPIFFE id belongs to another trust domain")]
    TrustDomain,
}

impl From<NoSvid> for rustls::Error {
    fn from(error: NoSvid) -> Self {
        match error {
            NoSvid::Unreadable(NotAnSvid::Damaged) => CertificateError::BadEncoding.into(),
            _ => CertificateError::ApplicationVerificationFailure.into(),
        }
    }
}

fn svid(der: &[u8], trust_domain: &TrustDomain) -> Result<Svid, NoSvid> {
    let svid = Svid::from_der(der)?;
    if svid.spiffe_id.trust_domain == *trust_domain { Ok(svid) } else { Err(NoSvid::TrustDomain) }
}

/// The certificate of a connection whose handshake is over: verified and admitted then, and to be admitted once more
/// before it stands for anybody.
#[derive(Debug)]
pub struct ShownSvid<'c> {
    leaf: &'c [u8],
    pub(crate) svid: Svid,
    /// The id as the deny list names it.
    pub(crate) identity: AgentRef,
}

impl<'c> ShownSvid<'c> {
    pub fn of_connection(
        connection: &'c ServerConnection,
        verifier: &PeerVerifier,
    ) -> Result<Self, PeerError> {
        let leaf: &[u8] =
            connection.peer_certificates().and_then(<[_]>::first).ok_or(PeerError::NoCertificate)?;
        let anchors = verifier.anchors().ok_or(PeerError::NoAnchors)?;
        let svid = svid(leaf, &anchors.trust_domain).map_err(PeerError::NoSvid)?;
        let identity = AgentRef { tenant: svid.spiffe_id.tenant, agent: svid.spiffe_id.agent.clone() };
        Ok(Self { leaf, svid, identity })
    }
}

/// An agent whose certificate was verified in the handshake and admitted by the registry, then and after its connection
/// was entered among the live. Built only here, and the same for ever: whoever holds one holds a proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    identity: AgentRef,
    serial: Serial,
    host: HostId,
    not_after: Timestamp,
}

impl PeerIdentity {
    /// The id as the deny list names it.
    pub const fn identity(&self) -> &AgentRef {
        &self.identity
    }

    pub const fn serial(&self) -> Serial {
        self.serial
    }

    pub const fn host(&self) -> HostId {
        self.host
    }

    /// The last second in which the certificate is valid.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// Why there is no identity behind a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    #[error("the client showed no certificate")]
    NoCertificate,
    #[error("there is no agent CA to verify clients with")]
    NoAnchors,
    #[error("the client's certificate is no agent's: {0}")]
    NoSvid(#[source] NoSvid),
    #[error("the client's certificate is not admitted: {0}")]
    Refused(#[source] NotAdmitted),
}

/// Why a set of root certificates can't be used to verify agents.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    #[error("the agent CA has no root certificate")]
    None,
    #[error("a root certificate of the agent CA can't be used")]
    Bad(#[source] rustls::Error),
    #[error("no verifier can be built from the agent CA's root certificates")]
    Verifier(#[source] VerifierBuilderError),
}

/// Whether one of these anchors (DER) vouches for what an intermediate (DER) issues: it is the intermediate itself, or
/// has signed it. Agents show their own certificate and the intermediate, nothing above.
pub fn vouch_for(anchors: &[Vec<u8>], intermediate: &[u8]) -> bool {
    let Ok((_, below)) = X509Certificate::from_der(intermediate) else { return false };
    anchors.iter().any(|anchor| {
        let Ok((_, above)) = X509Certificate::from_der(anchor) else { return false };
        let same = above.subject().as_raw() == below.subject().as_raw()
            && above.public_key().raw == below.public_key().raw;
        let signed = above.subject().as_raw() == below.issuer().as_raw()
            && below.verify_signature(Some(above.public_key())).is_ok();
        same || signed
    })
}

/// Lets agents in, and nobody else: asked by rustls in every handshake of the gRPC listener.
///
/// Until [`replace_roots`](Self::replace_roots) is called, nobody is let in.
#[derive(Debug)]
pub struct PeerVerifier {
    admission: Arc<dyn Admission>,
    anchors: RwLock<Option<Arc<Anchors>>>,
}

/// Whose certificates are believed.
#[derive(Debug)]
struct Anchors {
    trust_domain: TrustDomain,
    chain: Arc<dyn ClientCertVerifier>,
}

impl PeerVerifier {
    pub fn new(admission: Arc<dyn Admission>) -> Self {
        Self { admission, anchors: RwLock::new(None) }
    }

    /// Believes certificates of `trust_domain` under these roots (DER) from the next handshake on.
    ///
    /// The intermediates that are known to be under them are believed by themselves: what they signed costs one signature
    /// less, and does not outlive them, because it is issued like that and on record.
    pub fn replace_roots(
        &self,
        trust_domain: TrustDomain,
        roots: &[Vec<u8>],
        intermediates: &[Vec<u8>],
    ) -> Result<(), RootsError> {
        if roots.is_empty() {
            return Err(RootsError::None);
        }
        let mut store = RootCertStore::empty();
        let below = intermediates.iter().filter(|intermediate| vouch_for(roots, intermediate));
        for anchor in roots.iter().chain(below) {
            store.add(CertificateDer::from(anchor.as_slice())).map_err(RootsError::Bad)?;
        }
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider())
            .build()
            .map_err(RootsError::Verifier)?;
        let anchors = Arc::new(Anchors { trust_domain, chain });
        *self.anchors.write() = Some(anchors);
        Ok(())
    }

    /// Admits what a connection has shown, for good.
    pub(crate) fn admit(&self, shown: ShownSvid<'_>) -> Result<PeerIdentity, PeerError> {
        let ShownSvid { leaf, svid, identity } = shown;
        let admitted = self.admission.admit(leaf, svid.spki(), svid.serial, &svid.spiffe_id);
        let host = admitted.map_err(PeerError::Refused)?;
        let Svid { serial, not_after, .. } = svid;
        Ok(PeerIdentity { identity, serial, host, not_after })
    }

    /// Tells the registry that a connection of this peer is open.
    pub(crate) fn note_shown(&self, peer: &PeerIdentity) {
        self.admission.note_shown(peer.host, peer.serial);
    }

    fn anchors(&self) -> Option<Arc<Anchors>> {
        self.anchors.read().clone()
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// Agents have one identity and need no hint which to show; and a hint would have to be borrowed from
    /// roots that may be replaced.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let anchors = self.anchors().ok_or(CertificateError::UnknownIssuer)?;
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let verified = anchors.chain.verify_client_cert(end_entity, intermediates, now)?;
        let svid = svid(end_entity, &anchors.trust_domain)
            .inspect_err(|error| tracing::debug!(%error, "client certificate refused"))?;
        self.admission.admit(end_entity, svid.spki(), svid.serial, &svid.spiffe_id).inspect_err(
            |error| tracing::debug!(%error, id = %svid.spiffe_id, serial = %svid.serial, "client certificate refused"),
        )?;
        Ok(verified)
    }

    check_signatures_with_provider!();
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
        SanType, SerialNumber,
    };
    use rustls::version::TLS12;
    use rustls::{AlertDescription, Error, HandshakeKind};
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::domain::enroll::enrollment::SpkiHash;
    use crate::domain::identity::deny::DenyChange;
    use crate::tls::server_config::grpc_config;
    use crate::tls::specimens::{
        ClientIdentity, Recorded, ServerFiles, SpecimenCa, agent, handshake, identity,
        serial as specimen_serial, set_validity, svid_params, trust_domain, uri, verifier,
    };

    fn refused(error: &Error) -> CertificateError {
        match error {
            Error::InvalidCertificate(error) => error.clone(),
            error => panic!("refused for another reason: {error:?}"),
        }
    }

    #[test]
    fn an_agent_is_known_after_its_handshake() {
        let (ca, files, registry) = (SpecimenCa::new(), ServerFiles::new(), Arc::new(Recorded::default()));
        let verifier = verifier(&ca, &registry);
        let serial = specimen_serial(1);
        let host = registry.record(serial);
        let id = agent("web-1");
        let server = grpc_config(files.live(), Arc::clone(&verifier));
        let client = files.client(Some(ca.issue(&svid_params(&id, serial))));
        let (server, _) = handshake(&server, &client).unwrap();
        let shown = ShownSvid::of_connection(&server, &verifier).unwrap();
        let leaf = &server.peer_certificates().unwrap()[0];
        let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
        assert_eq!(shown.svid.spki(), SpkiHash::of(parsed.public_key().raw));
        assert_eq!(shown.svid.spiffe_id, id);
        let peer = verifier.admit(shown).unwrap();
        assert_eq!((peer.identity(), peer.serial(), peer.host()), (&identity(&id), serial, host));
        assert!(peer.not_after() > Timestamp::now());
    }

    /// Every certificate here is signed by our own CA, for a recorded serial, unless the case says otherwise.
    #[test]
    fn hostile_certificates_are_refused() {
        let (ca, other_ca, files) = (SpecimenCa::new(), SpecimenCa::new(), ServerFiles::new());
        let registry = Arc::new(Recorded::default());
        let server = grpc_config(files.live(), verifier(&ca, &registry));
        let recorded = specimen_serial(1);
        registry.record(recorded);
        let id = agent("web-1");
        let ours = id.to_string();
        let spoilt = |spoil: &dyn Fn(&mut CertificateParams)| {
            let mut params = svid_params(&id, recorded);
            spoil(&mut params);
            ca.issue(&params)
        };
        let named = |names: &[SanType]| spoilt(&|params| params.subject_alt_names = names.to_vec());
        let path = |from: &str, to: &str| named(&[uri(&ours.replace(from, to))]);
        let ip = SanType::IpAddress("10.0.0.1".parse().unwrap());
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());

        let application = CertificateError::ApplicationVerificationFailure;
        let cases: Vec<(&str, ClientIdentity, Option<CertificateError>)> = vec![
            ("two URIs", named(&[uri(&ours), uri("spiffe://muster")]), Some(application.clone())),
            ("the same URI twice", named(&[uri(&ours), uri(&ours)]), Some(application.clone())),
            ("URI and DNS name", named(&[uri(&ours), dns("web-1")]), Some(application.clone())),
            ("URI and IP address", named(&[uri(&ours), ip]), Some(application.clone())),
            ("no SAN", named(&[]), Some(application.clone())),
            ("DNS name only", named(&[dns("web-1")]), Some(application.clone())),
            ("id as DNS name", named(&[dns(&ours)]), Some(application.clone())),
            ("root path", named(&[uri("spiffe://muster")]), Some(application.clone())),
            ("foreign trust domain", path("muster", "other"), Some(application.clone())),
            ("dots in the path", path("web-1", ".."), Some(application.clone())),
            ("trailing slash", path("web-1", "web-1/"), Some(application.clone())),
            ("empty segment", path("/agent/", "//agent/"), Some(application.clone())),
            ("upper-case scheme", path("spiffe:", "SPIFFE:"), Some(application.clone())),
            ("other form", path("/agent/", "/host/"), Some(application.clone())),
            ("another CA", other_ca.issue(&svid_params(&id, recorded)), None),
            ("intermediate", ca.intermediate_as_client(), None),
            ("CA:TRUE", spoilt(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), None),
            ("no basicConstraints", spoilt(&|p| p.is_ca = IsCa::NoCa), Some(application.clone())),
            ("no keyUsage", spoilt(&|p| p.key_usages.clear()), Some(application.clone())),
            (
                "keyCertSign",
                spoilt(&|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)),
                Some(application.clone()),
            ),
            ("cRLSign", spoilt(&|p| p.key_usages.push(KeyUsagePurpose::CrlSign)), Some(application.clone())),
            (
                "keyAgreement only",
                spoilt(&|p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
                Some(application.clone()),
            ),
            (
                "serverAuth only",
                spoilt(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                None,
            ),
            (
                "empty extKeyUsage",
                spoilt(&|p| {
                    p.extended_key_usages.clear();
                    let empty = CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0]);
                    p.custom_extensions.push(empty);
                }),
                None,
            ),
            (
                "unknown critical extension",
                spoilt(&|p| {
                    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
                    extension.set_criticality(true);
                    p.custom_extensions.push(extension);
                }),
                None,
            ),
            (
                "two SAN extensions",
                spoilt(&|p| {
                    let empty = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0]);
                    p.custom_extensions.push(empty);
                }),
                None,
            ),
            ("expired", spoilt(&|p| set_validity(p, -300, -5)), None),
            ("not yet valid", spoilt(&|p| set_validity(p, 3600, 7200)), None),
            ("unrecorded serial", ca.issue(&svid_params(&id, specimen_serial(2))), Some(application.clone())),
            (
                "serial of 20 octets",
                spoilt(&|p| p.serial_number = Some(SerialNumber::from_slice(&[1; 20]))),
                Some(application),
            ),
        ];
        for (name, client, expected) in cases {
            let outcome = handshake(&server, &files.client(Some(client)));
            let error = refused(&outcome.map(|_| name).unwrap_err());
            if let Some(expected) = expected {
                assert_eq!(error, expected, "{name}");
            }
        }
        let good = files.client(Some(ca.issue(&svid_params(&id, recorded))));
        handshake(&server, &good).unwrap();
    }

    #[test]
    fn clients_without_certificate_or_tls_1_3_are_refused() {
        let (ca, files, registry) = (SpecimenCa::new(), ServerFiles::new(), Arc::new(Recorded::default()));
        let server = grpc_config(files.live(), verifier(&ca, &registry));
        let error = handshake(&server, &files.client(None)).map(|_| ()).unwrap_err();
        assert_eq!(error, Error::NoCertificatesPresented);
        let old = files.client_speaking(None, &[&TLS12]);
        assert!(matches!(handshake(&server, &old).map(|_| ()), Err(Error::PeerIncompatible(_))));
        let mut no_h2 = (*files.client(None)).clone();
        no_h2.alpn_protocols = vec![b"http/1.1".to_vec()];
        let error = handshake(&server, &Arc::new(no_h2)).map(|_| ()).unwrap_err();
        assert_eq!(error, Error::NoApplicationProtocol);
    }

    #[test]
    fn a_revoked_agent_is_refused_when_it_reconnects_with_the_same_configuration() {
        let (ca, files, registry) = (SpecimenCa::new(), ServerFiles::new(), Arc::new(Recorded::default()));
        let server = grpc_config(files.live(), verifier(&ca, &registry));
        let serial = specimen_serial(1);
        registry.record(serial);
        let id = agent("web-1");
        let client = files.client(Some(ca.issue(&svid_params(&id, serial))));
        for _ in 0..2 {
            let (server, _) = handshake(&server, &client).unwrap();
            assert_ne!(server.handshake_kind(), Some(HandshakeKind::Resumed));
        }
        registry.deny.apply([DenyChange::Identity(identity(&id))]);
        let error = handshake(&server, &client).map(|_| ()).unwrap_err();
        assert_eq!(refused(&error), CertificateError::Revoked);
        registry.deny.apply([DenyChange::LiftIdentity(identity(&id))]);
        registry.deny.apply([DenyChange::Serial { serial, not_after: Timestamp::MAX }]);
        let error = handshake(&server, &client).map(|_| ()).unwrap_err();
        assert_eq!(AlertDescription::from(refused(&error)), AlertDescription::CertificateRevoked);
    }

    #[test]
    fn nobody_is_let_in_before_there_is_an_agent_ca() {
        let (ca, files, registry) = (SpecimenCa::new(), ServerFiles::new(), Arc::new(Recorded::default()));
        let verifier = Arc::new(PeerVerifier::new(Arc::clone(&registry) as Arc<dyn Admission>));
        let server = grpc_config(files.live(), Arc::clone(&verifier));
        let serial = specimen_serial(1);
        registry.record(serial);
        let client = files.client(Some(ca.issue(&svid_params(&agent("web-1"), serial))));
        let error = handshake(&server, &client).map(|_| ()).unwrap_err();
        assert_eq!(refused(&error), CertificateError::UnknownIssuer);

        assert!(matches!(verifier.replace_roots(trust_domain(), &[], &[]), Err(RootsError::None)));
        assert!(matches!(verifier.replace_roots(trust_domain(), &[vec![0]], &[]), Err(RootsError::Bad(_))));
        verifier.replace_roots(trust_domain(), &ca.roots(), &[]).unwrap();
        handshake(&server, &client).unwrap();
        verifier.replace_roots(trust_domain(), &SpecimenCa::new().roots(), &[]).unwrap();
        assert!(handshake(&server, &client).is_err(), "the old root is no longer believed");
    }
}
