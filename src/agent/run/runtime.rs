//! `muster agent run`: an identity that stays fresh and a session that stays open.
//!
//! The keeper rotates, the supervisor here holds sessions. After a rotation a new session opens under the new
//! identity before the old one closes, so the server never loses sight of the host.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::agent::config::AgentConfig;
use crate::agent::connect::session_connection::ServerCalls;
use crate::agent::enroll::enroll_on_start::{BootError, Patience, identity_at_boot};
use crate::agent::enroll::requests::ServerRefusal;
use crate::agent::identity::IdentityError;
use crate::agent::local_socket::ListenError;
use crate::agent::relying_party::listener::{RelyingPartyListenError, VouchListener};
use crate::agent::relying_party::settings::RelyingPartySettings;
use crate::agent::relying_party::voucher::Voucher;
use crate::agent::run::backoff::{ReconnectWindow, place_in, random_permille};
use crate::agent::run::readiness::{Notify, Readiness};
use crate::agent::run::reports::PendingReports;
use crate::agent::run::rotator::{InUse, News, Rotator, Surroundings};
use crate::agent::run::session::{Dial, Ended, Terms};
use crate::agent::run::suspend::Wakefulness;
use crate::agent::run::{reports, session};
use crate::agent::trust::kept::TrustFile;
use crate::agent::trust::noted::TrustNotesFile;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::workload::jwt::{BundleSource, JwtDesk};
use crate::agent::workload::listener::{WorkloadListener, WorkloadParts};
use crate::agent::workload::{ConnectionLimit, TurnedAway};
use crate::clock::{self, Clock};
use crate::domain::identity::serial::Serial;
use crate::domain::network::host_port::HostPort;
use crate::tls::client_config::LiveIdentity;

/// How long a rotation in flight may hold up the end of the agent.
const ROTATION_MAY_END: Duration = Duration::from_secs(5);

/// How long the last trust update may take to be on disk at the end.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// How often to look whether the machine has slept.
const LOOK_FOR_SLEEP: Duration = Duration::from_secs(2);

/// How a run ended when nothing failed.
#[derive(Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// It was told to stop.
    Stopped,
    /// The server said that this identity has been revoked.
    Revoked(ServerRefusal),
}

/// Why the agent can't run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("the identity in {} can't be used for TLS", .0.display())]
    Unusable(std::path::PathBuf, #[source] rustls::Error),
    #[error("it is not known where the server's gRPC listener is")]
    NoGrpcAddr,
    #[error(transparent)]
    WorkloadApi(#[from] ListenError),
    #[error(transparent)]
    RelyingParty(#[from] RelyingPartyListenError),
    #[error("a part of the agent failed, so it can't go on")]
    Failed,
}

impl RunError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Identity(error) => error.hint(),
            Self::Boot(error) => error.hint(),
            Self::Unusable(..) => "move the directory aside and enroll again",
            Self::NoGrpcAddr => "set control_plane.grpc_addr to HOST:PORT",
            Self::WorkloadApi(error) => error.hint(),
            Self::RelyingParty(error) => error.hint(),
            Self::Failed => "start it again; if it persists, report it with the log",
        }
    }
}

