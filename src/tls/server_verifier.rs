//! How an agent knows its server: by a pin, by certificates in a file, or by the system's roots.
//!
//! There is no trust on first use: what does not match is refused before a byte of the request leaves.
//! After a handshake, [`FirstContact::verified`] tells what vouched for the server, to be kept for later
//! connections, which then trust that file and need no pin.

use std::error::Error as StdError;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, OtherError, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::time::ASN1Time;

use crate::domain::network::pin::Pin;
use crate::pem;
use crate::pem::file::PemFileError;
use crate::tls::pem::certificates;
use crate::tls::provider::{check_signatures_with_provider, provider};

/// Largest file of trusted certificates that is read, in bytes.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// What vouches for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The certificate with this digest must be in the presented chain.
    Pin(Pin),
    /// PEM: the CA certificates in it are the anchors. A certificate that is alone in it, or that is signed by
    /// itself, vouches for itself, too.
    CaFile(PathBuf),
    /// What the operating system trusts.
    SystemRoots,
}

/// Why no verifier could be made. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the file of trusted certificates {} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("the file of trusted certificates {} is unusable", .0.display())]
    NotPem(PathBuf, #[source] PemFileError),
    #[error("{} holds several certificates, and none of them is a CA's or signed by itself", .0.display())]
    NoCa(PathBuf),
    #[error("certificate {number} of {} can't be understood", path.display())]
    Damaged { path: PathBuf, number: usize },
    #[error("the trusted certificates are unusable")]
    NotPemText(#[source] PemFileError),
    #[error("the system has no usable root certificates; give a pin or a CA file instead")]
    NoSystemRoots,
}

/// Why a server was refused, in words that reach the person who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("none of the certificates the server presented has the pin that was given")]
    PinMismatch,
    #[error("the pinned certificate is neither the server's own nor a CA's")]
    PinnedNeitherServerNorCa,
    #[error("the server presented another certificate than the trusted one")]
    OtherCertificate,
}

impl Distrust {
    fn refusal(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }
}

/// A server certificate that was refused, found in the error of a connection and put in words.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServerRefused {
    #[error(transparent)]
    Distrusted(Distrust),
    #[error("the server's certificate is signed by no CA that is trusted here")]
    UnknownIssuer,
    #[error("the server's certificate expired at {not_after}; it is {now} here")]
    Expired { not_after: Timestamp, now: Timestamp },
    #[error("the server's certificate is not valid before {not_before}; it is {now} here")]
    NotYetValid { not_before: Timestamp, now: Timestamp },
    #[error("the server's certificate is refused: {0}")]
    Certificate(CertificateError),
}

impl ServerRefused {
    /// The refusal at the bottom of an error, if that is what is there.
    pub fn in_error(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(Error::InvalidCertificate(reason)) = error.downcast_ref() {
                return Some(reason.into());
            }
            // An `io::Error` leaves out the error it wraps when it is asked for its source.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner as &(dyn StdError + 'static)),
                None => error.source(),
            };
        }
        None
    }
}

impl From<&CertificateError> for ServerRefused {
    fn from(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::Other(other) => match other.0.downcast_ref() {
                Some(distrust) => Self::Distrusted(*distrust),
                None => Self::Certificate(reason.clone()),
            },
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired { not_after: moment(*not_after), now: moment(*time) }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYetValid { not_before: moment(*not_before), now: moment(*time) }
            }
            _ => Self::Certificate(reason.clone()),
        }
    }
}

/// A time as people read it (RFC 3339). Certificates end long before the last one there is.
fn moment(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
        .unwrap_or(Timestamp::MAX)
}

/// A verifier of server certificates that remembers what vouched.
#[derive(Debug)]
pub struct FirstContact {
    anchors: Anchors,
    accepted: Mutex<Option<Accepted>>,
}

