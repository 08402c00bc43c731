//! `AgentService`: heartbeats into presence, and sessions that end when they must.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::gate::Gate;
use super::proto::agent_service_server::AgentService;
use super::proto::{
    Goodbye, HeartbeatRequest, HeartbeatResponse, HostFacts, RenewRequest, RenewResponse, ReportRequest,
    ReportResponse, Rotate, SessionRequest, SessionResponse, SignJwtRequest, SignJwtResponse, TrustUpdate,
    WatchTrustRequest, session_request, session_response,
};
use super::renew::Renewals;
use super::report::ReportCall;
use super::status::{AgentRefusal, status};
use crate::app::insight::fleet::Fleet;
use crate::app::insight::history::History;
use crate::app::insight::live_counts::Counted;
use crate::app::issue::jwt_svids::{JwtCaller, JwtRefusal, JwtSvids};
use crate::clock;
use crate::domain::code::Code;
use crate::domain::host;
use crate::domain::identity::hierarchy::BundleDigest;
use crate::grpc::reconnect_window::{millis, window};
use crate::grpc::rotation_requests::RotationRequests;
use crate::tls::client_verifier::PeerIdentity;
use crate::tls::live::{LivePeer, LivePeers};

/// How often a session looks whether its certificate has expired, at the latest. Wall clocks jump, so the
/// time left is not simply slept through.
const EXPIRY_LOOK_MAX: Duration = Duration::from_secs(30);

/// Agents that a stopping server sends away need not try sooner than this.
const RECONNECT_AFTER_MS: u32 = 1_000;

#[derive(Debug, Clone)]
pub(crate) struct AgentApi {
    pub gate: Gate,
    pub fleet: Arc<Fleet>,
    pub history: Arc<History>,
    pub jwt: Arc<JwtSvids>,
    pub renewals: Renewals,
    pub live: LivePeers,
    pub heartbeat_interval: SignedDuration,
    /// Agents whose SVIDs were made before this are asked to rotate.
    pub rotations_asked: watch::Receiver<Option<Timestamp>>,
    /// Over how long those who are sent away spread their return, in milliseconds: what it was for the first of
    /// them, because with each that goes there seem to be fewer.
    pub farewell_window: Arc<OnceLock<u32>>,
    pub shutdown: CancellationToken,
}

impl AgentApi {
    fn answer(&self, peer: &PeerIdentity, heartbeat: &HeartbeatRequest) -> HeartbeatResponse {
        let now = self.gate.clock.now();
        self.fleet.report(peer.host(), peer.serial(), heartbeat.facts.as_ref().map(bounded), now);
        let bundle = BundleDigest::from_octets(&heartbeat.bundle_digest);
        let says = host::HostTrust { bundle, leaf_alone: heartbeat.trusts_leaf_alone };
        self.fleet.told_trust(peer.host(), says);
        HeartbeatResponse {
            next_interval_ms: millis(self.interval()),
            server_time_ms: now.as_millisecond(),
            reconnect_within_ms: self.window_ms(),
        }
    }

    fn interval(&self) -> Duration {
        self.heartbeat_interval.unsigned_abs()
    }

    fn window_ms(&self) -> u32 {
        millis(window(self.live.count(), self.interval()))
    }
}

fn bounded(facts: &HostFacts) -> host::HostFacts {
    let HostFacts { hostname, os, arch, ips, machine_id, agent_version } = facts;
    let ips = ips.iter().filter_map(|ip| ip.parse().ok());
    host::HostFacts::bounded([hostname, os, arch, machine_id, agent_version], ips)
}

/// In a request: the address that its connection came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CameFrom(pub(crate) IpAddr);

/// The agent that the gate let through.
fn peer<T>(request: &Request<T>) -> Result<&Arc<LivePeer>, AgentRefusal> {
    request.extensions().get::<Arc<LivePeer>>().ok_or(AgentRefusal::NoIdentity)
}

#[tonic::async_trait]
impl AgentService for AgentApi {
    async fn heartbeat(
        &self,
        request: Request<HeartbeatRequest>,
    ) -> Result<Response<HeartbeatResponse>, Status> {
        let peer = Arc::clone(peer(&request)?);
        Ok(Response::new(self.answer(peer.identity(), request.get_ref())))
    }