/// Runs until `stop` is cancelled or the identity is revoked.
pub async fn run(
    config: AgentConfig,
    clock: Arc<dyn Clock>,
    patience: Patience,
    stop: CancellationToken,
    tell: Notify,
) -> Result<RunEnd, RunError> {
    let config = Arc::new(config);
    let dir = config.identity.clone().lock()?;
    let (offer, offered) = watch::channel(None);
    let (servers, known_servers) = watch::channel(Vec::new());
    let calls = ServerCalls::default();
    let turned_away = TurnedAway::default();
    let trust = SharedTrust::new(Arc::clone(&clock));
    let reports = Arc::new(PendingReports::new(Arc::clone(&clock)));
    // Ends with this run, however it ends.
    let serving = stop.child_token();
    let _serving = serving.clone().drop_guard();
    if let Some(socket) = &config.workload_socket {
        let listener = WorkloadListener::open(socket)?;
        info!(socket = %socket.display(), "serving the Workload API");
        let guests = ConnectionLimit::new(config.workload_connections_per_user, turned_away.clone());
        let source = BundleSource { config: Arc::clone(&config), servers: known_servers };
        let jwt = Arc::new(JwtDesk::new(calls.clone(), source, trust.clone()));
        let parts = WorkloadParts { offered, trust: trust.clone(), jwt, reports: Arc::clone(&reports) };
        tokio::spawn(listener.serve(parts, guests, serving.clone()));
    }
    let vouching = match &config.relying_party {
        Some(settings) => Some(Vouching::begin(settings, &trust, &serving).await?),
        None => None,
    };
    let _updates_wanted = config.workload_socket.is_some().then(|| trust.updates_wanted());
    let identity = tokio::select! {
        identity = identity_at_boot(&dir, &config, patience, clock.as_ref()) => identity?,
        () = stop.cancelled() => return Ok(RunEnd::Stopped),
    };
    let path = config.identity.path().to_owned();
    info!(spiffe_id = %identity.svid.spiffe_id, serial = %identity.svid.serial, "identity loaded");
    let kept = TrustFile::of(dir.place(), &identity.svid.spiffe_id);
    trust.restore(kept.read(dir.place()), dir.place().notes().clock_difference_ms);
    if let Some(vouching) = &vouching {
        vouching.voucher.set_own(identity.svid.spiffe_id.clone());
    }
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let noted = TrustNotesFile::of(dir.place(), config.relying_party.as_ref());
    let mut keeping_trust = Vec::from([tokio::spawn(kept.keep(trust.clone(), over.clone()))]);
    if config.workload_socket.is_some() || config.relying_party.is_some() {
        keeping_trust.push(tokio::spawn(noted.keep(trust.clone(), over.clone())));
    } else {
        noted.remove();
    }
    reports.note(reports::ReportedEvent::Started);
    let surroundings =
        Surroundings { offer, servers, calls: calls.clone(), reports: Arc::clone(&reports), turned_away };
    let keeper = Rotator::new(dir, Arc::clone(&config), Arc::clone(&clock), identity, surroundings)
        .map_err(|error| RunError::Unusable(path, error))?;
    if keeper.in_use.borrow().grpc_addrs.is_empty() {
        return Err(RunError::NoGrpcAddr);
    }

    // Sessions that learn more than the keeper can take in drop news that a later heartbeat repeats.
    let (news, heard) = mpsc::channel(16);
    let supervisor = Supervisor::new(&keeper, config, clock, news, (reports, trust, calls));
    tell(Readiness::Ready);
    let mut keeping = tokio::spawn(keeper.run(heard, tell));
    supervisor.run(stop.clone()).await;
    // Either the keeper is gone, or it hears nobody any more and stops after the rotation it may be in. One that
    // takes too long is cut off: on disk there is a whole pair at any moment.
    let kept = tokio::time::timeout(ROTATION_MAY_END, &mut keeping).await;
    keeping.abort();
    if let Some(vouching) = vouching {
        vouching.end(matches!(kept, Ok(Ok(RunEnd::Revoked(_))))).await;
    }
    over.cancel();
    let written = async {
        for keeping in &mut keeping_trust {
            let _ = keeping.await;
        }
    };
    let _ = tokio::time::timeout(LAST_WRITE, written).await;
    match kept {
        Ok(Ok(revoked @ RunEnd::Revoked(_))) => Ok(revoked),
        _ if stop.is_cancelled() => {
            info!("agent stopped");
            Ok(RunEnd::Stopped)
        }
        _ => Err(RunError::Failed),
    }
}

/// Answers relying parties while the agent runs.
struct Vouching {
    voucher: Voucher,
    serving: CancellationToken,
    task: JoinHandle<()>,
}

impl Vouching {
    async fn begin(
        settings: &RelyingPartySettings,
        trust: &SharedTrust,
        serving: &CancellationToken,
    ) -> Result<Self, RelyingPartyListenError> {
        let listener = VouchListener::open(settings).await?;
        let (voucher, serving) = (Voucher::new(trust.clone(), settings), serving.child_token());
        let task = tokio::spawn(listener.serve(voucher.clone(), serving.clone()));
        Ok(Self { voucher, serving, task })
    }

    /// Lets open questions be answered: with no, where the agent's own identity is revoked.
    async fn end(self, revoked: bool) {
        if revoked {
            self.voucher.revoke();
        }
        self.serving.cancel();
        // It waits for a second at most.
        let _ = self.task.await;
    }
}

/// Holds one session, and two while one replaces the other.
struct Supervisor {
    config: Arc<AgentConfig>,
    clock: Arc<dyn Clock>,
    live: Arc<LiveIdentity>,
    in_use: watch::Receiver<InUse>,
    news: mpsc::Sender<News>,
    reports: Arc<PendingReports>,
    calls: ServerCalls,
    trust: SharedTrust,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    /// The attempts to come back since a session was open.
    comeback: Option<ReconnectWindow>,
    /// What the server asks for.
    terms: watch::Sender<Terms>,
    /// Since when and why there has been no session, after there was one.
    lost: Option<(Instant, String)>,
    /// The session that is open.
    current: Option<Held>,
    /// The session that is being opened.
    coming: Option<Held>,
    open_at: Option<Instant>,
    opened_total: u64,
}

