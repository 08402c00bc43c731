//! TLS towards the server: plain for enrollment and rotation, mutual for gRPC.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, SignatureScheme};

use crate::pem;
use crate::tls::provider::provider;
use crate::tls::server_verifier::{FirstContact, TrustError};

/// TLS 1.2 or 1.3 without a client certificate. Sessions are never resumed: each connection verifies anew.
pub fn https_client(server: Arc<FirstContact>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// TLS 1.2 or 1.3 towards a receiver of events, which the system's roots vouch for, or the certificates of a PEM text.
pub fn receiver_client(ca_pem: Option<&str>) -> Result<ClientConfig, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(text) => {
            let certificates = pem::file::certificates(text.as_bytes()).map_err(TrustError::NotPemText)?;
            roots.add_parsable_certificates(certificates.into_iter().map(CertificateDer::from));
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(TrustError::NoSystemRoots);
    }
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// TLS 1.3 and HTTP/2 with the client certificate that `identity` holds at the time of each handshake. Sessions
/// are never resumed: a resumed one would go on under the identity it began with.
pub fn grpc_client(server: Arc<FirstContact>, identity: Arc<LiveIdentity>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider supports TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(server)
        .with_client_cert_resolver(identity);
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// The client certificate in use, replaceable while connections are made.
pub struct LiveIdentity(RwLock<Arc<CertifiedKey>>);

impl LiveIdentity {
    pub fn new(identity: CertifiedKey) -> Self {
        Self(RwLock::new(Arc::new(identity)))
    }

    /// From now on handshakes present `identity`; open connections keep what they have shown.
    pub fn replace(&self, identity: CertifiedKey) {
        *self.0.write() = Arc::new(identity);
    }
}

/// Pairs a certificate chain, leaf first, with its private key. A key that is not the leaf's is an error.
pub fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Error> {
    CertifiedKey::from_der(chain, key, &provider())
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for LiveIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveIdentity([key])")
    }
}
