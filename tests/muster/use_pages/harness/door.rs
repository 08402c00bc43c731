//! A TLS port that lets agents in, and what comes of knocking at it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::anybody::trusting_anybody;
use super::backend::WELCOME;
use super::cast::Visitor;
use super::entrance::{Entrance, Outcome};
use super::stage::Stage;
use crate::support::http::trusting;
use crate::support::ports::free_port;
use crate::support::wait::{PATIENCE, until_answered};

/// What the pages protect.
pub const APP: &str = "app.example.org";

/// Where a program of the page listens, and the certificate by which it is known.
#[derive(Debug, Clone)]
pub struct Door {
    pub port: u16,
    /// The name that clients ask for.
    pub name: String,
    pub ca: Ca,
}

/// Whom callers take for the program of the page.
#[derive(Debug, Clone)]
pub enum Ca {
    /// Whoever has a certificate of these.
    Of(String),
    /// Whoever answers: it is known by another name than TLS's, and callers of the tests have nothing to lose.
    Any,
}

/// Somebody before the door, who comes back with the TLS sessions of before.
pub struct Caller {
    door: Door,
    tls: Arc<ClientConfig>,
}

/// Somebody who asks again and again, on as few connections as the door allows.
pub struct Visit {
    who: &'static str,
    caller: Caller,
    standing: Option<Connection>,
}

/// A connection that stays open between requests.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    host: String,
    /// The program has said that it will close it. Envoy takes a second for that, in which it answers nothing.
    closing: bool,
}

impl Door {
    /// On a free port, with a certificate for `app.example.org`, here `localhost`, as `/etc/ssl/app.example.org.{crt,key,pem}`, the last with
    /// both, which the machine trusts.
    pub fn on(stage: &Stage) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([APP.to_owned(), "localhost".to_owned()]).unwrap();
        let (ca, key) = (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem());
        let place = |end: &str| format!("/etc/ssl/{APP}.{end}");
        stage.write(&place("crt"), &ca);
        stage.write(&place("key"), &key);
        stage.write(&place("pem"), &(ca.clone() + &key));
        stage.write("/etc/ssl/certs/ca-certificates.crt", &ca);
        Self { port: free_port(), name: APP.to_owned(), ca: Ca::Of(ca) }
    }

    pub fn caller(&self, who: &Visitor) -> Caller {
        let tls = match &self.ca {
            Ca::Of(ca) => trusting(ca),
            Ca::Any => trusting_anybody(),
        };
        let tls = match &who.shows {
            Some((chain, key)) => {
                let chain = chain.iter().cloned().map(CertificateDer::from).collect();
                tls.with_client_auth_cert(chain, PrivateKeyDer::try_from(key.clone()).unwrap()).unwrap()
            }
            None => tls.with_no_client_auth(),
        };
        Caller { door: self.clone(), tls: Arc::new(tls) }
    }

    /// Somebody who asks more than once.
    pub fn visit(&self, who: &Visitor) -> Visit {
        Visit { who: who.name, caller: self.caller(who), standing: None }
    }

    /// A request with headers of the visitor's own.
    pub async fn knock_with(&self, who: &Visitor, headers: &[(&str, &str)]) -> Outcome {
        self.caller(who).knock(headers).await.0
    }
}

impl Entrance for Door {
    async fn knock(&self, who: &Visitor) -> Outcome {
        self.knock_with(who, &[]).await
    }
}

impl Visit {
    /// A request on the connection of before, where it has not been closed, and where it has on a new one.
    pub async fn ask(&mut self, headers: &[(&str, &str)]) -> Outcome {
        let asking = async {
            if let Some(mut standing) = self.standing.take() {
                let outcome = standing.ask(headers).await;
                if !matches!(outcome, Outcome::Closed(_)) {
                    self.standing = Some(standing);
                    return outcome;
                }
            }
            match self.caller.connect().await {
                Ok(standing) => self.standing.insert(standing).ask(headers).await,
                Err(e) => Outcome::Closed(e.to_string()),
            }
        };
        let outcome = tokio::time::timeout(PATIENCE, asking).await.expect("an answer or an end");
        self.standing.take_if(|standing| standing.closing);
        outcome
    }

    /// Demands that a request is refused.
    pub async fn is_refused(&mut self, headers: &[(&str, &str)]) {
        let outcome = self.ask(headers).await;
        assert!(!outcome.is_let_in(), "{} came in with {headers:?}", self.who);
    }
}

impl Caller {
    /// One who would like to speak this (RFC 7301).
    pub fn with_protocol(mut self, name: &str) -> Self {
        Arc::make_mut(&mut self.tls).alpn_protocols = vec![name.into()];
        self
    }

    /// A connection on which nothing has been said.
    pub async fn dial(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.door.port))).await?;
        let name = ServerName::try_from(self.door.name.clone()).unwrap();
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await
    }

    pub async fn connect(&self) -> std::io::Result<Connection> {
        Ok(Connection { stream: self.dial().await?, host: self.door.name.clone(), closing: false })
    }

    /// One request, and whether the TLS session of an earlier one was resumed.
    pub async fn knock(&self, headers: &[(&str, &str)]) -> (Outcome, bool) {
        let knocking = async {
            let mut connection = match self.connect().await {
                Ok(connection) => connection,
                Err(e) => return (Outcome::Closed(e.to_string()), false),
            };
            let outcome = connection.ask(headers).await;
            (outcome, connection.is_resumed())
        };
        tokio::time::timeout(PATIENCE, knocking).await.expect("an answer or an end")
    }
}

impl Caller {
    /// Waits until its sessions of before don't get it in any more. A reload takes a moment in which old and new listen.
    pub async fn is_shut_out(&self) {
        let refused = async || (!self.knock(&[]).await.0.is_let_in()).then_some(());
        until_answered("a session of before is refused", refused).await;
    }
}

impl Connection {
    /// Waits until what stands is refused, too.
    pub async fn comes_to_an_end(mut self) {
        let refused = async || (!self.ask(&[]).await.is_let_in()).then_some(());
        until_answered("a connection of before is refused", refused).await;
    }

    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// A request; the headers go as they are, any name as often as it is there.
    pub async fn ask(&mut self, headers: &[(&str, &str)]) -> Outcome {
        let mut request = format!("GET / HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        match self.exchange(request.as_bytes()).await {
            Ok((200, body)) if body == WELCOME => Outcome::LetIn,
            Ok((status, _)) => Outcome::Refused(status),
            Err(e) => Outcome::Closed(e.to_string()),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> std::io::Result<(u16, String)> {
        self.stream.write_all(request).await?;
        let mut received = Vec::new();
        loop {
            if let Some(answer) = answer(&received) {
                let text = String::from_utf8_lossy(&received).to_ascii_lowercase();
                self.closing = text.contains("\r\nconnection: close\r\n");
                return Ok(answer);
            }
            if self.stream.read_buf(&mut received).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Status and body, when all of it is there.
fn answer(received: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(received);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        let named = |line: &str| {
            line.split_once(':')
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, v)| v.trim().to_owned())
        };
        head.lines().find_map(named)
    };
    if field("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        let body = body.strip_suffix("\r\n0\r\n\r\n")?.split_once("\r\n")?.1;
        return Some((status, body.to_owned()));
    }
    let length: usize = field("content-length").map_or(Some(0), |length| length.parse().ok())?;
    (body.len() >= length).then(|| (status, body[..length].to_owned()))
}
