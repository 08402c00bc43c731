//! A small real server for the agent's tests: an agent CA, the enrollment endpoints over TLS, and the gRPC
//! service over mutual TLS, each on a port of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::time::ASN1Time;

use crate::agent::connect::server_url::ServerUrl;
use crate::domain::identity::serial::Serial;
use crate::domain::network::pin::Pin;
use crate::grpc::proto::agent_service_server::{AgentService, AgentServiceServer};
use crate::grpc::proto::{
    HeartbeatRequest, HeartbeatResponse, HostEvent, RenewRequest, RenewResponse, ReportRequest,
    ReportResponse, SessionRequest, SessionResponse, SignJwtRequest, SignJwtResponse, TrustUpdate,
    WatchTrustRequest, session_request, session_response,
};
use crate::pem;
use crate::svid::Svid;
use crate::tls::provider::provider;

pub(crate) const TENANT: &str = "01890000-0000-7000-8000-000000000000";
pub(crate) const HOST: &str = "01890000-0000-7000-8000-000000000001";
/// How often agents report to this server.
pub(crate) const HEARTBEAT_MS: u32 = 100;

/// An agent CA with one intermediate.
pub(crate) struct TestCa {
    root: CertifiedIssuer<'static, KeyPair>,
    issuing: CertifiedIssuer<'static, KeyPair>,
    pub intermediate: String,
}

pub(crate) struct TestIssued {
    pub certificate: String,
    pub serial: Serial,
    pub spiffe_id: String,
    pub issued_at: Timestamp,
    pub not_after: Timestamp,
}

impl TestCa {
    pub(crate) fn new() -> Self {
        let params = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(params("root"), key()).unwrap();
        let issuing = CertifiedIssuer::signed_by(params("intermediate"), key(), &root).unwrap();
        let intermediate = issuing.pem();
        Self { root, issuing, intermediate }
    }

    pub(crate) fn root(&self) -> String {
        self.root.pem()
    }

    pub(crate) fn issue(&self, public_key: &[u8], agent: &str, lifetime: SignedDuration) -> TestIssued {
        self.issue_shaped(public_key, agent, lifetime, |_| {})
    }

    pub(crate) fn issue_shaped(
        &self,
        public_key: &[u8],
        agent: &str,
        lifetime: SignedDuration,
        shape: impl FnOnce(&mut CertificateParams),
    ) -> TestIssued {
        let issued_at = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap();
        let not_after = Timestamp::from_second((issued_at + lifetime).as_second()).unwrap();
        let mut entropy = [0; 10];
        aws_lc_rs::rand::fill(&mut entropy).unwrap();
        let serial = Serial::new(issued_at, entropy);
        let spiffe_id = format!("spiffe://muster/tenant/{TENANT}/agent/{agent}");
        let time = |at: Timestamp| ASN1Time::from_timestamp(at.as_second()).unwrap().to_datetime();
        let mut params = CertificateParams::default();
        params.not_before = time(issued_at - SignedDuration::from_mins(5));
        params.not_after = time(not_after);
        params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![SanType::URI(spiffe_id.clone().try_into().unwrap())];
        shape(&mut params);
        let key = SubjectPublicKeyInfo::from_der(public_key).unwrap();
        let certificate = params.signed_by(&key, &self.issuing).unwrap().pem();
        TestIssued { certificate, serial, spiffe_id, issued_at, not_after }
    }

    /// The body of a good answer.
    pub(crate) fn answer(&self, issued: &TestIssued, grpc_addr: Option<SocketAddr>) -> Value {
        json!({
            "agent_id": issued.spiffe_id.rsplit('/').next(),
            "host_id": HOST,
            "tenant_id": TENANT,
            "spiffe_id": issued.spiffe_id,
            "certificate": issued.certificate,
            "intermediate": self.intermediate,
            "trust_bundle": self.root(),
            "server_ca": null,
            "grpc_addr": grpc_addr.map(|addr| addr.to_string()),
            "serial": issued.serial,
            "issued_at": issued.issued_at,
            "not_after": issued.not_after,
        })
    }
}