    type SessionStream = AgentSession;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let peer = Arc::clone(peer(&request)?);
        Ok(Response::new(AgentSession::new(self.clone(), peer, request.into_inner())))
    }

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let peer = Arc::clone(peer(&request)?);
        let reports = ReportCall { gate: &self.gate, history: &self.history, shutdown: &self.shutdown };
        reports.take(&peer, request.into_inner()).await.map(Response::new)
    }

    type WatchTrustStream = tokio_stream::Empty<Result<TrustUpdate, Status>>;

    async fn watch_trust(
        &self,
        _request: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        // `trust::door` stands before this service and answers it.
        Err(Status::internal("a watch of trust came to the wrong door"))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        let peer = Arc::clone(peer(&request)?);
        let address = request.extensions().get::<CameFrom>().map(|came_from| came_from.0);
        self.renewals.renew(peer.identity(), request.into_inner(), address).await.map(Response::new)
    }

    async fn sign_jwt(&self, request: Request<SignJwtRequest>) -> Result<Response<SignJwtResponse>, Status> {
        let peer = Arc::clone(peer(&request)?);
        let SignJwtRequest { audience, ttl_seconds } = request.into_inner();
        let identity = peer.identity();
        let caller = JwtCaller {
            identity: identity.identity().clone(),
            serial: identity.serial(),
            not_after: identity.not_after(),
        };
        let ttl = (ttl_seconds > 0).then(|| SignedDuration::from_secs(ttl_seconds.into()));
        let signed = self.jwt.sign(&caller, audience, ttl, self.gate.clock.now()).await;
        let signed = signed.map_err(|refused| jwt_refused(&refused))?;
        // A token that was signed while its identity was revoked leaves no more than a certificate would.
        self.gate.check(identity)?;
        Ok(Response::new(SignJwtResponse {
            svid: signed.token,
            expires_at_ms: signed.expires_at.as_millisecond(),
        }))
    }
}

pub(crate) fn jwt_refused(refused: &JwtRefusal) -> Status {
    let code = match refused {
        JwtRefusal::Audiences | JwtRefusal::Audience => Code::BadRequest,
        JwtRefusal::TooFast => Code::Throttled,
        JwtRefusal::Expired => Code::SvidExpired,
        JwtRefusal::NoKey => Code::CaUnavailable,
        JwtRefusal::Signing(_) => Code::Unavailable,
        JwtRefusal::Unavailable(error) => error.code(),
    };
    status(code, refused.to_string())
}

/// The server's side of a session: one answer per heartbeat, and the right last word.
///
/// A stream that is polled rather than a task with a channel: nothing is queued, an agent that does not
/// read its answers is not read from either, and an idle session costs no stack.
pub(crate) struct AgentSession {
    api: AgentApi,
    peer: Arc<LivePeer>,
    incoming: Streaming<SessionRequest>,
    /// Its one future is polled when it was woken, not with every message: the signal to stop is one that all share.
    ends: FuturesUnordered<Ending>,
    expiry_look: Pin<Box<Sleep>>,
    rotation: RotationRequests,
    phase: Phase,
    _counted: Counted,
}

type Ending = Pin<Box<dyn Future<Output = AgentRefusal> + Send>>;

