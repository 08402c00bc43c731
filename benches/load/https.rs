//! A client of the HTTPS listener that costs little: requests are written as they were prepared, and of an
//! answer nothing is understood but where it ends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a TLS client needs that trusts servers of this CA (PEM) and nobody else.
pub fn trusting(ca: &str) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for them")
        .with_root_certificates(roots)
}

#[derive(Clone)]
pub struct Https {
    address: SocketAddr,
    tls: TlsConnector,
}

/// An open connection.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl Https {
    pub fn new(address: SocketAddr, ca: &str) -> Self {
        let mut tls = trusting(ca).with_no_client_auth();
        // A machine that enrolls has not been here before.
        tls.resumption = Resumption::disabled();
        Self { address, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// Connects from an address of this machine: each has ports of its own, so they don't run out.
    pub async fn connect(&self, from: IpAddr) -> io::Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), tcp).await?;
        Ok(Connection { stream, received: Vec::with_capacity(8 * 1024) })
    }
}

impl Connection {
    /// The status and the body of the answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = whole(&self.received) {
                return Ok(answer);
            }
        }
    }
}

/// A whole answer, once it is there.
fn whole(received: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = memchr::memmem::find(received, b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(received.get(..end)?).ok()?;
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let body = received.get(end..end + length.parse::<usize>().ok()?)?;
    Some((status, body.to_vec()))
}

/// A request as it goes over the wire.
pub fn post(path: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: muster\r\n{headers}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
