//! An agent's gRPC client with any identity a test wants to present.
//!
//! TLS session resumption is left on and the configuration is reused for every handshake of a peer: a server that
//! let a revoked peer resume would be caught here, and would go unnoticed with a fresh configuration each time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use muster::grpc::proto::agent_service_client::AgentServiceClient;
use muster::grpc::proto::{
    HeartbeatRequest, HeartbeatResponse, HostEvent, HostFacts, ReportRequest, SessionRequest,
    SessionResponse, TrustUpdate, WatchTrustRequest, session_request, session_response,
};
use parking_lot::Mutex;
use prost::bytes::{Buf, BufMut};
use rcgen::KeyPair;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, HandshakeKind};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Response, Status, Streaming};

use super::http::trusting;
use super::wait::PATIENCE;

/// One identity, one TLS configuration, many connections.
#[derive(Debug, Clone)]
pub struct Peer {
    address: String,
    tls: Arc<ClientConfig>,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

/// An open connection. It never reconnects by itself: once broken, it stays broken.
#[derive(Debug, Clone)]
pub struct Connection {
    client: AgentServiceClient<Channel>,
    channel: Channel,
}

/// A live session: reports go up, what the server says comes down.
#[derive(Debug)]
pub struct Session {
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<SessionResponse>,
    /// What came before the answer to the first report.
    early: VecDeque<SessionResponse>,
}

impl Peer {
    /// Presents the chain as it is, whatever it is.
    pub fn new(address: &str, server_ca: &str, chain: &[Vec<u8>], key: &KeyPair) -> Self {
        let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = any_supported_type(&key).unwrap();
        // The usual way in would not take a chain that rustls can't read.
        let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
        Self::with(address, trusting(server_ca).with_client_cert_resolver(Arc::new(shown)))
    }

    /// A client that presents no certificate.
    pub fn anonymous(address: &str, server_ca: &str) -> Self {
        Self::with(address, trusting(server_ca).with_no_client_auth())
    }

    fn with(address: &str, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { address: address.to_owned(), tls: Arc::new(tls), handshakes: Arc::default() }
    }

    /// Opens a connection. In TLS 1.3 a refused certificate may show only at the first request.
    pub async fn connect(&self) -> Result<Connection, tonic::transport::Error> {
        self.connect_by(|endpoint| endpoint.timeout(PATIENCE)).await
    }

    /// The same, of a client that takes the heads of answers and nothing else: the window of each stream is zero (RFC 9113
    /// 6.9.2).
    pub async fn connect_taking_nothing(&self) -> Result<Connection, tonic::transport::Error> {
        self.connect_by(|endpoint| endpoint.initial_stream_window_size(0)).await
    }

    async fn connect_by(
        &self,
        settings: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Connection, tonic::transport::Error> {
        let endpoint = settings(Endpoint::from_shared(format!("http://{}", self.address)).unwrap());
        let (address, tls, handshakes) =
            (self.address.clone(), Arc::clone(&self.tls), Arc::clone(&self.handshakes));
        let used = Arc::new(Mutex::new(false));
        let connector = tower::service_fn(move |_: Uri| {
            let (address, tls, handshakes) = (address.clone(), Arc::clone(&tls), Arc::clone(&handshakes));
            let again = std::mem::replace(&mut *used.lock(), true);
            async move {
                if again {
                    return Err(std::io::Error::other("this connection was closed by the server"));
                }
                let tcp = TcpStream::connect(&address).await?;
                let host = address.rsplit_once(':').unwrap().0.to_owned();
                let name = ServerName::try_from(host).unwrap();
                let stream = TlsConnector::from(tls).connect(name, tcp).await?;
                handshakes.lock().extend(stream.get_ref().1.handshake_kind());
                Ok(TokioIo::new(stream))
            }
        });
        let channel = endpoint.connect_with_connector(connector).await?;
        Ok(Connection { client: AgentServiceClient::new(channel.clone()), channel })
    }

    /// Connects and reports once.
    pub async fn reports(&self) -> Result<HeartbeatResponse, String> {
        let mut connection = self.connect().await.map_err(|e| format!("{e:?}"))?;
        connection.heartbeat().await.map_err(|status| format!("{status:?}"))
    }

    /// Demands that a new connection gets nothing done.
    #[track_caller]
    pub fn assert_refused(&self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let this = self.clone();
        async move {
            let outcome = this.reports().await;
            assert!(outcome.is_err(), "{caller}: a refused peer got {outcome:?}");
        }
    }

    /// Demands that every handshake so far was a full one.
    #[track_caller]
    pub fn assert_never_resumed(&self) {
        let kinds = self.handshakes.lock();
        assert!(!kinds.is_empty() && !kinds.contains(&HandshakeKind::Resumed), "{kinds:?}");
    }
}

impl Connection {
    /// For calls that only one topic makes.
    pub fn client(&mut self) -> &mut AgentServiceClient<Channel> {
        &mut self.client
    }

