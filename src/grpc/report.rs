//! `Report`: a call's events, gathered within bounds, and kept as one.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::gate::Gate;
use super::proto::{HostEvent, ReportRequest, ReportResponse};
use super::status::{AgentRefusal, status};
use crate::app::insight::history::{History, ReportError, ReportSlot, Reporter};
use crate::domain::code::Code;
use crate::domain::insight::timeline::{NotAnEvent, Reported};
use crate::tls::live::LivePeer;

/// Most events of one call.
const EVENTS_MAX: usize = 64;
/// Most bytes of text that are held for one call until it is whole.
const BYTES_MAX: usize = 64 * 1024;
/// How long a call may take. An agent has what it wants to say before it begins.
const CALL_TIME: Duration = Duration::from_secs(20);

/// Who takes reports.
pub(crate) struct ReportCall<'a> {
    pub gate: &'a Gate,
    pub history: &'a History,
    pub shutdown: &'a CancellationToken,
}

impl ReportCall<'_> {
    /// Takes a whole report, or nothing of it.
    pub(crate) async fn take(
        &self,
        peer: &LivePeer,
        events: Streaming<ReportRequest>,
    ) -> Result<ReportResponse, Status> {
        let identity = peer.identity();
        let reporter = Reporter {
            host: identity.host(),
            identity: identity.identity().clone(),
            serial: identity.serial(),
        };
        let turn = self.history.begin(reporter).map_err(refused)?;
        let events = tokio::select! {
            () = peer.revoked().cancelled() => return Err(AgentRefusal::Revoked.into()),
            () = self.shutdown.cancelled() => return Err(AgentRefusal::Stopping.into()),
            gathered = timeout(CALL_TIME, self.gather(peer, &turn, events)) => {
                gathered.map_err(|_| AgentRefusal::TooSlow)??
            }
        };
        let accepted = u32::try_from(events.len()).unwrap_or(u32::MAX);
        turn.keep(events).await.map_err(refused)?;
        Ok(ReportResponse { accepted })
    }

    async fn gather(
        &self,
        peer: &LivePeer,
        turn: &ReportSlot<'_>,
        mut requests: Streaming<ReportRequest>,
    ) -> Result<Vec<Reported>, Status> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(request) = requests.message().await.map_err(too_large)? {
            self.gate.check(peer.identity())?;
            if events.len() == EVENTS_MAX {
                return Err(AgentRefusal::ReportTooLong.into());
            }
            if !events.is_empty() {
                turn.count_another().map_err(refused)?;
            }
            let Some(event) = request.event else {
                return Err(status(Code::BadRequest, "a message of a report has an event"));
            };
            bytes += text_bytes(&event);
            if bytes > BYTES_MAX {
                return Err(AgentRefusal::ReportTooLong.into());
            }
            let event = reported(event, self.gate.clock.now());
            events.push(event.map_err(|error| status(Code::BadRequest, error.to_string()))?);
        }
        Ok(events)
    }
}

fn text_bytes(event: &HostEvent) -> usize {
    let detail: usize = event.detail.iter().map(|(name, value)| name.len() + value.len()).sum();
    event.kind.len() + detail
}

fn reported(event: HostEvent, now: Timestamp) -> Result<Reported, NotAnEvent> {
    let HostEvent { kind, at_ms, detail } = event;
    let at = (at_ms != 0).then(|| {
        let extreme = if at_ms > 0 { Timestamp::MAX } else { Timestamp::MIN };
        Timestamp::from_millisecond(at_ms).unwrap_or(extreme)
    });
    Reported::new(kind, at, detail.into_iter().collect(), now)
}

/// A message beyond the listener's bound is one more way to say too much.
fn too_large(status: Status) -> Status {
    match status.code() {
        tonic::Code::OutOfRange => AgentRefusal::ReportTooLong.into(),
        _ => status,
    }
}

fn refused(error: ReportError) -> Status {
    match error {
        ReportError::TooMuch | ReportError::Busy => status(Code::Throttled, error.to_string()),
        ReportError::NotAdmitted => AgentRefusal::Revoked.into(),
        ReportError::Unavailable(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a report could not be kept");
            status(Code::Unavailable, "the report could not be kept; try again later")
        }
    }
}
