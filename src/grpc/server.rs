//! The gRPC listener: the agent service, health and reflection, behind one gate.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use super::gate::Gate;
use super::proto::FILE_DESCRIPTOR_SET;
use super::proto::agent_service_server::AgentServiceServer;
use super::renew::{Renewals, SvidAnswers};
use super::service::{AgentApi, CameFrom, jwt_refused};
use super::status::AgentRefusal;
use super::trust::door::{AgentDoor, TrustDoor};
use super::trust::hub::TrustHub;
use crate::app::App;
use crate::app::insight::fleet::Fleet;
use crate::app::insight::history::History;
use crate::app::issue::jwt_svids::JwtSvids;
use crate::app::trust::feed::TrustFeed;
use crate::clock::Clock;
use crate::domain::identity::deny::DenyList;
use crate::request_id::{RequestId, done_for};
use crate::tls::client_verifier::PeerVerifier;
use crate::tls::listener::accept::{Connection, Listener, ListenerConfig};
use crate::tls::listener::refused::RefusedHandshakes;
use crate::tls::live::{LivePeer, LivePeers};
use crate::tls::server_certificate::LiveCertificate;

/// Largest message in either direction, in bytes. The largest honest one carries a host's facts.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// What the listener stands on.
#[derive(Debug)]
pub struct GrpcDeps {
    pub certificate: Arc<LiveCertificate>,
    pub verifier: Arc<PeerVerifier>,
    /// Where open connections are entered, for revocations to end them.
    pub live: LivePeers,
    /// Where handshakes are counted that were refused.
    pub refused: Arc<RefusedHandshakes>,
    pub deny: DenyList,
    pub fleet: Arc<Fleet>,
    pub history: Arc<History>,
    /// What watchers of trust are told.
    pub trust: TrustFeed,
    pub clock: Arc<dyn Clock>,
    pub heartbeat_interval: SignedDuration,
    /// Agents whose SVIDs were made before this are asked to rotate.
    pub rotations_asked: watch::Receiver<Option<Timestamp>>,
    pub jwt: Arc<JwtSvids>,
    /// For what is judged and recorded in one transaction.
    pub app: Arc<App>,
    /// What agents are answered with their SVIDs.
    pub answers: Arc<dyn SvidAnswers>,
}

/// Serves agents until `shutdown`, and returns when the last connection is closed.
pub async fn serve(listener: TcpListener, deps: GrpcDeps, shutdown: CancellationToken) {
    let GrpcDeps {
        certificate,
        verifier,
        live,
        refused,
        deny,
        fleet,
        history,
        trust,
        clock,
        heartbeat_interval,
        rotations_asked,
        jwt,
        app,
        answers,
    } = deps;
    let counts = app.live_counts.clone();
    let hub = TrustHub::new(trust, Arc::clone(&clock)).counting(counts.trust_watchers);
    let hub = Arc::new(hub);
    let gate = Gate::new(deny, clock).counting(counts.throttled);
    let tokens = Arc::clone(&jwt);
    let watchers = TrustDoor::new(Arc::clone(&hub), gate.clone());
    let api = AgentApi {
        gate: gate.clone(),
        fleet,
        history,
        jwt,
        renewals: Renewals { app, answers },
        live: live.clone(),
        heartbeat_interval,
        rotations_asked,
        farewell_window: Arc::default(),
        shutdown: shutdown.clone(),
    };
    let routes = routes(api, watchers).await;
    let config = ListenerConfig::grpc(certificate, verifier, live).counting(refused);
    let serving = Listener::new(listener, config)
        .serve(move |peer| gated(routes.clone(), gate.clone(), Arc::clone(&tokens), peer), shutdown.clone());
    tokio::join!(serving, hub.run(shutdown));
}