/// An answer: status, content type, body.
pub(crate) type Reply = (u16, &'static str, Vec<u8>);

/// Statuses of replies that never arrive: the way breaks, or nothing comes.
pub(crate) const LOST: u16 = 0;
pub(crate) const SILENCE: u16 = 1;

pub(crate) fn problem(status: u16, code: &str) -> Reply {
    let body = json!({"status": status, "code": code, "detail": format!("because {code}")});
    (status, "application/problem+json", serde_json::to_vec(&body).unwrap())
}

/// What happens to a reply before it is sent.
pub(crate) type Twist = Box<dyn Fn(&TestServer, &Value, Reply) -> Reply + Send + Sync>;

/// The server, its knobs, and what it has seen.
pub(crate) struct TestServer {
    pub ca: TestCa,
    pub url: ServerUrl,
    /// The certificates it shows; the server's own, then the CA's.
    pub chain: Vec<CertificateDer<'static>>,
    pub grpc_addr: SocketAddr,
    pub knobs: Mutex<Knobs>,
    pub seen: Mutex<Seen>,
}

pub(crate) struct Knobs {
    pub lifetime: SignedDuration,
    pub twist: Option<Twist>,
    /// Sessions of these certificates are refused.
    pub denied: Vec<Serial>,
    /// Whether rotations are taken over sessions, too.
    pub renews: bool,
    /// What reports are answered with, if not with a yes.
    pub report_refusal: Option<tonic::Code>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// Renewals that were asked for while there were none.
    pub renewals_unknown: usize,
    /// Path and body of every request; a renewal has the path `Renew`.
    pub requests: Vec<(String, Value)>,
    issued: HashMap<Vec<u8>, Vec<u8>>,
    /// Sessions that are or were open, oldest first.
    pub sessions: Vec<TestSession>,
    pub heartbeats: Vec<HeartbeatRequest>,
    pub reported: Vec<HostEvent>,
}

pub(crate) struct TestSession {
    pub serial: Serial,
    pub open: bool,
    pub down: mpsc::Sender<Result<SessionResponse, Status>>,
}

impl TestServer {
    pub(crate) async fn start() -> Arc<Self> {
        Self::start_named("localhost").await
    }

    pub(crate) async fn start_named(name: &str) -> Arc<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let server_ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = [name.to_owned(), "127.0.0.1".to_owned()];
        let names = if name == "localhost" { names.to_vec() } else { names[..1].to_vec() };
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &server_ca).unwrap();
        let chain = vec![leaf.der().clone(), server_ca.der().clone()];

        let ca = TestCa::new();
        let https = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(Self {
            url: format!("https://{}", https.local_addr().unwrap()).parse().unwrap(),
            grpc_addr: grpc.local_addr().unwrap(),
            knobs: Mutex::new(Knobs {
                lifetime: SignedDuration::from_hours(24),
                twist: None,
                denied: Vec::new(),
                renews: false,
                report_refusal: None,
            }),
            seen: Mutex::default(),
            chain: chain.clone(),
            ca,
        });
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let plain = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key())
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(server.ca.root.der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider()).build().unwrap();
        let mut mutual = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key())
            .unwrap();
        mutual.alpn_protocols = vec![b"h2".to_vec()];
        tokio::spawn(serve_https(https, TlsAcceptor::from(Arc::new(plain)), Arc::clone(&server)));
        tokio::spawn(serve_grpc(grpc, TlsAcceptor::from(Arc::new(mutual)), Arc::clone(&server)));
        server
    }

    pub(crate) fn pin(&self) -> Pin {
        Pin::of(&self.chain[1])
    }

    pub(crate) fn server_ca(&self) -> String {
        pem::certificate(&self.chain[1])
    }

    pub(crate) fn twist(&self, twist: impl Fn(&Self, &Value, Reply) -> Reply + Send + Sync + 'static) {
        self.knobs.lock().twist = Some(Box::new(twist));
    }

    pub(crate) fn untwist(&self) {
        self.knobs.lock().twist = None;
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().requests.len()
    }

    pub(crate) fn open_sessions(&self) -> Vec<Serial> {
        let seen = self.seen.lock();
        seen.sessions.iter().filter(|session| session.open).map(|session| session.serial).collect()
    }

    pub(crate) async fn say(&self, message: session_response::Message) {
        let down = self.seen.lock().sessions.iter().rev().find(|s| s.open).unwrap().down.clone();
        down.send(Ok(SessionResponse { message: Some(message) })).await.unwrap();
    }

    /// A good answer, the same one for the same key.
    fn reply(&self, path: &str, body: &Value) -> Reply {
        let key = public_key(body["csr"].as_str().unwrap());
        let kept = self.seen.lock().issued.get(&key).cloned();
        let lifetime = self.knobs.lock().lifetime;
        let answer = kept.unwrap_or_else(|| {
            let issued = self.ca.issue(&key, "web-1", lifetime);
            serde_json::to_vec(&self.ca.answer(&issued, Some(self.grpc_addr))).unwrap()
        });
        self.seen.lock().issued.insert(key, answer.clone());
        let status = if path == "/enroll/agent" { 201 } else { 200 };
        (status, "application/json", answer)
    }

    async fn handle(self: Arc<Self>, path: String, body: Vec<u8>) -> axum::response::Response {
        let (status, kind, text) = self.decide(&path, &serde_json::from_slice(&body).unwrap());
        axum::response::Response::builder()
            .status(status)
            .header("content-type", kind)
            .body(axum::body::Body::from(text))
            .unwrap()
    }

    fn decide(&self, path: &str, body: &Value) -> Reply {
        self.seen.lock().requests.push((path.to_owned(), body.clone()));
        let good = self.reply(path, body);
        let twist = self.knobs.lock().twist.take();
        let reply = match &twist {
            Some(twist) => twist(self, body, good),
            None => good,
        };
        let mut knobs = self.knobs.lock();
        if knobs.twist.is_none() {
            knobs.twist = twist;
        }
        reply
    }
}