struct Held {
    number: u64,
    serial: Serial,
    close: CancellationToken,
    task: JoinHandle<()>,
}

struct Event {
    number: u64,
    what: What,
}

enum What {
    /// By this address.
    Opened(HostPort),
    Ended(Ended),
}

impl Supervisor {
    fn new(
        keeper: &Rotator,
        config: Arc<AgentConfig>,
        clock: Arc<dyn Clock>,
        news: mpsc::Sender<News>,
        (reports, trust, calls): (Arc<PendingReports>, SharedTrust, ServerCalls),
    ) -> Self {
        Self {
            config,
            clock,
            live: Arc::clone(&keeper.live),
            in_use: keeper.in_use.subscribe(),
            news,
            reports,
            calls,
            trust,
            events: mpsc::channel(8),
            lost: None,
            comeback: None,
            terms: watch::Sender::new(Terms::UNTOLD),
            current: None,
            coming: None,
            open_at: Some(clock::timer()),
            opened_total: 0,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut wakefulness = Wakefulness::at(self.clock.now(), clock::monotonic());
        let mut look = tokio::time::interval(LOOK_FOR_SLEEP);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let open_at = self.open_at.filter(|_| self.coming.is_none());
            tokio::select! {
                _ = look.tick() => {
                    if wakefulness.slept_until(self.clock.now(), clock::monotonic()) {
                        self.woke_up();
                    }
                }
                () = stop.cancelled() => break,
                event = self.events.1.recv() => {
                    if let Some(event) = event {
                        self.on_event(event).await;
                    }
                }
                changed = self.in_use.changed() => {
                    // The keeper is gone; whoever runs us sees why.
                    if changed.is_err() {
                        break;
                    }
                    self.comeback = None;
                    self.open_at = Some(clock::timer());
                }
                () = sleep_until(open_at.unwrap_or_else(clock::timer)), if open_at.is_some() => self.open(),
            }
        }
        if stop.is_cancelled() {
            self.reports.note(reports::ReportedEvent::Stopping);
        }
        for held in [self.coming.take(), self.current.take()].into_iter().flatten() {
            held.close.cancel();
            let _ = held.task.await;
        }
    }

    fn open(&mut self) {
        self.open_at = None;
        self.opened_total += 1;
        let number = self.opened_total;
        let close = CancellationToken::new();
        let InUse { serial, grpc_addrs, roots } = self.in_use.borrow_and_update().clone();
        let dial = Dial {
            addrs: grpc_addrs,
            dialer: Arc::clone(&self.config.dialer),
            trust: self.config.later_trust(),
            identity: Arc::clone(&self.live),
            serial,
            roots,
            clock: Arc::clone(&self.clock),
            subject: self.config.subject.clone(),
            reports: Arc::clone(&self.reports),
            calls: self.calls.clone(),
            told: self.trust.clone(),
        };
        let (news, events, closing) = (self.news.clone(), self.events.0.clone(), close.clone());
        let terms = self.terms.clone();
        let task = tokio::spawn(async move {
            let opened = |addr: &HostPort| {
                let _ = events.try_send(Event { number, what: What::Opened(addr.clone()) });
            };
            let ended = session::hold(&dial, &news, &closing, &terms, opened).await;
            let _ = events.send(Event { number, what: What::Ended(ended) }).await;
        });
        self.coming = Some(Held { number, serial, close, task });
    }

