//! One session with the server over mutual TLS: one connection, opened, kept and ended.
//!
//! A session never reconnects by itself. What ended it decides what happens next, and that is for
//! [`super::runtime`] to say.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{debug, info};

use crate::agent::connect::dial::Dialer;
use crate::agent::connect::https::server_name;
use crate::agent::connect::session_connection::{ServerCalls, SessionConnection};
use crate::agent::enroll::requests::REFUSAL_CHARS_MAX;
use crate::agent::facts;
use crate::agent::facts::Subject;
use crate::agent::run::reports::PendingReports;
use crate::agent::run::rotator::News;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::trust::state::ToldDocuments;
use crate::agent::trust::watcher;
use crate::clock::{self, Clock};
use crate::domain::host::HostFacts;
use crate::domain::identity::hierarchy::BundleDigest;
use crate::domain::identity::serial::Serial;
use crate::domain::network::host_port::HostPort;
use crate::domain::printable::printable;
use crate::error_chain::chain;
use crate::grpc::proto::agent_service_client::AgentServiceClient;
use crate::grpc::proto::{
    HeartbeatRequest, HeartbeatResponse, SessionRequest, SessionResponse, session_request, session_response,
};
use crate::tls::client_config::{LiveIdentity, grpc_client};
use crate::tls::server_verifier::{FirstContact, ServerRefused, Trust};

/// For each step of opening but the connection, which has bounds of its own: TLS, HTTP/2, and the first answer.
const OPENING_STEP: Duration = Duration::from_secs(10);
/// A heartbeat that is not answered for so long ends the session.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a session that we end may take to end in good order.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long the end of a session waits for reports that are still to be delivered.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Bounds for the interval that the server asks for.
const INTERVAL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// How often servers want to hear from their agents, until this one has said so.
const INTERVAL_USUAL: Duration = Duration::from_secs(30);
/// Bounds for the window over which the server wants a return spread.
pub const WINDOW: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
/// Longest wait that a server which says goodbye can ask for.
const AWAY_MAX: Duration = Duration::from_secs(600);
/// Largest message that is read. Real ones have a few dozen bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// With whom and as whom to speak.
#[derive(Debug, Clone)]
pub struct Dial {
    /// In the order in which to try.
    pub addrs: Vec<HostPort>,
    pub dialer: Arc<Dialer>,
    pub trust: Trust,
    pub identity: Arc<LiveIdentity>,
    /// Of the identity in use before the first dial.
    pub serial: Serial,
    /// The roots that came with that identity, DER.
    pub roots: Arc<Vec<Vec<u8>>>,
    pub clock: Arc<dyn Clock>,
    pub subject: Subject,
    /// What there is to tell besides.
    pub reports: Arc<PendingReports>,
    /// To whom the connection is lent while the session is open.
    pub calls: ServerCalls,
    /// What the server tells besides: whom to let in on this machine.
    pub(crate) told: SharedTrust,
}

impl Dial {
    /// The roots that every program on this machine knows: those that came with the identity, unless what is told besides is
    /// older than that.
    fn bundle_digest(&self) -> Option<BundleDigest> {
        let is_older = |told: &ToldDocuments| told.confirmed_at < self.serial.made_at();
        let wanted = self.told.wanted();
        let wanted = wanted.borrow().any();
        match self.told.documents().filter(|told| wanted && is_older(told)) {
            Some(told) => Some(BundleDigest::of(&told.roots)),
            None => (!self.roots.is_empty()).then(|| BundleDigest::of(&self.roots)),
        }
    }
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// We asked for it.
    Closed,
    /// The server is not there, or is not the one it should be, or the connection broke.
    Lost(String),
    /// The server may have refused our identity. TLS and HTTP/2 can't tell a refusal from an accident for sure,
    /// so this is a suspicion and not a verdict.
    PerhapsRefused(String),
    /// The server said goodbye and when to come back: no sooner than this, and spread over that window.
    Goodbye { reason: String, after: Duration, window: Option<Duration> },
}