/// The key that a request in PEM asks a certificate for.
pub(crate) fn public_key(csr: &str) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(csr.as_bytes()).unwrap();
    let (_, csr) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    csr.verify_signature().unwrap();
    csr.certification_request_info.subject_pki.raw.to_vec()
}

async fn serve_https(listener: TcpListener, acceptor: TlsAcceptor, server: Arc<TestServer>) {
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri, body: axum::body::Bytes| {
        Arc::clone(&server).handle(uri.path().to_owned(), body.to_vec())
    });
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(tls), TowerToHyperService::new(router)).await;
        });
    }
}

async fn serve_grpc(listener: TcpListener, acceptor: TlsAcceptor, server: Arc<TestServer>) {
    let (accepted, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
            tokio::spawn(async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = accepted.send(Ok::<_, std::io::Error>(tls)).await;
                }
            });
        }
    });
    tonic::transport::Server::builder()
        .add_service(AgentServiceServer::new(TestAgentService(server)))
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

struct TestAgentService(Arc<TestServer>);

/// The answer of HTTPS in the words of gRPC.
fn renewed(answer: &Value) -> RenewResponse {
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let texts = |name: &str| {
        let texts = answer[name].as_array().into_iter().flatten();
        texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let required = |name: &str| text(name).unwrap_or_default();
    RenewResponse {
        agent_id: required("agent_id"),
        host_id: required("host_id"),
        tenant_id: required("tenant_id"),
        spiffe_id: required("spiffe_id"),
        certificate: required("certificate"),
        intermediate: required("intermediate"),
        trust_bundle: required("trust_bundle"),
        server_ca: text("server_ca"),
        grpc_addr: text("grpc_addr"),
        servers: texts("servers"),
        grpc_addrs: texts("grpc_addrs"),
        serial: required("serial"),
        issued_at: required("issued_at"),
        not_after: required("not_after"),
    }
}

#[tonic::async_trait]
impl AgentService for TestAgentService {
    async fn heartbeat(&self, _: Request<HeartbeatRequest>) -> Result<Response<HeartbeatResponse>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let mut requests = request.into_inner();
        let mut events = Vec::new();
        while let Some(request) = requests.message().await? {
            events.extend(request.event);
        }
        if let Some(code) = self.0.knobs.lock().report_refusal {
            return Err(Status::new(code, "not now"));
        }
        let accepted = events.len().try_into().unwrap();
        self.0.seen.lock().reported.extend(events);
        Ok(Response::new(ReportResponse { accepted }))
    }

    type WatchTrustStream = ReceiverStream<Result<TrustUpdate, Status>>;

    async fn watch_trust(
        &self,
        _: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        if !self.0.knobs.lock().renews {
            self.0.seen.lock().renewals_unknown += 1;
            return Err(Status::unimplemented("sessions only"));
        }
        let csr = pem::encode("CERTIFICATE REQUEST", &request.into_inner().csr);
        let (status, _, text) = self.0.decide("Renew", &json!({"csr": csr, "over": "session"}));
        if status == SILENCE {
            std::future::pending::<()>().await;
        }
        let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
        match status {
            LOST => Err(Status::unavailable("the connection broke")),
            200 => Ok(Response::new(renewed(&answer))),
            _ => {
                let code = answer["code"].as_str().unwrap().parse().unwrap();
                Err(crate::grpc::status::status(code, answer["detail"].as_str().unwrap()))
            }
        }
    }

    async fn sign_jwt(&self, _: Request<SignJwtRequest>) -> Result<Response<SignJwtResponse>, Status> {
        Err(Status::unimplemented("sessions only"))
    }

    type SessionStream = ReceiverStream<Result<SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let certificates = request.peer_certs().unwrap();
        let serial = Svid::from_der(&certificates[0]).unwrap().serial;
        if self.0.knobs.lock().denied.contains(&serial) {
            return Err(Status::permission_denied("revoked"));
        }
        let (down, messages) = mpsc::channel(16);
        let number = {
            let mut seen = self.0.seen.lock();
            seen.sessions.push(TestSession { serial, open: true, down: down.clone() });
            seen.sessions.len() - 1
        };
        let server = Arc::clone(&self.0);
        let mut up = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(SessionRequest { message: Some(message) })) = up.message().await {
                let session_request::Message::Heartbeat(heartbeat) = message;
                server.seen.lock().heartbeats.push(heartbeat);
                let answer = HeartbeatResponse {
                    next_interval_ms: HEARTBEAT_MS,
                    server_time_ms: Timestamp::now().as_millisecond(),
                    reconnect_within_ms: 0,
                };
                let message = Some(session_response::Message::Heartbeat(answer));
                let _ = down.send(Ok(SessionResponse { message })).await;
            }
            let closed = mpsc::channel(1).0;
            let session = &mut server.seen.lock().sessions[number];
            session.open = false;
            session.down = closed;
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}
