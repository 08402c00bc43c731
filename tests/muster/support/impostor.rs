//! A TLS server that is not Muster: it presents what a test gives it and writes down what it is told.

use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::keys;

/// Runs until the test's runtime ends.
#[derive(Debug)]
pub struct Impostor {
    pub url: String,
    pub ca_pem: String,
    pub ca_pin: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Impostor {
    /// Presents a certificate for `name`, issued by a CA of its own that it sends along.
    pub async fn named(name: &str) -> Self {
        let Certified { tls, ca_pem, ca_pin } = certified(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(listen(listener, tls, Arc::clone(&heard)));
        Self { url, ca_pin, ca_pem, heard }
    }

    /// Everything that clients have said inside TLS.
    pub fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock()).into_owned()
    }
}

/// What a TLS server presents, and the CA that vouches for it.
pub struct Certified {
    pub tls: TlsAcceptor,
    pub ca_pem: String,
    pub ca_pin: String,
}

/// A certificate for `name`, issued by a CA of its own that is sent along.
pub fn certified(name: &str) -> Certified {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "another CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::from_ca_cert_der(ca.der(), ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![leaf.der().clone(), ca.der().clone()];
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(tls));
    Certified { tls, ca_pin: keys::fingerprint(ca.der()), ca_pem: ca.pem() }
}

async fn listen(listener: TcpListener, tls: TlsAcceptor, heard: Arc<Mutex<Vec<u8>>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, heard) = (tls.clone(), Arc::clone(&heard));
        tokio::spawn(async move {
            let Ok(mut stream) = tls.accept(tcp).await else { return };
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                heard.lock().extend_from_slice(&buffer[..length]);
            }
        });
    }
}