impl Ended {
    /// For the log.
    pub fn reason(&self) -> &str {
        match self {
            Self::Closed => "closed by the agent",
            Self::Lost(reason) | Self::PerhapsRefused(reason) | Self::Goodbye { reason, .. } => reason,
        }
    }
}

/// What the server asks of its agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How often it wants to hear from us.
    pub interval: Duration,
    /// Over how long to spread the return of those that lose it, if it says so.
    pub window: Option<Duration>,
}

impl Terms {
    /// Until the server has said something. It is an agent that has just started, so it is not one of many that
    /// lost the server at this moment.
    pub const UNTOLD: Self = Self { interval: INTERVAL_USUAL, window: Some(Duration::from_secs(2)) };

    /// The window in which to come back, and the longest that may follow.
    pub fn windows(self) -> (Duration, Duration) {
        let longest = self.interval.clamp(*WINDOW.start(), *WINDOW.end());
        (self.window.unwrap_or(longest), longest)
    }
}

/// Opens a session and stays in it until it ends. `opened` is called once, after the first answered heartbeat;
/// only then has the server accepted the identity; it is told by which address. `terms` hears of what the server asks for, each time it says so.
pub async fn hold(
    dial: &Dial,
    news: &mpsc::Sender<News>,
    close: &CancellationToken,
    terms: &watch::Sender<Terms>,
    opened: impl FnOnce(&HostPort) + Send,
) -> Ended {
    let opening = tokio::select! {
        opening = open(dial) => opening,
        () = close.cancelled() => return Ended::Closed,
    };
    let Opened { addr, client, server, up, down } = match opening {
        Ok(opened) => opened,
        Err(ended) => return ended,
    };
    let contact = Arc::clone(&server);
    let lendable =
        SessionConnection { client: client.clone(), addr: addr.clone(), serial: dial.serial, server };
    let mut lent = None;
    // PendingReports go along once the server has accepted the identity and told its time.
    let (accept, accepted) = oneshot::channel();
    let delivery = async {
        match accepted.await {
            Ok(difference_ms) => {
                let watching = watcher::watch(&dial.told, client.clone());
                let (never, _) = tokio::join!(dial.reports.deliver(client, difference_ms), watching);
                never
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::pin!(delivery);
    let mut was_open = false;
    let opened = |difference_ms| {
        was_open = true;
        lent = Some(dial.calls.lend(lendable));
        let _ = accept.send(difference_ms);
        opened(&addr);
    };
    let session =
        Session { dial, server: contact, news, up, down, told: None, interval: INTERVAL_USUAL, terms };
    let ended = tokio::select! {
        ended = session.run(close, opened) => ended,
        never = &mut delivery => match never {},
    };
    drop(lent);
    if was_open && ended == Ended::Closed {
        let last_words = async {
            tokio::select! {
                () = dial.reports.delivered() => {}
                never = &mut delivery => match never {},
            }
        };
        let _ = timeout(LAST_WORDS, last_words).await;
    }
    ended
}

struct Opened {
    addr: HostPort,
    client: AgentServiceClient<Channel>,
    server: Arc<FirstContact>,
    up: Up,
    down: Streaming<SessionResponse>,
}

type Up = mpsc::Sender<SessionRequest>;

/// At the first address that takes us. A suspicion of being refused outweighs any other failure.
async fn open(dial: &Dial) -> Result<Opened, Ended> {
    let mut failure = None;
    let mut addrs = dial.addrs.iter().peekable();
    while let Some(addr) = addrs.next() {
        let ended = match open_at(dial, addr).await {
            Ok(opened) => return Ok(opened),
            Err(ended) => ended,
        };
        if addrs.peek().is_some() {
            info!(grpc_addr = %addr, reason = ended.reason(), "no session at one address of the server; trying the next");
        }
        failure = match (failure, ended) {
            (None | Some(Ended::Lost(_)), ended @ Ended::PerhapsRefused(_)) | (None, ended) => Some(ended),
            (earlier, _) => earlier,
        };
    }
    Err(failure
        .unwrap_or_else(|| Ended::Lost("it is not known where the server's gRPC listener is".to_owned())))
}

async fn open_at(dial: &Dial, addr: &HostPort) -> Result<Opened, Ended> {
    let (tls, server) = connect(dial, addr).await?;
    // From here on the server may be turning the certificate down: in TLS 1.3 the client is done first.
    let channel = match timeout(OPENING_STEP, speak_http2(addr, tls)).await {
        Ok(channel) => channel.map_err(|error| Ended::PerhapsRefused(chain(error.as_ref())))?,
        Err(_) => return Err(Ended::PerhapsRefused("the server did not answer in time".to_owned())),
    };
    let (up, requests) = mpsc::channel(4);
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let answer = match timeout(OPENING_STEP, client.session(ReceiverStream::new(requests))).await {
        Ok(answer) => answer.map_err(|status| ended_by(&status, false))?,
        Err(_) => return Err(Ended::Lost("the server did not answer in time".to_owned())),
    };
    Ok(Opened { addr: addr.clone(), client, server, up, down: answer.into_inner() })
}

async fn connect(dial: &Dial, addr: &HostPort) -> Result<(TlsStream<TcpStream>, Arc<FirstContact>), Ended> {
    let first_contact = FirstContact::new(&dial.trust).map_err(|error| Ended::Lost(chain(&error)))?;
    let first_contact = Arc::new(first_contact);
    let config = grpc_client(Arc::clone(&first_contact), Arc::clone(&dial.identity));
    let name = server_name(&addr.host)
        .ok_or_else(|| Ended::Lost("the server's name is not one that TLS can check".to_owned()))?;
    let tcp = dial.dialer.connect(addr).await.map_err(|error| Ended::Lost(chain(&error)))?;
    match timeout(OPENING_STEP, TlsConnector::from(Arc::new(config)).connect(name, tcp)).await {
        Ok(Ok(tls)) => Ok((tls, first_contact)),
        Ok(Err(error)) => Err(match ServerRefused::in_error(&error) {
            Some(refused) => Ended::Lost(refused.to_string()),
            None => Ended::PerhapsRefused(chain(&error)),
        }),
        Err(_) => Err(Ended::Lost("the TLS handshake did not end in time".to_owned())),
    }
}

/// A channel over one connection that exists already. When it breaks, the channel stays broken.
async fn speak_http2(
    addr: &HostPort,
    tls: TlsStream<TcpStream>,
) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
    // The scheme says that the connector brings TLS along; the origin is what the server sees.
    let origin: Uri = format!("https://{addr}").parse()?;
    let endpoint = Endpoint::from_shared(format!("http://{addr}"))?
        .origin(origin)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let mut connection = Some(TokioIo::new(tls));
    let once = tower::service_fn(move |_: Uri| {
        let connection = connection.take();
        async move { connection.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)) }
    });
    Ok(endpoint.connect_with_connector(once).await?)
}

