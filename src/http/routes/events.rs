//! Server-sent events: what happens, as it happens, to whoever may see it.
//!
//! A reader that falls behind loses the events it missed and gets one `resync` in their place, so a slow
//! one costs a bounded amount of memory. The stream ends with the session or token that opened it, whether its reader
//! takes anything or not, and an event whose row its reader may not read is none of the reader's.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, Sse};
use parking_lot::Mutex;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::api::encoding::word::Word;
use crate::api::events::LiveEvent;
use crate::app::access::caller::Caller;
use crate::app::insight::events::{EventId, ServerEvent};
use crate::domain::code::Code;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::insight::live_kind::LiveKind;
use crate::domain::people::access::AccessChange;
use crate::domain::people::api_token::Maker;
use crate::domain::people::permission::Permission;
use crate::domain::people::session::SessionKey;
use crate::http::Shared;
use crate::http::input::extract::{AgentRead, Allowed, InTenant, Params, scope};
use crate::http::problem::Problem;
use crate::http::reply::{EventsOf, Media};
use crate::tls::listener::accept::Ender;

/// Events that wait for a reader, besides those in the broadcast.
const WAITING_MAX: usize = 16;
/// How often a stream shows that it lives, whatever else happens on it. Pages can't see comments, so it is an event.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the right to listen is proved anew, besides when it changes.
const PROVE_EVERY: Duration = Duration::from_secs(15);
/// Most streams of one session or API token: a browser shows one in each of its tabs.
pub(crate) const STREAMS_MAX: usize = 16;
/// How long a stream whose right is gone may take for its farewell; a reader that takes nothing is cut off then.
const FAREWELL: Duration = Duration::from_secs(1);

/// What keeps proxies from holding events back: nginx collects answers unless told otherwise, and others compress them.
const UNBUFFERED: [(&str, &str); 2] =
    [("x-accel-buffering", "no"), ("cache-control", "no-store, no-transform")];

pub(crate) async fn stream(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    ender: Option<Extension<Ender>>,
    headers: HeaderMap,
) -> Result<Media<EventsOf<LiveEvent>>, Problem> {
    let tenant = scope(&shared, &allowed.caller, params.tenant.as_deref())?;
    let place = shared.streams.enter(&allowed.caller)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    // An id that we never gave out is one that we can't go on from.
    let last = last.map(|text| text.parse().unwrap_or(EventId { run: 0, number: 0 }));
    // From before the answer on, so that nothing falls between it and the first event, nor between the proof of the
    // right to listen and its end.
    let access = shared.app.events.listen_to_access();
    let (missed, events) = shared.app.events.listen(tenant, last);
    let (sender, events_told) = mpsc::channel(WAITING_MAX);
    let over = CancellationToken::new();
    let told = Told { events: events_told, over: Box::pin(over.clone().cancelled_owned()) };
    let permissions = Mutex::new(allowed.caller.permissions());
    let ender = ender.map(|Extension(ender)| ender);
    let caller = allowed.caller;
    let listener = Listener { shared, caller, tenant, permissions, sender, over, ender, _place: place };
    tokio::spawn(listener.run(missed, events, access));
    Ok(Media::new((UNBUFFERED, Sse::new(told))))
}

/// The events of one stream, until it is over: what waits for its reader then is not told any more.
struct Told {
    events: mpsc::Receiver<Result<sse::Event, Infallible>>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stream for Told {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        self.events.poll_recv(cx)
    }
}

struct Listener {
    shared: Shared,
    caller: Caller,
    tenant: Option<TenantId>,
    /// What the reader may do, as of the last time that it was proved.
    permissions: Mutex<BTreeSet<Permission>>,
    sender: mpsc::Sender<Result<sse::Event, Infallible>>,
    /// Cancelled when nothing more may be told.
    over: CancellationToken,
    /// Cuts the stream off; local callers have no stream of their own.
    ender: Option<Ender>,
    _place: Option<Place>,
}

impl Listener {
    /// Passes events on until the reader goes, loses its right, or the server stops.
    async fn run(
        self,
        missed: Option<Vec<ServerEvent>>,
        events: Receiver<ServerEvent>,
        access: Receiver<AccessChange>,
    ) {
        tokio::select! {
            biased;
            () = self.sender.closed() => return,
            () = self.shared.ending.cancelled() => {}
            // Raced with everything else, so that a reader that takes nothing keeps no right that it has lost.
            () = self.right_lost(access) => {}
            () = self.relay(missed, events) => {}
        }
        self.over.cancel();
        let gone = tokio::time::timeout(FAREWELL, self.sender.closed()).await;
        if let (Err(_), Some(ender)) = (gone, &self.ender) {
            ender.end();
        }
    }

