//! Vouching beside a relying party: how many questions an agent answers, and how soon after a revocation it and an nginx
//! refuse, by asking and by files.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::beside::{Agent, Nginx};
use crate::load::figures::{Times, line};
use crate::load::https::{Connection, post};
use crate::load::machines::{Fleet, Host};
use crate::load::meter::cpu_of;
use crate::load::server::Server;
use crate::still::StillWatchers;

/// Certificates that come again.
const KNOWN: usize = 1_000;
/// Certificates that come once.
const FIRST_SIGHTS: usize = 6_000;
/// How many hosts all of this takes.
pub const HOSTS: usize = KNOWN + 2 * FIRST_SIGHTS + (FLEETS.len() + 1) * REVOKED + REVOKED_BY_FILES;
/// Where the machine has a program that can say so. As many threads answer as there are cores.
const ONE_CORE: &[&str] = &["taskset", "-c", "0"];
/// Connections of a proxy's workers.
const CONNECTIONS: usize = 16;
/// And of one that is not busy.
const FEW: usize = 4;
/// Revocations that are waited for at the agent, as often as there are fleets, and at an nginx that asks it; and some that go by
/// files. With ten thousand watchers each takes most of a second, so they end after some phases.
const REVOKED: usize = 200;
const PHASES: u32 = 10;
const REVOKED_BY_FILES: usize = 10;
/// How many of a hundred other watchers say that relying parties ask them, and so are told first, with the agent. It has come
/// last, so it is told after all of those.
const FLEETS: [usize; 2] = [100, 10];
/// `outputs` runs a command at most once in this time, so whoever wants to see a first change waits as long.
const MIN_INTERVAL: Duration = Duration::from_secs(6);
/// Between two revocations: until the server would tell another one at once.
const REST: Duration = Duration::from_millis(30);
const REST_FOR_EACH: Duration = Duration::from_micros(30);
/// How often it is asked whether a refusal has come: asking without a pause would take a processor from those who are told.
const KNOCK_EVERY: Duration = Duration::from_micros(200);
/// How long a refusal may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The agent, the nginx, and the revocations of an administrator.
pub async fn measure(
    server: &Server,
    fleet: &mut Fleet,
    bearer: &str,
    watchers: StillWatchers,
    phase: Duration,
) {
    let secret = fleet.secret().to_owned();
    let agent = Agent::start(server, &secret, ONE_CORE);
    let known: Arc<[Vec<u8>]> = fleet.take(KNOWN).iter().map(question).collect();
    answers(&agent, &known).await;
    // The first round verifies them.
    ask(&agent, "vouch, 1,000 certificates, first", &known, CONNECTIONS, known.len(), phase).await;
    let many = usize::MAX;
    ask(&agent, "vouch, the same again, 16 connections", &known, CONNECTIONS, many, phase).await;
    ask(&agent, "vouch, the same again, 4 connections", &known, FEW, many, phase).await;
    let mut first_sights = async |agent: &Agent, name| {
        let strangers: Arc<[Vec<u8>]> = fleet.take(FIRST_SIGHTS).iter().map(question).collect();
        ask(agent, name, &strangers, CONNECTIONS, strangers.len(), phase).await;
    };
    first_sights(&agent, "vouch, first sights, one core").await;
    let free = Agent::start(server, &secret, &[]);
    answers(&free, &known).await;
    first_sights(&free, "vouch, first sights, every core").await;
    drop(free);

    let admin = Admin::new(server, bearer).await;
    let mut revoking = Revoking { server, admin, watchers, cpu: Duration::ZERO, count: 0 };
    let enough = phase * PHASES;
    for asked in FLEETS {
        let asked = revoking.watchers.count() * asked / 100;
        tokio::task::block_in_place(|| revoking.watchers.ask(asked));
        // The connection may have been quiet for too long meanwhile.
        revoking.admin = Admin::new(server, bearer).await;
        (revoking.cpu, revoking.count) = (Duration::ZERO, 0);
        let (mut refused, begun) = (Vec::new(), Instant::now());
        for host in fleet.take(REVOKED).into_iter().take_while(|_| begun.elapsed() < enough) {
            let mut door = Door::unix(&agent.socket()).await;
            let question = question(&host);
            assert_eq!(door.status(&question).await, 204);
            refused.push(revoking.one(&host, async || door.status(&question).await, 403).await);
        }
        let refused = Times::from_iter(refused);
        line("revocation, to the agent's refusal", &format!("{refused}, {}", revoking.watchers));
        let each = revoking.cpu.as_secs_f64() / revoking.count as f64;
        line("  CPU of the server each", &format!("{each:.4} s"));
    }
    let Some(mut nginx) = Nginx::prepare() else {
        line("revocation, to nginx's refusal", "not measured: there is no nginx here");
        return;
    };
    let outputs = agent.outputs(server, &nginx);
    nginx.start(&agent);
    let hosts = [fleet.take(REVOKED), fleet.take(REVOKED_BY_FILES)];
    through_nginx(hosts, &mut revoking, &nginx, enough).await;
    drop(outputs);
}

