//! A server with somebody's certificate at another's port: what clients send to it, who should send nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::cast::Visitor;

/// Stands there until it leaves.
pub struct Poser {
    heard: Arc<Mutex<Vec<u8>>>,
    callers: Arc<Mutex<usize>>,
    listener: Arc<TcpListener>,
    listening: JoinHandle<()>,
}

impl Poser {
    pub async fn at(port: u16, with: &Visitor) -> Self {
        let (chain, key) = with.shows.clone().expect("a server shows a certificate");
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::try_from(key).unwrap())
            .unwrap();
        let tls = TlsAcceptor::from(Arc::new(tls));
        let listener = Arc::new(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
        let (heard, callers) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (hears, counts) = (Arc::clone(&heard), Arc::clone(&callers));
        let accepts = Arc::clone(&listener);
        let listening = tokio::spawn(async move {
            while let Ok((tcp, _)) = accepts.accept().await {
                *counts.lock() += 1;
                let Ok(mut stream) = tls.accept(tcp).await else { continue };
                let mut received = Vec::new();
                while stream.read_buf(&mut received).await.is_ok_and(|n| n > 0) {}
                hears.lock().append(&mut received);
            }
        });
        Self { heard, callers, listener, listening }
    }

    /// Leaves the port: how many called, and what they said.
    pub async fn leave(self) -> (usize, String) {
        self.listening.abort();
        let _ = self.listening.await;
        // To close it is not enough: a process that another test is just starting has it, too, until it becomes its program.
        shutdown(&self.listener, Shutdown::Read).unwrap();
        let callers = *self.callers.lock();
        (callers, String::from_utf8_lossy(&self.heard.lock()).into_owned())
    }
}