struct Session<'a> {
    dial: &'a Dial,
    /// With whom it is.
    server: Arc<FirstContact>,
    news: &'a mpsc::Sender<News>,
    up: Up,
    down: Streaming<SessionResponse>,
    /// The facts the server has been told in this session.
    told: Option<HostFacts>,
    /// How often the server wants to hear from us.
    interval: Duration,
    terms: &'a watch::Sender<Terms>,
}

/// Whether to go on.
type Step = Result<(), Ended>;

impl Session<'_> {
    async fn run(mut self, close: &CancellationToken, opened: impl FnOnce(i64) + Send) -> Ended {
        let mut opened = Some(opened);
        let mut next_heartbeat = clock::timer();
        let mut answer_by: Option<Instant> = None;
        loop {
            let step = tokio::select! {
                () = close.cancelled() => return self.end().await,
                message = self.down.message() => match message {
                    Ok(Some(SessionResponse { message: Some(message) })) => {
                        match self.hear(message) {
                            Ok(Some(difference_ms)) => {
                                answer_by = None;
                                next_heartbeat = clock::timer() + self.interval;
                                if let Some(opened) = opened.take() {
                                    opened(difference_ms);
                                }
                                Ok(())
                            }
                            heard => heard.map(|_| ()),
                        }
                    }
                    // A message of a later protocol.
                    Ok(Some(SessionResponse { message: None })) => Ok(()),
                    Ok(None) => Err(Ended::Lost("the server ended the session".to_owned())),
                    Err(status) => Err(ended_by(&status, opened.is_none())),
                },
                () = sleep_until(next_heartbeat), if answer_by.is_none() => {
                    answer_by = Some(clock::timer() + ANSWER_WITHIN);
                    self.send_heartbeat()
                }
                () = sleep_until(answer_by.unwrap_or(next_heartbeat)), if answer_by.is_some() => {
                    Err(Ended::Lost("the server stopped answering".to_owned()))
                }
            };
            if let Err(ended) = step {
                return ended;
            }
        }
    }

    fn send_heartbeat(&mut self) -> Step {
        let facts = self.dial.subject.facts();
        let changed = self.told.as_ref() != Some(&facts);
        let bundle_digest = self.dial.bundle_digest().map(|digest| digest.as_octets().to_vec());
        let heartbeat = HeartbeatRequest {
            facts: changed.then(|| facts::to_proto(&facts)),
            bundle_digest: bundle_digest.unwrap_or_default(),
            trusts_leaf_alone: Some(self.server.trusts_leaf_alone()),
        };
        self.told = Some(facts);
        let message = Some(session_request::Message::Heartbeat(heartbeat));
        let sent = self.up.try_send(SessionRequest { message });
        sent.map_err(|_| Ended::Lost("the connection takes no more messages".to_owned()))
    }

    /// The server's clock minus ours, in milliseconds, if this was the answer to a heartbeat.
    fn hear(&mut self, message: session_response::Message) -> Result<Option<i64>, Ended> {
        match message {
            session_response::Message::Heartbeat(answer) => Ok(Some(self.acknowledged(&answer))),
            session_response::Message::Rotate(_) => {
                // When the keeper has not read the last one yet, another one adds nothing.
                let _ = self.news.try_send(News::RotateWithin(self.interval));
                Ok(None)
            }
            session_response::Message::Goodbye(goodbye) => {
                let asked = Duration::from_millis(goodbye.reconnect_after_ms.into());
                let reason =
                    format!("the server said goodbye: {}", printable(&goodbye.reason, REFUSAL_CHARS_MAX));
                let window = told_window(goodbye.reconnect_within_ms);
                Err(Ended::Goodbye { reason, after: asked.min(AWAY_MAX), window })
            }
        }
    }

    fn acknowledged(&mut self, answer: &HeartbeatResponse) -> i64 {
        let asked = Duration::from_millis(answer.next_interval_ms.into());
        self.interval = asked.clamp(*INTERVAL.start(), *INTERVAL.end());
        let window = told_window(answer.reconnect_within_ms);
        self.terms.send_replace(Terms { interval: self.interval, window });
        debug!(next_in_ms = self.interval.as_millis(), "heartbeat acknowledged");
        let difference = answer.server_time_ms.saturating_sub(self.dial.clock.now().as_millisecond());
        let _ = self.news.try_send(News::ClockDifference(difference));
        self.dial.told.hear_server_time(answer.server_time_ms);
        difference
    }

    /// Says that nothing more will come, and gives the server a moment to say the same.
    async fn end(mut self) -> Ended {
        drop(self.up);
        let _ = timeout(FAREWELL, async { while let Ok(Some(_)) = self.down.message().await {} }).await;
        info!(reason = Ended::Closed.reason(), "session ended");
        Ended::Closed
    }
}

fn told_window(millis: u32) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis.into()).clamp(*WINDOW.start(), *WINDOW.end()))
}

/// A refusal comes as a status of the server, or as a connection that breaks before the session is open.
fn ended_by(status: &Status, open: bool) -> Ended {
    let cause = std::error::Error::source(status);
    let broken = cause.is_some();
    let cause = cause.map_or_else(|| status.message().to_owned(), chain);
    let text = printable(&format!("{:?}: {cause}", status.code()), REFUSAL_CHARS_MAX);
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated => Ended::PerhapsRefused(text),
        _ if broken && !open => Ended::PerhapsRefused(text),
        _ => Ended::Lost(text),
    }
}