async fn through_nginx(
    [asking, by_files]: [Vec<Host>; 2],
    revoking: &mut Revoking<'_>,
    nginx: &Nginx,
    enough: Duration,
) {
    let (mut refused, begun) = (Vec::new(), Instant::now());
    for host in asking.into_iter().take_while(|_| begun.elapsed() < enough) {
        let mut door = Door::tls(&host, nginx.asking).await.expect("a handshake");
        assert_eq!(door.status(GET).await, 404, "what is behind it is not there, but it was let in");
        let knock = async || {
            let status = door.status(GET).await;
            // A reload for the files of the other server ends connections that are kept.
            if status == 400 {
                door = Door::tls(&host, nginx.asking).await.expect("a handshake");
            }
            status
        };
        refused.push(revoking.one(&host, knock, 403).await);
    }
    let refused = Times::from_iter(refused);
    line("  to nginx's, which asks the agent", &format!("{refused}, {}", revoking.watchers));

    let mut refused = Vec::new();
    // A command may still be due because of those.
    tokio::time::sleep(MIN_INTERVAL).await;
    for host in by_files {
        tokio::time::sleep(MIN_INTERVAL).await;
        let knock = async || match Door::tls(&host, nginx.by_files).await {
            Ok(mut door) => door.status(GET).await,
            Err(_) => 400,
        };
        assert_eq!(knock().await, 404, "what is behind it is not there, but it was let in");
        refused.push(revoking.one(&host, knock, 400).await);
    }
    let refused = Times::from_iter(refused);
    line("  to nginx's, by outputs and a reload", &format!("{refused}, {}", revoking.watchers));
}

/// Revocations one by one: each is told to everybody before the next.
struct Revoking<'s> {
    server: &'s Server,
    admin: Admin,
    watchers: StillWatchers,
    /// What the server has spent on them.
    cpu: Duration,
    count: usize,
}

impl Revoking<'_> {
    /// How long it takes from the answer to the refusal.
    async fn one(&mut self, host: &Host, mut knock: impl AsyncFnMut() -> u16, refusal: u16) -> Duration {
        let meter = self.server.meter();
        let answered = self.admin.revoke(&host.svid.agent_id).await;
        let mut status = knock().await;
        while status != refusal {
            assert!(answered.elapsed() < PATIENCE, "the answer is still {status}");
            tokio::task::block_in_place(|| std::thread::sleep(KNOCK_EVERY));
            status = knock().await;
        }
        let refused = answered.elapsed();
        tokio::task::block_in_place(|| self.watchers.catch_up(1));
        self.cpu += meter.spent().server_cpu;
        self.count += 1;
        tokio::time::sleep(REST + REST_FOR_EACH * u32::try_from(self.watchers.count()).unwrap_or(u32::MAX))
            .await;
        refused
    }
}