    async fn on_event(&mut self, Event { number, what }: Event) {
        let is = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.number == number);
        match what {
            What::Opened(addr) if is(&self.coming) => {
                let Some(opened) = self.coming.take() else { return };
                info!(grpc_addr = %addr, serial = %opened.serial, "session open");
                self.comeback = None;
                self.found_again();
                if let Some(old) = self.current.replace(opened) {
                    old.close.cancel();
                }
            }
            What::Opened(_) | What::Ended(Ended::Closed) => {}
            What::Ended(ended) if is(&self.coming) => {
                self.coming = None;
                self.after(ended).await;
            }
            What::Ended(ended) if is(&self.current) => {
                self.current = None;
                self.lost = Some((clock::timer(), ended.reason().to_owned()));
                self.after(ended).await;
            }
            // The old one of two broke before it could be closed.
            What::Ended(_) => {}
        }
    }

    /// A connection from before a sleep is most likely dead, and would be found so only when an answer is overdue.
    fn woke_up(&mut self) {
        let (window, _) = self.terms.borrow().windows();
        let wait = place_in(window, random_permille());
        info!(
            in_ms = wait.as_millis(),
            "this machine has slept, or its clock was set; opening a new session"
        );
        let at = clock::timer() + wait;
        self.open_at = Some(self.open_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// An absence that the server may have noticed is worth a report.
    fn found_again(&mut self) {
        let Some((since, reason)) = self.lost.take() else { return };
        let away = since.elapsed();
        if away > self.terms.borrow().interval {
            self.reports.note(reports::ReportedEvent::Recovered { away, reason });
        }
    }

    async fn after(&mut self, ended: Ended) {
        let terms = *self.terms.borrow();
        let (after, terms) = match &ended {
            Ended::Goodbye { after, window, .. } => (*after, Terms { window: *window, ..terms }),
            _ => (Duration::ZERO, terms),
        };
        let (window, longest) = terms.windows();
        let comeback =
            self.comeback.get_or_insert_with(|| ReconnectWindow::new(window, longest, random_permille()));
        let wait = after + comeback.wait();
        warn!(reason = ended.reason(), reconnect_in_ms = wait.as_millis(), "session ended");
        if let Ended::PerhapsRefused(reason) = ended {
            let _ = self.news.send(News::PerhapsRefused(reason)).await;
        }
        let at = clock::timer() + wait;
        self.open_at = Some(self.open_at.map_or(at, |earlier| earlier.min(at)));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use jiff::SignedDuration;
    use zeroize::Zeroizing;

    use super::*;
    use crate::agent::config::EnrollConfig;
    use crate::agent::connect::dial::Dialer;
    use crate::agent::connect::dial::tests::BlackHole;
    use crate::agent::connect::proxy::ProxySettings;
    use crate::agent::connect::server_url::ServerUrl;
    use crate::agent::enroll::credential_source::{CredentialPlace, CredentialSource, SecretText};
    use crate::agent::facts::Subject;
    use crate::agent::identity::IdentityDir;
    use crate::agent::state_file::AgentState;
    use crate::agent::test_server::{TestServer, problem};
    use crate::agent::workload::PER_USER_USUAL;
    use crate::clock::SystemClock;
    use crate::domain::enroll::credential::{Credential, CredentialKind};
    use crate::domain::ids::CredentialId;
    use crate::grpc::proto::session_response::Message;
    use crate::grpc::proto::{Goodbye, Rotate};

    pub(crate) struct Running {
        stop: CancellationToken,
        pub(crate) task: JoinHandle<Result<RunEnd, RunError>>,
    }

    pub(crate) fn start(dir: &Path, server: &TestServer) -> Running {
        start_elsewhere(dir, server, None, Arc::new(SystemClock))
    }

    fn start_dialing(dir: &Path, server: &TestServer, url: &str, dialer: Dialer) -> Running {
        start_with(dir, server, url.parse().unwrap(), None, Arc::new(SystemClock), &Arc::new(dialer))
    }

    fn start_elsewhere(
        dir: &Path,
        server: &TestServer,
        grpc_addr: Option<HostPort>,
        clock: Arc<dyn Clock>,
    ) -> Running {
        start_with(dir, server, server.url.clone(), grpc_addr, clock, &Arc::default())
    }

    fn start_with(
        dir: &Path,
        server: &TestServer,
        url: ServerUrl,
        grpc_addr: Option<HostPort>,
        clock: Arc<dyn Clock>,
        dialer: &Arc<Dialer>,
    ) -> Running {
        let id = CredentialId::from_bytes([7; 10]);
        let token = Credential::new(CredentialKind::JoinToken, id, Zeroizing::new([9; 32])).reveal();
        let credential = CredentialSource {
            kind: CredentialKind::JoinToken,
            place: CredentialPlace::Given(SecretText::new(&token)),
        };
        let config = AgentConfig {
            identity: IdentityDir::new(dir),
            server_ca: None,
            grpc_addr,
            server: None,
            enroll: EnrollConfig { credential: Some(credential), server: Some(url), pin: Some(server.pin()) },
            workload_socket: None,
            workload_connections_per_user: PER_USER_USUAL,
            relying_party: None,
            subject: Subject::ThisMachine,
            dialer: Arc::clone(dialer),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(
            config,
            clock,
            Patience::default(),
            stop.clone(),
            crate::agent::run::readiness::tell_nobody,
        ));
        Running { stop, task }
    }

    impl Running {
        pub(crate) async fn stop(self) {
            self.stop.cancel();
            assert_eq!(self.task.await.unwrap().unwrap(), RunEnd::Stopped);
        }
    }

    /// Waits as long as a busy machine may take; an agent whose certificate ran out meanwhile waits half a minute
    /// between attempts.
    pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !condition() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn sessions_total(server: &TestServer) -> usize {
        server.seen.lock().sessions.len()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_agent_enrolls_reports_and_stops() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("heartbeats", || server.seen.lock().heartbeats.len() >= 3).await;
        let heartbeats = server.seen.lock().heartbeats.clone();
        assert!(heartbeats[0].facts.as_ref().is_some_and(|facts| !facts.hostname.is_empty()));
        assert!(heartbeats[1..].iter().all(|heartbeat| heartbeat.facts.is_none()));
        let notes = IdentityDir::new(dir.path()).notes();
        assert!(notes.clock_difference_ms.is_some_and(|millis| millis.abs() < 5_000));
        agent.stop().await;
        until("the end of the session", || server.open_sessions().is_empty()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn rotation_changes_the_session_without_a_gap() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let gap = Arc::new(AtomicBool::new(false));
        let seen_gap = || {
            if server.open_sessions().is_empty() {
                gap.store(true, Ordering::Relaxed);
            }
        };
        until("three rotations", || {
            seen_gap();
            sessions_total(&server) >= 4
        })
        .await;
        assert!(!gap.load(Ordering::Relaxed), "the host was out of sight");
        until("one session only", || server.open_sessions().len() == 1).await;
        let serials: Vec<_> = server.seen.lock().sessions.iter().map(|s| s.serial).collect();
        assert!(serials.windows(2).all(|pair| pair[0] < pair[1]), "{serials:?}");
        let rotations = server.seen.lock().requests.iter().filter(|(p, _)| p.ends_with("rotate")).count();
        assert!(rotations >= 3);
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_server_asks_for_a_rotation_and_a_flood_of_asking_is_one() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("an answered heartbeat", || server.seen.lock().heartbeats.len() >= 2).await;
        for _ in 0..10 {
            server.say(Message::Rotate(Rotate {})).await;
        }
        until("a new session", || sessions_total(&server) == 2 && server.open_sessions().len() == 1).await;
        let heard = server.seen.lock().heartbeats.len();
        until("more heartbeats", || server.seen.lock().heartbeats.len() > heard + 3).await;
        assert_eq!(server.requests(), 2);
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn goodbye_means_until_later() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("an answered heartbeat", || server.seen.lock().heartbeats.len() >= 2).await;
        server
            .say(Message::Goodbye(Goodbye {
                reason: "restart".into(),
                reconnect_after_ms: 1,
                reconnect_within_ms: 1,
            }))
            .await;
        until("another session", || sessions_total(&server) == 2).await;
        assert_eq!(server.requests(), 1, "a goodbye is no refusal");
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_refused_session_is_no_verdict_but_a_refused_rotation_is() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;

        // Refused for a passing reason: the rotation goes through, and so does the next session.
        let deny = |server: &TestServer| {
            let serials = server.open_sessions();
            server.knobs.lock().denied.extend(&serials);
            let mut seen = server.seen.lock();
            let closed = seen.sessions.iter_mut().filter(|session| session.open);
            closed.map(|session| session.down.clone()).collect::<Vec<_>>()
        };
        for down in deny(&server) {
            down.send(Err(tonic::Status::permission_denied("passing"))).await.unwrap();
        }
        until("a session of a new identity", || sessions_total(&server) == 2).await;

        // A new run: the suspicion of a moment ago would hold the next one back for a while.
        agent.stop().await;
        server.twist(|_, _, _| problem(403, "identity_revoked"));
        let agent = start(dir.path(), &server);
        until("a session", || server.open_sessions().len() == 1).await;
        for down in deny(&server) {
            down.send(Err(tonic::Status::permission_denied("revoked"))).await.unwrap();
        }
        let end = agent.task.await.unwrap().unwrap();
        assert!(matches!(&end, RunEnd::Revoked(refusal) if refusal.code == "identity_revoked"), "{end:?}");
        let notes = IdentityDir::new(dir.path());
        assert_eq!(notes.notes().last_refusal.unwrap().code, "identity_revoked");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_certificate_that_tls_turns_down_is_asked_about() {
        let server = TestServer::start().await;
        let stranger = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        agent.stop().await;
        let both = server.server_ca() + &stranger.server_ca();
        std::fs::write(dir.path().join("server-ca.pem"), both).unwrap();
        let place = IdentityDir::new(dir.path());
        let addr: HostPort = stranger.grpc_addr.to_string().parse().unwrap();
        let notes = AgentState { grpc_addr: Some(addr.clone()), grpc_addrs: vec![addr], ..place.notes() };
        place.lock().unwrap().write_notes(&notes).unwrap();
        let agent = start(dir.path(), &server);
        until("a rotation", || server.requests() == 2).await;
        agent.stop().await;
        assert_eq!(sessions_total(&stranger), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_bad_answer_to_a_rotation_keeps_the_identity_in_use() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(20);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let before = std::fs::read(dir.path().join("cert.pem")).unwrap();
        server.twist(|server, request, _| {
            let key = crate::agent::test_server::public_key(request["csr"].as_str().unwrap());
            let issued = server.ca.issue(&key, "someone-else", SignedDuration::from_secs(20));
            (200, "application/json", serde_json::to_vec(&server.ca.answer(&issued, None)).unwrap())
        });
        until("two attempts", || server.requests() >= 3).await;
        assert_eq!(std::fs::read(dir.path().join("cert.pem")).unwrap(), before);
        server.untwist();
        until("a rotation", || std::fs::read(dir.path().join("cert.pem")).unwrap() != before).await;
        until("a new session", || sessions_total(&server) >= 2).await;
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_server_says_of_its_ca_is_taken_over() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        let next = TestServer::start().await.server_ca();
        let told = next.clone();
        server.twist(move |_, _, (status, kind, body)| {
            let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body["server_ca"] = told.clone().into();
            (status, kind, serde_json::to_vec(&body).unwrap())
        });
        let file = dir.path().join("server-ca.pem");
        let both = server.server_ca() + &next;
        until("the new CA beside the old one", || std::fs::read_to_string(&file).unwrap() == both).await;
        // Nonsense costs neither the rotation nor the trust.
        server.twist(|_, _, (status, kind, body)| {
            let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body["server_ca"] = "nonsense".into();
            (status, kind, serde_json::to_vec(&body).unwrap())
        });
        let rotations = sessions_total(&server);
        until("more rotations", || sessions_total(&server) >= rotations + 2).await;
        assert_eq!(std::fs::read_to_string(&file).unwrap(), both);
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_expired_identity_says_what_to_do_and_is_tried_again() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(4);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &server);
        until("a session", || !server.open_sessions().is_empty()).await;
        server.twist(|_, _, _| problem(401, "svid_expired"));
        let place = IdentityDir::new(dir.path());
        let refusal = || place.notes().last_refusal.filter(|refused| refused.code == "svid_expired");
        until("a refusal", || refusal().is_some()).await;
        let hint = refusal().unwrap().hint;
        assert!(hint.contains("--agent web-1") && hint.contains("--token-file FILE --dir"), "{hint}");
        let asked = server.requests();
        until("another attempt", || server.requests() > asked).await;
        server.untwist();
        until("a rotation", || place.notes().last_refusal.is_none()).await;
        agent.stop().await;
    }

    fn reported(server: &TestServer) -> Vec<String> {
        server.seen.lock().reported.iter().map(|event| event.kind.clone()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_happens_is_reported_by_the_servers_clock() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let an_hour = Arc::new(Off(SignedDuration::from_hours(1)));
        let agent = start_elsewhere(dir.path(), &server, None, an_hour);
        until("a rotation", || reported(&server).iter().any(|kind| kind == "identity_rotated")).await;
        server.twist(|_, _, _| problem(500, "internal"));
        until("a failure", || reported(&server).iter().any(|kind| kind == "rotation_failed")).await;
        let asked = server.requests();
        until("more failures", || server.requests() > asked + 1).await;
        server.untwist();
        agent.stop().await;
        let mut kinds = reported(&server);
        kinds.dedup_by(|a, b| a == b && a == "identity_rotated");
        assert_eq!(kinds[0], "agent_started");
        assert_eq!(kinds.last().unwrap(), "agent_stopping");
        assert_eq!(kinds.iter().filter(|kind| *kind == "rotation_failed").count(), 1, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| *kind == "clock_off").count(), 1, "{kinds:?}");
        let seen = server.seen.lock();
        let now = jiff::Timestamp::now().as_millisecond();
        assert!(seen.reported.iter().all(|event| (now - event.at_ms).abs() < 60_000), "{:?}", seen.reported);
        let failed = seen.reported.iter().find(|event| event.kind == "rotation_failed").unwrap();
        assert!(failed.detail["reason"].contains("refused (500 internal)"), "{failed:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_takes_no_reports_costs_nothing() {
        for code in [tonic::Code::Unimplemented, tonic::Code::ResourceExhausted] {
            let server = TestServer::start().await;
            server.knobs.lock().report_refusal = Some(code);
            let dir = tempfile::tempdir().unwrap();
            let agent = start(dir.path(), &server);
            until("heartbeats", || server.seen.lock().heartbeats.len() >= 5).await;
            let begun = Instant::now();
            agent.stop().await;
            assert!(begun.elapsed() < Duration::from_secs(3), "{code:?}: {:?}", begun.elapsed());
            assert_eq!((sessions_total(&server), reported(&server).len()), (1, 0));
        }
    }

    /// What the server names besides, in every answer from now on.
    pub(crate) fn name(server: &TestServer, fields: serde_json::Value) {
        server.twist(move |_, _, (status, kind, body)| {
            let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            for (field, value) in fields.as_object().unwrap() {
                body[field] = value.clone();
            }
            (status, kind, serde_json::to_vec(&body).unwrap())
        });
    }

    fn rotations(server: &TestServer) -> usize {
        server.seen.lock().requests.iter().filter(|(path, _)| path.ends_with("rotate")).count()
    }

    fn nobody_there() -> std::net::SocketAddr {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_address_that_a_rotation_names_counts_from_the_next_dial() {
        let (old, new) = (TestServer::start().await, TestServer::start().await);
        old.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let agent = start(dir.path(), &old);
        until("a session", || !old.open_sessions().is_empty()).await;
        // The other one's CA, for sessions there: its certificates are turned down there, which is a contact all the same.
        std::fs::write(dir.path().join("server-ca.pem"), old.server_ca() + &new.server_ca()).unwrap();
        let dead = nobody_there();
        name(
            &old,
            serde_json::json!({
                "grpc_addrs": [dead.to_string(), "nonsense", old.grpc_addr.to_string()],
                "grpc_addr": new.grpc_addr.to_string(),
                "servers": [format!("https://{dead}"), new.url, old.url],
            }),
        );
        until("a session past the dead address", || sessions_total(&old) >= 2).await;
        let notes = IdentityDir::new(dir.path()).notes();
        let told: Vec<_> = notes.grpc_addrs.iter().map(ToString::to_string).collect();
        assert_eq!(told, [dead.to_string(), old.grpc_addr.to_string(), new.grpc_addr.to_string()]);
        // The next rotation goes to the servers in the order that was told, without a restart.
        until("the one named before the old one is asked", || rotations(&new) >= 1).await;
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn settings_are_the_way_back_when_what_was_told_is_wrong() {
        let server = TestServer::start().await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let dir = tempfile::tempdir().unwrap();
        let dead = nobody_there();
        name(
            &server,
            serde_json::json!({
                "grpc_addr": dead.to_string(),
                "servers": [format!("https://{dead}")],
            }),
        );
        let set = server.grpc_addr.to_string().parse().unwrap();
        let agent = start_elsewhere(dir.path(), &server, Some(set), Arc::new(SystemClock));
        until("a session where the settings say", || !server.open_sessions().is_empty()).await;
        until("a rotation where the settings say", || rotations(&server) >= 1).await;
        agent.stop().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn an_address_that_swallows_everything_costs_neither_rotation_nor_session() {
        let server = TestServer::start_named("control.example").await;
        server.knobs.lock().lifetime = SignedDuration::from_secs(6);
        let (hole, https) = (BlackHole::open(), server.url.host_port().to_string().parse().unwrap());
        let dialer = Dialer::default().knowing(&[
            ("control.example:8443", &[hole.address, https]),
            ("control.example:9443", &[hole.address, server.grpc_addr]),
        ]);
        name(&server, serde_json::json!({"grpc_addr": "control.example:9443"}));
        let dir = tempfile::tempdir().unwrap();
        let agent = start_dialing(dir.path(), &server, "https://control.example:8443", dialer);
        until("a session after a rotation", || sessions_total(&server) >= 2).await;
        assert!(rotations(&server) >= 1);
        agent.stop().await;
    }

    /// A proxy that opens tunnels to these places and writes down what it was asked for.
    async fn proxy(
        places: Vec<(&'static str, std::net::SocketAddr)>,
    ) -> (String, Arc<parking_lot::Mutex<Vec<String>>>) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://agent:hunter2@{}", listener.local_addr().unwrap());
        let asked: Arc<parking_lot::Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (places, seen) = (places.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    let place = head.split(' ').nth(1).unwrap().to_owned();
                    seen.lock().push(head);
                    let to = places.iter().find(|(name, _)| *name == place).unwrap().1;
                    let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        (url, asked)
    }

    fn behind(proxy: &str) -> Dialer {
        Dialer::new(ProxySettings::from_environment(&|name| {
            (name == "HTTPS_PROXY").then(|| proxy.to_owned())
        }))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_goes_through_the_proxy_that_the_environment_names() {
        let server = TestServer::start_named("control.example").await;
        name(&server, serde_json::json!({"grpc_addr": "control.example:9443"}));
        let https = server.url.host_port().to_string().parse().unwrap();
        let places = vec![("control.example:8443", https), ("control.example:9443", server.grpc_addr)];
        let (url, asked) = proxy(places).await;
        let dir = tempfile::tempdir().unwrap();
        // There is no way but through the proxy: here, the names mean nothing.
        let dialer = behind(&url).knowing(&[]);
        let agent = start_dialing(dir.path(), &server, "https://control.example:8443", dialer);
        until("heartbeats", || server.seen.lock().heartbeats.len() >= 2).await;
        agent.stop().await;
        let asked = asked.lock().clone();
        for place in ["control.example:8443", "control.example:9443"] {
            let request =
                asked.iter().find(|head| head.starts_with(&format!("CONNECT {place} HTTP/1.1\r\n")));
            let request = request.unwrap_or_else(|| panic!("{place}: {asked:?}"));
            assert!(request.contains(&format!("\r\nHost: {place}\r\n")), "{request}");
            assert!(request.contains("\r\nProxy-Authorization: Basic YWdlbnQ6aHVudGVyMg==\r\n"), "{request}");
        }
        assert_eq!(IdentityDir::new(dir.path()).notes().proxy_failure, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_proxy_that_is_not_there_is_told_and_the_direct_way_is_taken() {
        let server = TestServer::start_named("control.example").await;
        name(&server, serde_json::json!({"grpc_addr": "control.example:9443"}));
        let https = server.url.host_port().to_string().parse().unwrap();
        let dialer = behind(&format!("http://agent:hunter2@{}", nobody_there()))
            .knowing(&[("control.example:8443", &[https]), ("control.example:9443", &[server.grpc_addr])]);
        let dir = tempfile::tempdir().unwrap();
        let agent = start_dialing(dir.path(), &server, "https://control.example:8443", dialer);
        let place = IdentityDir::new(dir.path());
        until("a note", || place.notes().proxy_failure.is_some() && place.notes().reported_at.is_some())
            .await;
        agent.stop().await;
        let status = crate::agent::status::status(&place, jiff::Timestamp::now());
        assert!(status.healthy());
        let text = status.to_text();
        assert!(text.contains("can't be reached") && text.contains("NO_PROXY"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[derive(Debug, Default)]
    struct Jumping(std::sync::atomic::AtomicI64);

    impl Clock for Jumping {
        fn now(&self) -> jiff::Timestamp {
            SystemClock.now() + SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn after_a_sleep_a_new_session_replaces_the_one_that_may_be_dead() {
        let server = TestServer::start().await;
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(Jumping::default());
        let agent = start_elsewhere(dir.path(), &server, None, Arc::clone(&clock) as Arc<dyn Clock>);
        until("a session", || server.open_sessions().len() == 1).await;
        clock.0.store(600, Ordering::Relaxed);
        let woke = Instant::now();
        until("another session", || sessions_total(&server) == 2 && server.open_sessions().len() == 1).await;
        assert!(woke.elapsed() < Duration::from_secs(5), "{:?}", woke.elapsed());
        agent.stop().await;
    }

    #[derive(Debug)]
    struct Off(SignedDuration);

    impl Clock for Off {
        fn now(&self) -> jiff::Timestamp {
            SystemClock.now() + self.0
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_servers_clock_decides() {
        for hours in [-1, 1] {
            let server = TestServer::start().await;
            server.knobs.lock().lifetime = SignedDuration::from_secs(30);
            let dir = tempfile::tempdir().unwrap();
            let off = SignedDuration::from_hours(hours);
            let agent = start_elsewhere(dir.path(), &server, None, Arc::new(Off(off)));
            until("heartbeats", || server.seen.lock().heartbeats.len() >= 3).await;
            let notes = IdentityDir::new(dir.path()).notes();
            let difference = SignedDuration::from_millis(notes.clock_difference_ms.unwrap());
            assert!((difference + off).abs() < SignedDuration::from_secs(3), "{difference}");
            // Neither early nor late: it was enrolled just now.
            assert_eq!(server.requests(), 1);
            agent.stop().await;
        }
    }
}