    pub async fn heartbeat(&mut self) -> Result<HeartbeatResponse, Status> {
        self.report(facts("web-1")).await
    }

    pub async fn report(&mut self, facts: HostFacts) -> Result<HeartbeatResponse, Status> {
        let request = HeartbeatRequest { facts: Some(facts), ..HeartbeatRequest::default() };
        self.client.heartbeat(request).await.map(tonic::Response::into_inner)
    }

    /// Reports events for the host's history; how many were taken.
    pub async fn tell(&mut self, events: Vec<HostEvent>) -> Result<u32, Status> {
        let requests = events.into_iter().map(|event| ReportRequest { event: Some(event) });
        self.tell_all(tokio_stream::iter(requests.collect::<Vec<_>>())).await
    }

    /// The same with whatever messages.
    pub async fn tell_all(
        &mut self,
        requests: impl tokio_stream::Stream<Item = ReportRequest> + Send + 'static,
    ) -> Result<u32, Status> {
        self.client.report(requests).await.map(|answer| answer.into_inner().accepted)
    }

    /// Watches trust.
    pub async fn watch(&mut self, request: WatchTrustRequest) -> Result<Streaming<TrustUpdate>, Status> {
        // A watch stays open, unlike what else this connection does.
        self.client.watch_trust(request).await.map(Response::into_inner)
    }

    /// Sends octets that need not be a message as the one message of a call.
    pub async fn send_octets(&self, method: &'static str, octets: Vec<u8>) -> Result<(), Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(method);
        let once = tokio_stream::once(octets);
        client.client_streaming(Request::new(once), path, Octets).await.map(|_: Response<()>| ())
    }

    /// Opens a session and waits for the answer to its first report.
    pub async fn session(&mut self) -> Result<Session, Status> {
        let (up, reports) = mpsc::channel(8);
        up.send(report(facts("web-1"))).await.unwrap();
        let mut down = self.client.session(ReceiverStream::new(reports)).await?.into_inner();
        let mut early = VecDeque::new();
        loop {
            let next = tokio::time::timeout(PATIENCE, down.message()).await;
            match next.map_err(|_| Status::deadline_exceeded("no answer to the first report"))?? {
                Some(SessionResponse { message: Some(session_response::Message::Heartbeat(_)) }) | None => {
                    break;
                }
                Some(other) => early.push_back(other),
            }
        }
        Ok(Session { up, down, early })
    }
}

impl Session {
    pub async fn report(&self) {
        self.up.send(report(facts("web-1"))).await.unwrap();
    }

    /// What the server says next; `None` when it has ended the session in good order.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<SessionResponse>, Status> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
        let next = tokio::time::timeout(patience, self.down.message()).await;
        next.map_err(|_| Status::deadline_exceeded("the server said nothing"))?
    }

    /// Reads on until the server ends the session, and says how it did.
    pub async fn end(&mut self, patience: Duration) -> Result<(), Status> {
        while self.next(patience).await?.is_some() {}
        Ok(())
    }
}

/// Octets up, anything down.
#[derive(Debug, Default)]
struct Octets;

impl Codec for Octets {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Octets {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Octets {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        from.advance(from.remaining());
        Ok(Some(()))
    }
}

pub fn facts(hostname: &str) -> HostFacts {
    HostFacts {
        hostname: hostname.to_owned(),
        os: "Debian 12".to_owned(),
        arch: "x86_64".to_owned(),
        ips: vec!["10.0.0.5".to_owned()],
        machine_id: "0123456789abcdef0123456789abcdef".to_owned(),
        agent_version: "0.1.0".to_owned(),
    }
}

fn report(facts: HostFacts) -> SessionRequest {
    let heartbeat = HeartbeatRequest { facts: Some(facts), ..HeartbeatRequest::default() };
    SessionRequest { message: Some(session_request::Message::Heartbeat(heartbeat)) }
}
