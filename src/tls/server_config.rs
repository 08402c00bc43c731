//! The rustls configurations of the two listeners.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};

use crate::tls::client_verifier::PeerVerifier;
use crate::tls::provider::provider;
use crate::tls::server_certificate::LiveCertificate;

/// For people and for enrollment: TLS 1.3 and 1.2, HTTP/2 and HTTP/1.1, no client certificate.
pub fn https_config(certificate: Arc<LiveCertificate>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("the provider has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // The server's order of preference decides, so that an old client can't talk a good one down.
    config.ignore_client_order = true;
    Arc::new(config)
}

/// For agents: TLS 1.3, HTTP/2, and a client certificate that `verifier` accepts.
///
/// A resumed session would skip the verifier, and with it the deny list (RFC 8446 2.2: no certificates are
/// exchanged on resumption). So no session is kept and no ticket is sent; every handshake is a full one.
pub fn grpc_config(certificate: Arc<LiveCertificate>, verifier: Arc<PeerVerifier>) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites for TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}