/// The latest handshake whose certificates were accepted.
#[derive(Debug, Clone)]
struct Accepted {
    /// What vouched, when it is worth keeping.
    text: Option<String>,
    /// The file holds the server's very certificate.
    itself: bool,
    presented: Presented,
}

/// What a server showed, and when and as whom it was called.
#[derive(Debug, Clone)]
struct Presented {
    end_entity: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
    server_name: ServerName<'static>,
    now: UnixTime,
}

#[derive(Debug)]
enum Anchors {
    Pin(Pin),
    /// The CAs among the certificates of a file. One that is alone or self-signed vouches for itself, too.
    Certificates {
        authorities: RootCertStore,
        listed: Vec<CertificateDer<'static>>,
    },
    System(RootCertStore),
}

impl FirstContact {
    pub fn new(trust: &Trust) -> Result<Self, TrustError> {
        let anchors = match trust {
            Trust::Pin(pin) => Anchors::Pin(*pin),
            Trust::CaFile(path) => from_file(path)?,
            Trust::SystemRoots => Anchors::System(system_roots()?),
        };
        Ok(Self { anchors, accepted: Mutex::default() })
    }

    /// The PEM certificates that vouched for the server in the latest handshake: the pinned one, or those of
    /// the file. `None` before a handshake and when the system's roots vouched.
    pub fn verified(&self) -> Option<String> {
        self.accepted().and_then(|accepted| accepted.text)
    }

    /// The CA certificates that servers are judged by, when there are such: not for a pin, not for one exact
    /// certificate, and not for the system's roots.
    pub fn authorities(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.anchors {
            Anchors::Certificates { listed, authorities, .. }
                if !authorities.is_empty() && !self.accepted().is_some_and(|accepted| accepted.itself) =>
            {
                Some(listed)
            }
            _ => None,
        }
    }

    /// Whether the server of the latest handshake vouched for itself: no other key of its would be taken.
    pub fn trusts_leaf_alone(&self) -> bool {
        matches!(self.anchors, Anchors::Certificates { .. })
            && self.accepted().is_some_and(|accepted| accepted.itself)
    }

    /// Whether these CA certificates alone would have vouched for the server of the latest handshake.
    pub fn would_accept(&self, authorities: &[CertificateDer<'static>]) -> bool {
        let Some(accepted) = self.accepted() else { return false };
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(authorities.iter().cloned());
        verify_chain(&anchors, &accepted.presented).is_ok()
    }

    /// The same server, judged by what is trusted now; `None` if that does not vouch for it.
    pub fn judged_by(&self, trust: &Trust) -> Result<Option<Self>, TrustError> {
        let contact = Self::new(trust)?;
        let vouched = self.accepted().is_some_and(|accepted| {
            let Presented { end_entity, intermediates, server_name, now } = accepted.presented;
            contact.verify_server_cert(&end_entity, &intermediates, &server_name, &[], now).is_ok()
        });
        Ok(vouched.then_some(contact))
    }

    fn accepted(&self) -> Option<Accepted> {
        self.accepted.lock().clone()
    }
}

/// The certificate that vouched.
fn verify_pin(pin: Pin, presented: &Presented) -> Result<String, Error> {
    if Pin::of(&presented.end_entity) == pin {
        return Ok(pem::certificate(&presented.end_entity));
    }
    let pinned = presented.intermediates.iter().find(|certificate| Pin::of(certificate) == pin);
    let pinned = pinned.ok_or_else(|| Distrust::PinMismatch.refusal())?;
    if !is_authority(pinned) {
        return Err(Distrust::PinnedNeitherServerNorCa.refusal());
    }
    let mut anchor = RootCertStore::empty();
    anchor.add(pinned.clone())?;
    verify_chain(&anchor, presented)?;
    Ok(pem::certificate(pinned))
}

fn verify_chain(anchors: &RootCertStore, presented: &Presented) -> Result<(), Error> {
    let Presented { end_entity, intermediates, server_name, now } = presented;
    let end_entity = ParsedCertificate::try_from(end_entity)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&end_entity, anchors, intermediates, *now, algorithms)?;
    verify_server_name(&end_entity, server_name)
}