    /// Tells what was missed, and then what happens.
    async fn relay(&self, missed: Option<Vec<ServerEvent>>, mut events: Receiver<ServerEvent>) {
        let missed = match missed {
            Some(missed) => missed.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for event in missed {
            if !self.pass_on(event).await {
                return;
            }
        }
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            let event = tokio::select! {
                _ = heartbeat.tick() => {
                    let alive = message(&LiveEvent::about(LiveKind::Heartbeat, None));
                    if self.sender.send(Ok(alive)).await.is_ok() { continue } else { return }
                }
                event = events.recv() => event,
            };
            let event = match event {
                Ok(event) => Some(event),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            if !self.pass_on(event).await {
                return;
            }
        }
    }

    /// Returns when the caller may not listen any more.
    async fn right_lost(&self, mut access: Receiver<AccessChange>) {
        let mut prove = tokio::time::interval(PROVE_EVERY);
        loop {
            tokio::select! {
                _ = prove.tick() => {}
                change = access.recv() => match change {
                    Ok(change) if !self.concerned_by(change) => continue,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
            if !self.may_listen() {
                return;
            }
        }
    }

    /// Whether a change of rights may be one of the caller's.
    fn concerned_by(&self, change: AccessChange) -> bool {
        match (change, &self.caller) {
            (AccessChange::Everybody, _) => true,
            (AccessChange::User(id), Caller::User { user, .. }) => user.id == id,
            (AccessChange::Session(key), Caller::User { session, .. }) => *session == key,
            // A token grants what its maker may.
            (AccessChange::User(id), Caller::Token(token)) => token.maker == Maker::User(id),
            (AccessChange::ApiToken(id), Caller::Token(token)) => token.id == id,
            _ => false,
        }
    }

    /// Whether the session or token is still there and still may read. Learns what else it may.
    fn may_listen(&self) -> bool {
        let app = &self.shared.app;
        let permissions = match &self.caller {
            Caller::User { session, .. } => {
                let signed_in = app.signed_in(*session).ok().flatten();
                // A person moved to another tenant must not go on hearing of the first.
                let here = signed_in.filter(|now| now.user.tenant == self.caller.tenant());
                here.map(|now| now.user.permissions()).unwrap_or_default()
            }
            Caller::Token(token) => app.token_permissions(token).unwrap_or_default(),
            Caller::Local { .. } => self.caller.permissions(),
            Caller::Anonymous { .. } => BTreeSet::new(),
        };
        let may = permissions.contains(&Permission::AgentRead);
        *self.permissions.lock() = permissions;
        may
    }

    /// Sends an event, or `None` for those that were lost. Tells whether to go on.
    async fn pass_on(&self, event: Option<ServerEvent>) -> bool {
        let message = match event {
            Some(event) => {
                let theirs = self.tenant.is_some() && event.tenant.is_some() && event.tenant != self.tenant;
                if theirs {
                    return true;
                }
                let kind = event.kind;
                if kind.needs().is_some_and(|needed| !self.permissions.lock().contains(&needed)) {
                    return true;
                }
                message(&LiveEvent::about(kind, event.subject)).id(event.id.to_string())
            }
            None => message(&LiveEvent::about(LiveKind::Resync, None)),
        };
        self.sender.send(Ok(message)).await.is_ok()
    }
}

fn message(event: &LiveEvent) -> sse::Event {
    let data = serde_json::json!(event);
    sse::Event::default().event(Word::Known(event.kind).to_string()).data(data.to_string())
}

/// On the strength of what somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Session(SessionKey),
    Token(CredentialId),
}

/// How many event streams each session and API token has open.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams(Mutex<HashMap<Holder, usize>>);

impl OpenStreams {
    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().values().sum()
    }

    /// A place for one more stream. At the bound the newest is refused: pushing out an older one would make its
    /// browser come back and push out the next.
    fn enter(self: &Arc<Self>, caller: &Caller) -> Result<Option<Place>, Problem> {
        let holder = match caller {
            Caller::User { session, .. } => Holder::Session(*session),
            Caller::Token(token) => Holder::Token(token.id),
            Caller::Local { .. } | Caller::Anonymous { .. } => return Ok(None),
        };
        let mut streams = self.0.lock();
        let open = streams.entry(holder).or_default();
        if *open >= STREAMS_MAX {
            let detail =
                format!("This session or token has {STREAMS_MAX} event streams open already. Close one.");
            return Err(Problem::new(Code::TooManyStreams, detail));
        }
        *open += 1;
        Ok(Some(Place { holder, streams: Arc::clone(self) }))
    }
}

/// One stream's place, given back on drop.
#[derive(Debug)]
struct Place {
    holder: Holder,
    streams: Arc<OpenStreams>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.streams.0.lock();
        let Some(open) = streams.get_mut(&self.holder) else { return };
        *open -= 1;
        if *open == 0 {
            streams.remove(&self.holder);
        }
    }
}