async fn routes(api: AgentApi, watchers: TrustDoor) -> Routes {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<AgentServiceServer<AgentApi>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let agents = AgentServiceServer::new(api)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let well_formed = "the descriptors are compiled in and well-formed";
    Routes::new(AgentDoor { agents, watchers })
        .add_service(health_service.max_decoding_message_size(MESSAGE_BYTES_MAX))
        .add_service(reflection().build_v1().expect(well_formed).max_decoding_message_size(MESSAGE_BYTES_MAX))
        // Clients of the C++ and Python libraries still ask for this version.
        .add_service(
            reflection().build_v1alpha().expect(well_formed).max_decoding_message_size(MESSAGE_BYTES_MAX),
        )
        .prepare()
}

/// The service of one connection: every request passes the gate, whatever method it names.
fn gated(
    routes: Routes,
    gate: Gate,
    tokens: Arc<JwtSvids>,
    connection: Connection,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send> + Send {
    service_fn(move |mut request: Request<Incoming>| {
        let admitted = admitted(&gate, &tokens, connection.peer.as_ref(), request.uri().path()).cloned();
        let (routes, remote) = (routes.clone(), connection.remote.ip());
        async move {
            match admitted {
                Ok(peer) => {
                    request.extensions_mut().insert(peer);
                    request.extensions_mut().insert(CameFrom(remote));
                    done_for(Some(RequestId::fresh()), routes.oneshot(request)).await
                }
                Err(refused) => Ok(refused.into_http()),
            }
        }
    })
}

/// The call that has a pace of its own: an agent serves many programs with it.
const SIGN_JWT: &str = "/muster.agent.v1.AgentService/SignJwt";

fn admitted<'a>(
    gate: &Gate,
    tokens: &JwtSvids,
    peer: Option<&'a Arc<LivePeer>>,
    method: &str,
) -> Result<&'a Arc<LivePeer>, Status> {
    let peer = peer.ok_or(AgentRefusal::NoIdentity)?;
    match method {
        // Here, because a body that can't be read never comes to the use case.
        SIGN_JWT => {
            gate.check(peer.identity())?;
            tokens.take_pace(peer.identity().host()).map_err(|refused| jwt_refused(&refused))?;
        }
        _ => gate.admit(peer.identity())?,
    }
    Ok(peer)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::{Duration, Instant};

    use hyper_util::rt::TokioIo;
    use parking_lot::Mutex;
    use rustls::ClientConfig;
    use rustls::pki_types::ServerName;
    use tempfile::TempDir;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::{Channel, Endpoint, Uri};
    use tonic::{Code, Streaming};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    use super::*;
    use crate::app::Policy;
    use crate::app::issue::issuing::IssuedAnswer;
    use crate::app::issue::jwt_svids::JwtPolicy;
    use crate::domain::identity::deny::DenyChange;
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::HostId;
    use crate::grpc::proto::agent_service_client::AgentServiceClient;
    use crate::grpc::proto::{
        HeartbeatRequest, HeartbeatResponse, HostFacts, RenewResponse, SessionRequest, SessionResponse,
        SignJwtResponse, session_request, session_response,
    };
    use crate::tls::specimens::{
        Recorded, ServerFiles, SpecimenCa, agent, identity, serial, svid_params, verifier,
    };

    /// Longer than anything here should take, short enough to fail a run that hangs.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// A clock that stands until it is set.
    #[derive(Debug)]
    struct SetClock(Mutex<Timestamp>);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            *self.0.lock()
        }
    }

    /// Nobody renews here.
    #[derive(Debug)]
    struct NoAnswers;

    impl SvidAnswers for NoAnswers {
        fn answer(&self, _: IssuedAnswer) -> RenewResponse {
            RenewResponse::default()
        }
    }

    /// A gRPC listener and what stands behind it.
    struct Site {
        _data: TempDir,
        ca: SpecimenCa,
        files: ServerFiles,
        registry: Arc<Recorded>,
        live: LivePeers,
        fleet: Arc<Fleet>,
        clock: Arc<SetClock>,
        rotations: watch::Sender<Option<Timestamp>>,
        address: SocketAddr,
        shutdown: CancellationToken,
        serving: JoinHandle<()>,
    }

    impl Site {
        async fn open() -> Self {
            let (ca, files, registry) =
                (SpecimenCa::new(), ServerFiles::new(), Arc::new(Recorded::default()));
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (live, fleet) = (LivePeers::default(), Arc::new(Fleet::empty()));
            let clock = Arc::new(SetClock(Mutex::new(Timestamp::now())));
            let rotations = watch::Sender::default();
            let data = tempfile::tempdir().unwrap();
            let of_app = Arc::clone(&clock) as Arc<dyn Clock>;
            let app = App::open(data.path(), of_app, Policy::default(), |_| {}).unwrap();
            let deps = GrpcDeps {
                certificate: files.live(),
                verifier: verifier(&ca, &registry),
                live: live.clone(),
                refused: Arc::default(),
                deny: registry.deny.clone(),
                fleet: Arc::clone(&fleet),
                history: Arc::new(History::in_memory()),
                trust: TrustFeed::in_memory(),
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                heartbeat_interval: SignedDuration::from_secs(30),
                rotations_asked: rotations.subscribe(),
                jwt: Arc::new(JwtSvids::new(JwtPolicy::default())),
                app: Arc::new(app),
                answers: Arc::new(NoAnswers),
            };
            let shutdown = CancellationToken::new();
            let serving = tokio::spawn(serve(listener, deps, shutdown.clone()));
            Self {
                _data: data,
                ca,
                files,
                registry,
                live,
                fleet,
                clock,
                rotations,
                address,
                shutdown,
                serving,
            }
        }

        fn agent(&self, name: &str, number: u8) -> Agent {
            let serial = serial(number);
            let host = self.registry.record(serial);
            self.fleet.meet(host);
            let client = self.files.client(Some(self.ca.issue(&svid_params(&agent(name), serial))));
            Agent { name: name.to_owned(), serial, host, client, address: self.address }
        }

        /// As the store does it: the deny list first, then the connections.
        fn revoke(&self, agent_name: &str) {
            let changes = [DenyChange::Identity(identity(&agent(agent_name)))];
            self.registry.deny.apply(changes.clone());
            self.live.end(&changes);
        }

        fn set_clock(&self, now: Timestamp) {
            *self.clock.0.lock() = now;
        }
    }

    /// An enrolled agent. All its connections share one TLS configuration, as they do in a real one.
    struct Agent {
        name: String,
        serial: Serial,
        host: HostId,
        client: Arc<ClientConfig>,
        address: SocketAddr,
    }

    impl Agent {
        async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
            let (client, address) = (Arc::clone(&self.client), self.address);
            let connector = tower::service_fn(move |_: Uri| {
                let client = Arc::clone(&client);
                async move {
                    let tcp = TcpStream::connect(address).await?;
                    let name = ServerName::try_from("localhost").unwrap();
                    TlsConnector::from(client).connect(name, tcp).await.map(TokioIo::new)
                }
            });
            // The connector brings the TLS; tonic would insist on its own for "https".
            Endpoint::from_static("http://localhost").connect_with_connector(connector).await
        }

        /// Whether the server still lets this agent do anything on a new connection.
        async fn gets_in(&self) -> bool {
            let Ok(channel) = self.connect().await else { return false };
            AgentServiceClient::new(channel).heartbeat(HeartbeatRequest::default()).await.is_ok()
        }

        async fn session(&self) -> OpenSession {
            OpenSession::on(self.connect().await.unwrap()).await
        }
    }

    struct OpenSession {
        channel: Channel,
        up: mpsc::Sender<SessionRequest>,
        down: Streaming<SessionResponse>,
    }

    impl OpenSession {
        async fn on(channel: Channel) -> Self {
            let (up, requests) = mpsc::channel(1);
            let mut client = AgentServiceClient::new(channel.clone());
            let down = client.session(ReceiverStream::new(requests)).await.unwrap().into_inner();
            Self { channel, up, down }
        }

        async fn heartbeat(&self) {
            let heartbeat = HeartbeatRequest { facts: None, ..HeartbeatRequest::default() };
            let message = Some(session_request::Message::Heartbeat(heartbeat));
            self.up.send(SessionRequest { message }).await.unwrap();
        }

        async fn next(&mut self) -> Result<session_response::Message, tonic::Status> {
            let response = timeout(PATIENCE, self.down.message()).await.unwrap()?;
            Ok(response.expect("a session ends with a status").message.unwrap())
        }

        async fn exchange(&mut self) -> Result<session_response::Message, tonic::Status> {
            self.heartbeat().await;
            self.next().await
        }

        async fn end(&mut self) -> Code {
            loop {
                if let Err(status) = self.next().await {
                    return status.code();
                }
            }
        }
    }

    async fn unary(channel: &Channel) -> Result<(), Code> {
        let mut client = AgentServiceClient::new(channel.clone());
        client.heartbeat(HeartbeatRequest::default()).await.map(|_| ()).map_err(|status| status.code())
    }

    /// Waits until an agent that was too fast is heard again.
    async fn until_heard(channel: &Channel) {
        let heard = async {
            while let Err(code) = unary(channel).await {
                assert_eq!(code, Code::ResourceExhausted);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, heard).await.expect("never heard again");
    }

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never so: {what}"));
    }

    /// Whose SVID is older is asked once, whoever comes later too, and nobody else.
    #[tokio::test]
    async fn agents_with_older_svids_are_asked_to_rotate() {
        let site = Site::open().await;
        let (old, other) = (site.agent("a", 1), site.agent("b", 2));
        let mut early = old.session().await;
        early.exchange().await.unwrap();
        site.rotations.send_replace(Some(Timestamp::MAX));
        let asked = early.next().await.unwrap();
        assert!(matches!(asked, session_response::Message::Rotate(_)), "{asked:?}");
        let answer = early.exchange().await.unwrap();
        assert!(matches!(answer, session_response::Message::Heartbeat(_)), "{answer:?}");
        let mut late = other.session().await;
        assert!(matches!(late.next().await.unwrap(), session_response::Message::Rotate(_)));
        site.rotations.send_replace(Some(Timestamp::UNIX_EPOCH));
        for session in [&mut early, &mut late] {
            let answer = session.exchange().await.unwrap();
            assert!(matches!(answer, session_response::Message::Heartbeat(_)), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn heartbeats_land_in_the_fleet_within_bounds() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let mut client = AgentServiceClient::new(web.connect().await.unwrap());
        let facts = HostFacts {
            hostname: "web-1\u{7}".to_owned(),
            os: "x".repeat(1000),
            ips: (0..100).map(|n| format!("10.0.0.{n}")).chain(["nonsense".to_owned()]).collect(),
            ..HostFacts::default()
        };
        let heartbeat = HeartbeatRequest { facts: Some(facts), ..HeartbeatRequest::default() };
        let answer = client.heartbeat(heartbeat).await.unwrap().into_inner();
        let now = site.clock.now();
        assert_eq!((answer.next_interval_ms, answer.server_time_ms), (30_000, now.as_millisecond()));
        assert_eq!(answer.reconnect_within_ms, 1_000);
        let host = site.fleet.host(web.host).unwrap().host;
        let facts = host.facts;
        assert_eq!((host.last_seen, facts.hostname.as_deref()), (Some(now), Some("web-1")));
        assert_eq!((facts.os.map(|os| os.len()), facts.ips.len()), (Some(255), 32));

        let huge = HostFacts { hostname: "x".repeat(1 << 20), ..HostFacts::default() };
        let refused = client
            .heartbeat(HeartbeatRequest { facts: Some(huge), ..HeartbeatRequest::default() })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
    }

    #[tokio::test]
    async fn a_session_answers_every_heartbeat() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let mut session = web.session().await;
        for _ in 0..3 {
            let answer = session.exchange().await.unwrap();
            assert!(matches!(answer, session_response::Message::Heartbeat(_)));
        }
        // A message of a kind unknown to this server is passed over.
        session.up.send(SessionRequest { message: None }).await.unwrap();
        assert!(session.exchange().await.is_ok());
        assert!(site.fleet.host(web.host).unwrap().online);
        assert_eq!(site.live.count(), 1);
        drop(session);
        until("the connection is forgotten", || site.live.count() == 0).await;
    }

    #[tokio::test]
    async fn a_revocation_ends_live_sessions_at_once_and_keeps_the_agent_out() {
        let site = Site::open().await;
        let (web, other) = (site.agent("web-1", 1), site.agent("web-2", 2));
        let mut bystander = other.session().await;
        let mut session = web.session().await;
        session.exchange().await.unwrap();
        let start = Instant::now();
        site.revoke(&web.name);
        assert_eq!(session.end().await, Code::PermissionDenied);
        assert!(start.elapsed() < Duration::from_millis(100), "took {:?}", start.elapsed());
        assert_eq!(unary(&session.channel).await, Err(Code::PermissionDenied));
        assert!(!web.gets_in().await);
        // The old connection is closed although the agent holds on to it.
        until("the connection is closed", || site.live.count() == 1).await;
        assert!(start.elapsed() < Duration::from_secs(3));
        assert!(bystander.exchange().await.is_ok());
    }

    #[tokio::test]
    async fn a_revocation_between_handshake_and_first_request_is_not_missed() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        // Admitted in the handshake; then, before its connection was entered where a revocation would find it,
        // revoked.
        *site.registry.revoke_after.lock() = Some(1);
        let channel = web.connect().await.unwrap();
        assert_ne!(unary(&channel).await, Err(Code::PermissionDenied), "a request was carried");
        assert!(!web.gets_in().await);
        until("the connection is closed", || site.live.count() == 0).await;
    }

    #[tokio::test]
    async fn a_denied_agent_is_refused_on_the_connection_it_has() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let mut session = web.session().await;
        unary(&session.channel).await.unwrap();
        // The deny list alone, as if nobody had ended the connection.
        site.registry.deny.apply([DenyChange::Serial { serial: web.serial, not_after: Timestamp::MAX }]);
        assert_eq!(unary(&session.channel).await, Err(Code::PermissionDenied));
        assert_eq!(session.exchange().await.unwrap_err().code(), Code::PermissionDenied);
        let mut health = HealthClient::new(session.channel.clone());
        let refused = health.check(HealthCheckRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(!web.gets_in().await);
    }

    #[tokio::test]
    async fn an_expired_certificate_ends_what_is_open() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let not_after = Timestamp::now() + SignedDuration::from_secs(86_400);
        site.set_clock(not_after - SignedDuration::from_secs(5));
        let mut busy = web.session().await;
        busy.exchange().await.unwrap();
        // Opened just before expiry, and silent: the session itself notices.
        site.set_clock(not_after - SignedDuration::from_millis(1));
        let mut silent = OpenSession::on(busy.channel.clone()).await;
        site.set_clock(not_after + SignedDuration::from_secs(2));
        assert_eq!(busy.exchange().await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(unary(&busy.channel).await, Err(Code::Unauthenticated));
        assert_eq!(silent.end().await, Code::Unauthenticated);
    }

    #[tokio::test]
    async fn a_flood_of_messages_ends_the_session_and_spares_the_rest() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let session = web.session().await;
        let OpenSession { up, mut down, channel } = session;
        let flood = tokio::spawn(async move {
            let heartbeat = || Some(session_request::Message::Heartbeat(HeartbeatRequest::default()));
            while up.send(SessionRequest { message: heartbeat() }).await.is_ok() {}
        });
        let code = async {
            loop {
                match down.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("ends with a status"),
                    Err(status) => return status.code(),
                }
            }
        };
        assert_eq!(timeout(PATIENCE, code).await.unwrap(), Code::ResourceExhausted);
        flood.abort();
        // The connection is left alone, and once the agent has kept quiet for a moment it is heard again.
        until_heard(&channel).await;
    }

    #[tokio::test]
    async fn one_pace_holds_for_every_call_and_connection_of_an_identity() {
        let site = Site::open().await;
        let (web, other) = (site.agent("web-1", 1), site.agent("web-2", 2));
        let channels = [web.connect().await.unwrap(), web.connect().await.unwrap()];
        let began = Instant::now();
        let mut heard = 0;
        for number in 0..300 {
            let channel = &channels[number % 2];
            let outcome = if number % 3 == 0 {
                let health = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
                health.map(|_| ()).map_err(|status| status.code())
            } else {
                unary(channel).await
            };
            match outcome {
                Ok(()) => heard += 1,
                Err(code) => assert_eq!(code, Code::ResourceExhausted),
            }
        }
        let most = 41.0 + 20.0 * began.elapsed().as_secs_f64();
        assert!(f64::from(heard) <= most && heard >= 40, "{heard} of at most {most}");
        unary(&other.connect().await.unwrap()).await.expect("another identity has a pace of its own");
        until_heard(&channels[0]).await;
    }

    #[tokio::test]
    async fn questions_for_tokens_that_can_t_be_read_count() {
        let site = Site::open().await;
        let channel = site.agent("web-1", 1).connect().await.unwrap();
        let ask = |channel| async move {
            let unreadable = HeartbeatResponse { next_interval_ms: 1, ..HeartbeatResponse::default() };
            let mut raw = tonic::client::Grpc::new(channel);
            raw.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<HeartbeatResponse, SignJwtResponse>::default();
            raw.unary(tonic::Request::new(unreadable), PathAndQuery::from_static(SIGN_JWT), codec)
                .await
                .unwrap_err()
        };
        let first = ask(channel.clone()).await;
        assert!(first.message().contains("wire type"), "{first:?}");
        let hasty = (0..8).map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    if ask(channel.clone()).await.code() == Code::ResourceExhausted {
                        return true;
                    }
                }
                false
            })
        });
        for hasty in hasty.collect::<Vec<_>>() {
            assert!(hasty.await.unwrap(), "never too fast");
        }
    }

    #[tokio::test]
    async fn shutdown_says_goodbye_and_returns() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let mut session = web.session().await;
        session.exchange().await.unwrap();
        let start = Instant::now();
        site.shutdown.cancel();
        let Ok(session_response::Message::Goodbye(goodbye)) = session.next().await else {
            panic!("no goodbye")
        };
        assert_eq!((goodbye.reconnect_after_ms, goodbye.reconnect_within_ms), (1_000, 1_000));
        assert_eq!(session.next().await.unwrap_err().code(), Code::Unavailable);
        timeout(PATIENCE, site.serving).await.unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "took {:?}", start.elapsed());
        assert_eq!(site.live.count(), 0);
    }

    #[tokio::test]
    async fn health_and_reflection_tell_agents_what_is_served() {
        let site = Site::open().await;
        let channel = site.agent("web-1", 1).connect().await.unwrap();
        let mut health = HealthClient::new(channel.clone());
        let service = "muster.agent.v1.AgentService".to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
        assert_eq!(answer.status(), tonic_health::ServingStatus::Serving.into());

        let ask = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut answers = ServerReflectionClient::new(channel)
            .server_reflection_info(tokio_stream::once(ask))
            .await
            .unwrap()
            .into_inner();
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
        let names: BTreeSet<_> = list.service.into_iter().map(|service| service.name).collect();
        for name in ["muster.agent.v1.AgentService", "grpc.health.v1.Health"] {
            assert!(names.contains(name), "{names:?}");
        }
    }

    #[tokio::test]
    async fn one_agent_has_a_bounded_number_of_connections() {
        let site = Site::open().await;
        let web = site.agent("web-1", 1);
        let mut held = Vec::new();
        for _ in 0..crate::tls::live::CONNECTIONS_PER_IDENTITY_MAX {
            held.push(web.session().await);
        }
        assert!(!web.gets_in().await);
        assert!(site.agent("web-2", 2).gets_in().await);
        held.pop();
        until("room came back", || site.live.count() < 9).await;
        timeout(PATIENCE, async { while !web.gets_in().await {} }).await.unwrap();
    }
}