impl ServerCertVerifier for FirstContact {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = Presented {
            end_entity: end_entity.clone().into_owned(),
            intermediates: intermediates.iter().map(|der| der.clone().into_owned()).collect(),
            server_name: server_name.to_owned(),
            now,
        };
        let (text, itself) = match &self.anchors {
            Anchors::Pin(pin) => (Some(verify_pin(*pin, &presented)?), false),
            Anchors::System(roots) => {
                verify_chain(roots, &presented)?;
                (None, false)
            }
            Anchors::Certificates { authorities, listed } => {
                let itself = listed.contains(end_entity) && (listed.len() == 1 || is_self_issued(end_entity));
                match (itself, listed.len()) {
                    // The one certificate that an operator names is the server's, as a pin would say.
                    (true, 1) => {}
                    (true, _) => verify_itself(&presented)?,
                    (false, _) if authorities.is_empty() => return Err(Distrust::OtherCertificate.refusal()),
                    (false, _) => verify_chain(authorities, &presented)?,
                }
                (Some(listed.iter().map(|certificate| pem::certificate(certificate)).collect()), itself)
            }
        };
        *self.accepted.lock() = Some(Accepted { text, itself, presented });
        Ok(ServerCertVerified::assertion())
    }

    check_signatures_with_provider!();
}

/// Judges a certificate that is trusted as it is, beside others: an old and a new self-signed one, for instance. Who
/// holds one of them must not pass for the others, so the name must be right, and the time.
fn verify_itself(presented: &Presented) -> Result<(), Error> {
    let (_, certificate) =
        X509Certificate::from_der(&presented.end_entity).map_err(|_| CertificateError::BadEncoding)?;
    let moment = |at: ASN1Time| {
        let seconds = u64::try_from(at.timestamp()).unwrap_or(0);
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let (time, validity) = (presented.now, certificate.validity());
    let (not_before, not_after) = (moment(validity.not_before), moment(validity.not_after));
    if time < not_before {
        return Err(CertificateError::NotValidYetContext { time, not_before }.into());
    }
    if time > not_after {
        return Err(CertificateError::ExpiredContext { time, not_after }.into());
    }
    verify_server_name(&ParsedCertificate::try_from(&presented.end_entity)?, &presented.server_name)
}

fn from_file(path: &Path) -> Result<Anchors, TrustError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(CA_FILE_BYTES_MAX).read_to_end(&mut text))
        .map_err(|error| TrustError::Unreadable(path.to_owned(), error))?;
    let certificates = certificates(&text).map_err(|error| TrustError::NotPem(path.to_owned(), error))?;
    let mut authorities = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        // What can't be used must not go unnoticed until it is needed.
        let damaged = || TrustError::Damaged { path: path.to_owned(), number: index + 1 };
        X509Certificate::from_der(certificate).map_err(|_| damaged())?;
        if is_authority(certificate) {
            authorities.add(certificate.clone()).map_err(|_| damaged())?;
        }
    }
    if authorities.is_empty() && certificates.len() != 1 && !certificates.iter().any(is_self_issued) {
        return Err(TrustError::NoCa(path.to_owned()));
    }
    Ok(Anchors::Certificates { authorities, listed: certificates })
}

fn system_roots() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::NoSystemRoots) } else { Ok(roots) }
}

/// Whether a certificate may sign others (RFC 5280 4.2.1.9). Only such a one becomes an anchor: the holder of
/// an end-entity key must not be able to vouch for anybody. Certificates of version 1 can't say what they are; one
/// that names itself as its issuer is a root, as in the system's store.
pub fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    certificate.is_ca() || certificate.version() == X509Version::V1 && names_itself(&certificate)
}