/// Waits until the agent knows whom to let in.
async fn answers(agent: &Agent, questions: &[Vec<u8>]) {
    let mut door = Door::unix(&agent.socket()).await;
    let begun = Instant::now();
    while door.status(&questions[0]).await != 204 {
        assert!(begun.elapsed() < PATIENCE, "the agent vouches for nobody");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Asks all questions in turn, again and again, until there were so many or the time is over.
async fn ask(
    agent: &Agent,
    name: &str,
    questions: &Arc<[Vec<u8>]>,
    connections: usize,
    count: usize,
    phase: Duration,
) {
    let (before, begun) = (cpu_of(agent.process.id()), Instant::now());
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..connections {
        let questions = Arc::clone(questions);
        let mut door = Door::unix(&agent.socket()).await;
        asking.spawn(async move {
            let mut times = Vec::new();
            for place in (number..count).step_by(connections) {
                let asked = Instant::now();
                if asked - begun > phase {
                    break;
                }
                let status = door.status(&questions[place % questions.len()]).await;
                assert_eq!(status, 204);
                times.push(asked.elapsed());
            }
            times
        });
    }
    let times: Times = asking.join_all().await.into_iter().flatten().collect();
    let (cpu, elapsed) = (cpu_of(agent.process.id()) - before, begun.elapsed());
    let rate = times.count() as f64 / elapsed.as_secs_f64();
    let each = cpu.as_secs_f64() * 1e6 / times.count() as f64;
    line(name, &format!("{rate:>7.0}/s  CPU each: agent {each:>5.1} us"));
    line("  answered in", &format!("{times}"));
}

/// What a proxy asks about a host's certificate.
fn question(host: &Host) -> Vec<u8> {
    let certificate = utf8_percent_encode(&host.svid.certificate, NON_ALPHANUMERIC);
    format!("GET /v1/forward-auth HTTP/1.1\r\nHost: agent\r\nX-Client-Cert: {certificate}\r\n\r\n")
        .into_bytes()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";

struct Admin {
    connection: Connection,
    bearer: String,
}

impl Admin {
    async fn new(server: &Server, bearer: &str) -> Self {
        let connection = server.door().connect(server.https.ip()).await.expect("a connection");
        Self { connection, bearer: bearer.to_owned() }
    }

    /// When the server had answered.
    async fn revoke(&mut self, agent: &str) -> Instant {
        let request = post(&format!("/v1/agents/{agent}/revoke"), &self.bearer, "");
        let (status, _) = self.connection.exchange(&request).await.expect("an answer");
        assert_eq!(status, 200);
        Instant::now()
    }
}

/// A kept connection on which requests get a status.
enum Door {
    Unix(UnixStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Door {
    async fn unix(socket: &Path) -> Self {
        Self::Unix(UnixStream::connect(socket).await.expect("it listens"))
    }

    async fn tls(host: &Host, port: u16) -> std::io::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(host.svid.chain().as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::try_from(host.key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.expect("the provider has them").dangerous();
        let tls = tls.with_custom_certificate_verifier(Arc::new(Anybody));
        let mut tls = tls.with_client_auth_cert(chain.expect("certificates"), key).expect("an identity");
        tls.resumption = Resumption::disabled();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        Ok(Self::Tls(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?)))
    }

    /// The status of the answer, and 400 where the connection ends, as it does for who is refused at the handshake.
    async fn status(&mut self, request: &[u8]) -> u16 {
        match self {
            Self::Unix(stream) => exchange(stream, request).await,
            Self::Tls(stream) => exchange(stream, request).await,
        }
        .unwrap_or(400)
    }
}

async fn exchange(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    request: &[u8],
) -> Option<u16> {
    stream.write_all(request).await.ok()?;
    let (mut received, mut length) = ([0; 8192], 0);
    loop {
        length += match stream.read(received.get_mut(length..)?).await.ok()? {
            0 => return None,
            more => more,
        };
        let received = received.get(..length)?;
        let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(received.get(..end)?).ok()?;
        let body = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
        });
        if length >= end + 4 + body.unwrap_or(0) {
            return head.get(9..12)?.parse().ok();
        }
    }
}

/// Takes the relying party for whoever it says it is: what is measured is whom it lets in.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
