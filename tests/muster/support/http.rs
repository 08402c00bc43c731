//! An HTTPS client that trusts one CA, and a raw one for requests that no client would send.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::keys;
use super::wait::PATIENCE;

#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    tls: Arc<ClientConfig>,
    /// What clones of this have done: method and path of each request that was a success.
    done: Arc<Mutex<Vec<(String, String)>>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    call: String,
}

/// What a TLS client needs that trusts `ca` (PEM) and nothing else.
pub fn trusting(ca: &str) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    for der in keys::certificates(ca) {
        roots.add(CertificateDer::from(der)).unwrap();
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

fn requester(tls: &ClientConfig, from: Option<IpAddr>) -> reqwest::Client {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .local_address(from)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

impl Http {
    pub fn new(url: &str, ca: &str) -> Self {
        let tls = Arc::new(trusting(ca).with_no_client_auth());
        let base = url.trim_end_matches('/').to_owned();
        Self { client: requester(&tls, None), base, tls, done: Arc::default() }
    }

    /// The same from another address of this machine.
    pub fn at_address(&self, client: IpAddr) -> Self {
        Self { client: requester(&self.tls, Some(client)), ..self.clone() }
    }

    pub async fn send(&self, method: &str, path: &str, content_type: Option<&str>, body: Vec<u8>) -> Answer {
        let outcome = self.try_send(method, path, content_type, body).await;
        outcome.unwrap_or_else(|e| panic!("{method} {path}: {e:?}"))
    }

    /// `None` when the server is gone before its answer is complete.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<Answer> {
        let body = body.to_string().into_bytes();
        self.try_send("POST", path, Some("application/json"), body).await.ok()
    }

    async fn try_send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let headers: Vec<_> =
            content_type.map(|kind| ("content-type".to_owned(), kind.to_owned())).into_iter().collect();
        self.exchange(method, path, &headers, body).await
    }

    /// Any request with any headers. The body of an answer that never ends is not waited for.
    pub async fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let answer = self.request(method, path, headers, body).send().await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { Vec::new() } else { answer.bytes().await?.to_vec() };
        if (200..300).contains(&status) {
            self.done.lock().push((method.to_owned(), path.to_owned()));
        }
        Ok(Answer { status, headers, body, call: format!("{method} {path}") })
    }

    /// A request that has not been sent yet, for answers that are read piece by piece.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> reqwest::RequestBuilder {
        let verb = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(verb, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if body.is_empty() { request } else { request.body(body) }
    }

    /// Method and path of each request of this client and its clones that was a success.
    pub fn done(&self) -> Vec<(String, String)> {
        self.done.lock().clone()
    }

    /// Where this client's server is, as an `Origin` header names it.
    pub fn origin(&self) -> &str {
        &self.base
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    /// JSON by its label, whatever the text is.
    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, Some("application/json"), body.as_bytes().to_vec()).await
    }

    /// Sends bytes over TLS and returns what comes back until the server closes or `patience` is over.
    pub async fn raw(&self, request: &[u8], patience: Duration) -> Vec<u8> {
        let mut stream = self.open().await;
        let mut received = Vec::new();
        // A server that answers early may close while the request is still being written.
        drop(stream.write_all(request).await);
        drop(tokio::time::timeout(patience, stream.read_to_end(&mut received)).await);
        received
    }

    /// A TLS connection on which nothing has been said yet.
    pub async fn open(&self) -> TlsStream<TcpStream> {
        self.open_from(Ipv4Addr::UNSPECIFIED.into()).await.unwrap()
    }

    /// The same from another address of this machine; an error when the server does not want it.
    pub async fn open_from(&self, client: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let address: SocketAddr = self.base.strip_prefix("https://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((client, 0).into()).unwrap();
        let tcp = socket.connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await
    }
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(HeaderValue::to_str).and_then(Result::ok)
    }

    /// Demands this status and returns the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self}");
        self.json()
    }

    /// Demands a problem (RFC 9457) with this status and code and returns it.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "expected {status} {code}: {self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self}");
        assert_eq!(problem["status"], status, "{self}");
        assert!(problem["title"].is_string(), "{self}");
        problem
    }

    /// What it says, but for the name of the request, of which each has another.
    pub fn said(&self) -> Value {
        let mut said = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        if let Some(members) = said.as_object_mut() {
            members.remove("request_id");
        }
        said
    }

    /// The `code` of a problem, for tests that allow several.
    pub fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body)
            .ok()
            .and_then(|problem| problem["code"].as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} → {} {:?}\n{body}", self.call, self.status, self.headers)
    }
}