/// Why a session ends before its certificate does.
async fn ending(peer: Arc<LivePeer>, shutdown: CancellationToken) -> AgentRefusal {
    tokio::select! {
        biased;
        () = peer.revoked().cancelled() => AgentRefusal::Revoked,
        () = shutdown.cancelled() => AgentRefusal::Stopping,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The goodbye is sent; the status comes next.
    Leaving,
    Over,
}

impl AgentSession {
    fn new(api: AgentApi, peer: Arc<LivePeer>, incoming: Streaming<SessionRequest>) -> Self {
        let ending: Ending = Box::pin(ending(Arc::clone(&peer), api.shutdown.clone()));
        let mut session = Self {
            ends: FuturesUnordered::from_iter([ending]),
            expiry_look: Box::pin(tokio::time::sleep(Duration::ZERO)),
            rotation: RotationRequests::new(api.rotations_asked.clone(), peer.identity().serial()),
            phase: Phase::Open,
            _counted: api.renewals.app.live_counts.sessions.enter(),
            api,
            peer,
            incoming,
        };
        session.schedule_expiry_look();
        session
    }

    fn schedule_expiry_look(&mut self) {
        // The last second is still valid, so the first moment of expiry is one second later.
        let left = self.peer.identity().not_after().duration_since(self.api.gate.clock.now());
        let left = Duration::try_from(left).unwrap_or_default() + Duration::from_secs(1);
        self.expiry_look.as_mut().reset(clock::timer() + left.min(EXPIRY_LOOK_MAX));
    }

    /// Why the session has to end now, or the moment to look again is noted.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Option<AgentRefusal> {
        if let Poll::Ready(Some(refusal)) = self.ends.poll_next_unpin(cx) {
            return Some(refusal);
        }
        while self.expiry_look.as_mut().poll(cx).is_ready() {
            if let Err(refused) = self.api.gate.check(self.peer.identity()) {
                return Some(refused);
            }
            self.schedule_expiry_look();
        }
        None
    }

    fn answer(&mut self, request: SessionRequest) -> Result<Option<SessionResponse>, AgentRefusal> {
        self.api.gate.admit(self.peer.identity())?;
        // A message of a kind that this server does not know is from a newer agent, and harmless.
        let Some(session_request::Message::Heartbeat(heartbeat)) = request.message else { return Ok(None) };
        let response = self.api.answer(self.peer.identity(), &heartbeat);
        Ok(Some(message(session_response::Message::Heartbeat(response))))
    }

    fn goodbye(&self) -> SessionResponse {
        message(session_response::Message::Goodbye(Goodbye {
            reason: AgentRefusal::Stopping.to_string(),
            reconnect_after_ms: RECONNECT_AFTER_MS,
            reconnect_within_ms: *self.api.farewell_window.get_or_init(|| self.api.window_ms()),
        }))
    }
}

const fn message(message: session_response::Message) -> SessionResponse {
    SessionResponse { message: Some(message) }
}

impl Stream for AgentSession {
    type Item = Result<SessionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match this.phase {
            Phase::Open => {}
            Phase::Leaving => {
                this.phase = Phase::Over;
                return Poll::Ready(Some(Err(AgentRefusal::Stopping.into())));
            }
            Phase::Over => return Poll::Ready(None),
        }
        match this.poll_end(cx) {
            None => {}
            Some(AgentRefusal::Stopping) => {
                this.phase = Phase::Leaving;
                return Poll::Ready(Some(Ok(this.goodbye())));
            }
            Some(refused) => {
                this.phase = Phase::Over;
                return Poll::Ready(Some(Err(refused.into())));
            }
        }
        if this.rotation.poll_asked(cx, &this.api.live, &*this.api.gate.clock) {
            return Poll::Ready(Some(Ok(message(session_response::Message::Rotate(Rotate {})))));
        }
        loop {
            let end = match ready!(Pin::new(&mut this.incoming).poll_next(cx)) {
                Some(Ok(request)) => match this.answer(request) {
                    Ok(Some(response)) => return Poll::Ready(Some(Ok(response))),
                    Ok(None) => continue,
                    Err(refused) => Some(Err(refused.into())),
                },
                Some(Err(status)) => Some(Err(status)),
                // The agent has said all it wanted to say.
                None => None,
            };
            this.phase = Phase::Over;
            return Poll::Ready(end);
        }
    }
}

impl fmt::Debug for AgentSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentSession")
            .field("peer", &self.peer)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_that_are_no_addresses_are_dropped() {
        let facts = HostFacts {
            hostname: "web-1\n".to_owned(),
            ips: ["10.0.0.5", "x", "", "fe80::1"].map(str::to_owned).to_vec(),
            ..HostFacts::default()
        };
        let kept = bounded(&facts);
        assert_eq!(kept.hostname.as_deref(), Some("web-1"));
        assert_eq!(kept.ips, ["10.0.0.5", "fe80::1"].map(|ip| ip.parse::<std::net::IpAddr>().unwrap()));
    }
}