fn is_self_issued(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, certificate)| names_itself(&certificate))
}

fn names_itself(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::tls::client_config::https_client;

    const SECRET: &[u8] = b"what only the right server may read";

    struct Server {
        chain: Vec<CertificateDer<'static>>,
        key: KeyPair,
    }

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn server(ca: &CertifiedIssuer<'static, KeyPair>, name: &str, expired: bool) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        if expired {
            params.not_after = ASN1Time::from_timestamp(1_500_000_000).unwrap().to_datetime();
        }
        let leaf = params.signed_by(&key, ca).unwrap();
        Server { chain: vec![leaf.der().clone(), ca.der().clone()], key }
    }

    fn self_signed(is_ca: IsCa) -> Server {
        self_signed_for("elsewhere.example", is_ca)
    }

    fn self_signed_for(name: &str, is_ca: IsCa) -> Server {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = is_ca;
        let leaf = params.self_signed(&key).unwrap();
        Server { chain: vec![leaf.der().clone()], key }
    }

    impl Server {
        fn pin(&self, index: usize) -> Trust {
            Trust::Pin(Pin::of(&self.chain[index]))
        }

        fn config(&self) -> Arc<ServerConfig> {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialized_der().to_vec()));
            let config = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(self.chain.clone(), key)
                .unwrap();
            Arc::new(config)
        }

        /// Calls this server as `control.example` and sends a secret; what the server read, and what vouched.
        async fn call(&self, trust: &Trust) -> Result<Option<String>, io::Error> {
            let first_contact = Arc::new(FirstContact::new(trust).unwrap());
            let (near, far) = tokio::io::duplex(64 * 1024);
            let acceptor = TlsAcceptor::from(self.config());
            let serving = tokio::spawn(async move {
                let mut heard = Vec::new();
                if let Ok(mut stream) = acceptor.accept(far).await {
                    let _ = stream.read_to_end(&mut heard).await;
                }
                heard
            });
            let config = https_client(Arc::clone(&first_contact));
            let name = ServerName::try_from("control.example").unwrap();
            let outcome = async {
                let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
                stream.write_all(SECRET).await?;
                stream.shutdown().await?;
                // The server has read everything when it hangs up.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                Ok(())
            }
            .await;
            let heard = serving.await.unwrap();
            match outcome {
                Ok(()) => {
                    assert_eq!(heard, SECRET);
                    Ok(first_contact.verified())
                }
                Err(error) => {
                    assert!(heard.is_empty(), "{} bytes reached a server that was refused", heard.len());
                    assert_eq!(first_contact.verified(), None);
                    Err(error)
                }
            }
        }
    }

    fn file(certificates: &[&CertificateDer<'static>]) -> (tempfile::NamedTempFile, Trust) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text: String = certificates.iter().map(|der| pem::certificate(der)).collect();
        std::fs::write(file.path(), text).unwrap();
        let trust = Trust::CaFile(file.path().to_owned());
        (file, trust)
    }

    async fn refused(server: &Server, trust: &Trust, says: &str) {
        let error = ServerRefused::in_error(&server.call(trust).await.unwrap_err()).unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[tokio::test]
    async fn pins() {
        let ca = authority("ca");
        let good = server(&ca, "control.example", false);
        let pem_of = |server: &Server, index: usize| Some(pem::certificate(&server.chain[index]));
        assert_eq!(good.call(&good.pin(0)).await.unwrap(), pem_of(&good, 0));
        assert_eq!(good.call(&good.pin(1)).await.unwrap(), pem_of(&good, 1));
        refused(&good, &Trust::Pin(Pin::from_bytes([0; 32])), "has the pin").await;

        let other_name = server(&ca, "other.example", false);
        assert_eq!(other_name.call(&other_name.pin(0)).await.unwrap(), pem_of(&other_name, 0));
        refused(&other_name, &other_name.pin(1), "not valid for name").await;
        let expired = server(&ca, "control.example", true);
        refused(&expired, &expired.pin(1), "certificate expired at 20").await;

        // The pinned certificate is shown, but it is not what the server's own was signed with.
        let mut borrowed = server(&authority("another"), "control.example", false);
        borrowed.chain[1] = ca.der().clone();
        refused(&borrowed, &borrowed.pin(1), "no CA that is trusted here").await;
        let mut leaf_borrowed = server(&ca, "control.example", false);
        leaf_borrowed.chain.push(good.chain[0].clone());
        refused(&leaf_borrowed, &good.pin(0), "neither the server's own nor a CA's").await;
    }

    #[tokio::test]
    async fn the_key_must_be_the_pinned_certificates() {
        let genuine = self_signed(IsCa::ExplicitNoCa);
        let pin = genuine.pin(0);
        let chain = genuine.chain.clone();
        let impostor = Server { chain, key: KeyPair::generate().unwrap() };
        let key = PrivatePkcs8KeyDer::from(impostor.key.serialized_der().to_vec());
        // rustls refuses to serve a key that is not the certificate's, so the resolver is told to go on.
        let signer = provider().key_provider.load_private_key(key.into()).unwrap();
        let certified = rustls::sign::CertifiedKey::new(impostor.chain, signer);
        let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::<rustls::sign::SingleCertAndKey>::clone(&resolver));
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let (near, far) = tokio::io::duplex(64 * 1024);
            let accepting = tokio::spawn(async move { acceptor.accept(far).await.is_ok() });
            let client = https_client(Arc::new(FirstContact::new(&pin).unwrap()));
            let name = ServerName::try_from("control.example").unwrap();
            let error = TlsConnector::from(Arc::new(client)).connect(name, near).await.unwrap_err();
            assert!(error.to_string().contains("BadSignature"), "{error}");
            assert!(!accepting.await.unwrap());
        }
    }

    #[tokio::test]
    async fn files() {
        let ca = authority("ca");
        let good = server(&ca, "control.example", false);
        let other_name = server(&ca, "other.example", false);
        let (_kept, of_ca) = file(&[ca.der()]);
        assert_eq!(good.call(&of_ca).await.unwrap(), Some(pem::certificate(ca.der())));
        refused(&other_name, &of_ca, "not valid for name").await;
        refused(
            &server(&authority("another"), "control.example", false),
            &of_ca,
            "no CA that is trusted here",
        )
        .await;

        // Both CAs vouch while one replaces the other; a leaf of somebody's among them vouches for nothing.
        let next = authority("next");
        let (_kept, of_both) = file(&[ca.der(), next.der(), &other_name.chain[0]]);
        assert!(good.call(&of_both).await.is_ok());
        assert!(server(&next, "control.example", false).call(&of_both).await.is_ok());
        refused(&other_name, &of_both, "not valid for name").await;

        let (_kept, of_leaf) = file(&[&other_name.chain[0]]);
        assert!(other_name.call(&of_leaf).await.is_ok());
        refused(&good, &of_leaf, "another certificate").await;

        let selfish = self_signed(IsCa::Ca(BasicConstraints::Unconstrained));
        let kept = selfish.call(&selfish.pin(0)).await.unwrap().unwrap();
        let (later, of_itself) = file(&[ca.der()]);
        std::fs::write(later.path(), kept).unwrap();
        assert!(selfish.call(&of_itself).await.is_ok());
        refused(&good, &of_itself, "no CA that is trusted here").await;
    }

    /// As with the system's store: an old and a new certificate that are signed by themselves, whether they call
    /// themselves a CA's or not.
    #[tokio::test]
    async fn self_signed_certificates_stand_side_by_side() {
        for kind in [IsCa::ExplicitNoCa, IsCa::Ca(BasicConstraints::Unconstrained)] {
            let ours = || self_signed_for("control.example", kind);
            let (old, new) = (ours(), ours());
            let (_kept, of_both) = file(&[&old.chain[0], &new.chain[0]]);
            assert!(old.call(&of_both).await.is_ok());
            assert!(new.call(&of_both).await.is_ok());
            assert!(ours().call(&of_both).await.is_err(), "a third one is a stranger's");
        }
        let (old, elsewhere) =
            (self_signed(IsCa::ExplicitNoCa), self_signed_for("other.example", IsCa::ExplicitNoCa));
        let (_kept, of_both) = file(&[&old.chain[0], &elsewhere.chain[0]]);
        refused(&elsewhere, &of_both, "not valid for name").await;
    }

    /// Roots from before 1996 and from tools that write no extensions.
    #[tokio::test]
    async fn a_root_of_version_1_is_an_anchor() {
        let ca = authority("ca");
        let good = server(&ca, "control.example", false);
        let root = CertificateDer::from(as_version_1(ca.der()));
        let (_kept, of_root) = file(&[&root]);
        assert!(good.call(&of_root).await.is_ok());
        let leaf = CertificateDer::from(as_version_1(&good.chain[0]));
        assert!(is_authority(&root) && !is_authority(&leaf), "only a root names itself");
    }

    /// The certificate without version and extensions. Nobody checks the signature of an anchor.
    fn as_version_1(der: &[u8]) -> Vec<u8> {
        fn value(mut der: &[u8]) -> (u8, &[u8], &[u8]) {
            let (tag, form) = (der[0], der[1]);
            der = &der[2..];
            let mut length = usize::from(form);
            if form & 0x80 != 0 {
                let octets = usize::from(form & 0x7f);
                length = der[..octets].iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
                der = &der[octets..];
            }
            (tag, &der[..length], &der[length..])
        }
        fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
            let length = u16::try_from(content.len()).unwrap().to_be_bytes();
            [&[tag, 0x82], &length[..], content].concat()
        }
        /// DER wants the shortest form of a length.
        fn again(tag: u8, content: &[u8]) -> Vec<u8> {
            match u8::try_from(content.len()) {
                Ok(length @ 0..=0x7f) => [&[tag, length], content].concat(),
                Ok(length) => [&[tag, 0x81, length], content].concat(),
                Err(_) => wrapped(tag, content),
            }
        }
        let (_, whole, _) = value(der);
        let (_, mut rest, signature) = value(whole);
        let mut kept = Vec::new();
        while !rest.is_empty() {
            let (tag, content, after) = value(rest);
            if tag != 0xa0 && tag != 0xa3 {
                kept.extend(again(tag, content));
            }
            rest = after;
        }
        again(0x30, &[again(0x30, &kept), signature.to_vec()].concat())
    }

    #[tokio::test]
    async fn without_pin_or_file_an_unknown_ca_is_refused() {
        let good = server(&authority("another"), "control.example", false);
        match FirstContact::new(&Trust::SystemRoots) {
            Ok(_) => refused(&good, &Trust::SystemRoots, "no CA that is trusted here").await,
            Err(error) => assert!(matches!(error, TrustError::NoSystemRoots)),
        }
    }

    #[test]
    fn unusable_files_are_named() {
        let ca = authority("ca");
        let leaves = [server(&ca, "a", false), server(&ca, "b", false)];
        let check = |trust: &Trust, says: &str| {
            let error = FirstContact::new(trust).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check(&Trust::CaFile("/nowhere/ca.pem".into()), "/nowhere/ca.pem can't be read");
        let (_empty, trust) = file(&[]);
        check(&trust, "is unusable");
        let (_kept, trust) = file(&[&leaves[0].chain[0], &leaves[1].chain[0]]);
        check(&trust, "none of them is a CA's");
        let (damaged, trust) = file(&[ca.der(), &CertificateDer::from(vec![0x30, 1, 5])]);
        check(&trust, "certificate 2 of ");
        drop(damaged);
    }
}
