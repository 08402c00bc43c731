//! Server-sent events: what happens, as it happens, to whoever may see it.
//!
//! A reader that falls behind loses the events it missed and gets one `resync` in their place, so a slow
//! one costs a bounded amount of memory. The stream ends with the session or token that opened it, and an event
//! whose row its reader may not read is none of the reader's.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;
use super::extract::{AgentRead, Allowed, InTenant, Params, scope};
use super::problem::Problem;
use super::wire::LiveEvent;
use super::words::LiveKind;
use crate::app::caller::Caller;
use crate::app::events::{Event, EventId, EventKind};
use crate::domain::ids::TenantId;
use crate::domain::permission::Permission;

/// Events that wait for a reader, besides those in the broadcast.
const WAITING_MAX: usize = 16;
/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the right to listen is proved anew, besides when somebody's rights change.
const PROVE_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tenant = scope(&shared, &allowed.caller, params.tenant.as_deref())?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    // An id that we never gave out is one that we can't go on from.
    let last = last.map(|text| text.parse().unwrap_or(EventId { run: 0, number: 0 }));
    // From before the answer on, so that nothing falls between it and the first event.
    let (missed, events) = shared.app.events().listen(last);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let permissions = allowed.caller.permissions();
    let listener = Listener { shared, caller: allowed.caller, tenant, permissions, sender };
    tokio::spawn(listener.run(missed, events));
    let heartbeat = KeepAlive::new().interval(HEARTBEAT);
    Ok(Sse::new(ReceiverStream::new(receiver)).keep_alive(heartbeat).into_response())
}

struct Listener {
    shared: Shared,
    caller: Caller,
    tenant: Option<TenantId>,
    /// What the reader may do, as of the last time that it was proved.
    permissions: BTreeSet<Permission>,
    sender: mpsc::Sender<Result<sse::Event, Infallible>>,
}

impl Listener {
    /// Passes events on until the reader goes, loses its right, or the server stops.
    async fn run(mut self, missed: Option<Vec<Event>>, mut events: Receiver<Event>) {
        let missed = match missed {
            Some(missed) => missed.into_iter().map(Some).collect(),
            None => vec![None],
        };
        for event in missed {
            if !self.pass_on(event).await {
                return;
            }
        }
        let mut prove = tokio::time::interval(PROVE_EVERY);
        loop {
            let event = tokio::select! {
                () = self.sender.closed() => return,
                () = self.shared.ending.cancelled() => return,
                _ = prove.tick() => {
                    if self.may_listen() { continue } else { return }
                }
                event = events.recv() => event,
            };
            let event = match event {
                Ok(Event { kind: EventKind::Access, .. }) => {
                    if self.may_listen() {
                        continue;
                    } else {
                        return;
                    }
                }
                Ok(event) => Some(event),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            if !self.pass_on(event).await {
                return;
            }
        }
    }

    /// Whether the session or token is still there and still may read. Learns what else it may.
    fn may_listen(&mut self) -> bool {
        let app = &self.shared.app;
        self.permissions = match &self.caller {
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
        self.permissions.contains(&Permission::AgentRead)
    }

    /// Sends an event, or `None` for those that were lost. Tells whether to go on.
    async fn pass_on(&self, event: Option<Event>) -> bool {
        let message = match event {
            Some(event) => {
                let theirs = self.tenant.is_some() && event.tenant.is_some() && event.tenant != self.tenant;
                if theirs {
                    return true;
                }
                let Some(kind) = LiveKind::of(event.kind) else { return true };
                if kind.needs().is_some_and(|needed| !self.permissions.contains(&needed)) {
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
    sse::Event::default().event(event.kind.as_str()).data(data.to_string())
}
