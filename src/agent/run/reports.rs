//! What the agent has to say about itself, for the history of its host.
//!
//! It is a courtesy to whoever reads the history: it waits in memory until a session takes it along, the oldest
//! goes when too much waits, and nothing else waits for it or fails because of it. What was taken and whose answer was
//! lost is sent again, and stands twice.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::debug;

use crate::agent::run::backoff::Backoff;
use crate::clock::Clock;
use crate::domain::insight::timeline::VALUE_CHARS_MAX;
use crate::domain::printable::printable;
use crate::grpc::proto::agent_service_client::AgentServiceClient;
use crate::grpc::proto::{HostEvent, ReportRequest};

/// Events that wait, and that go in one call. Fewer than the server takes at once.
const WAITING_MAX: usize = 32;
/// How long the server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The waits after a report that was refused for now.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Something worth a line in the host's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedEvent {
    Started,
    Rotated {
        serial: String,
    },
    RotationFailed {
        reason: String,
    },
    /// The server's clock minus ours.
    ClockOff {
        seconds: i64,
    },
    /// There is a session again.
    Recovered {
        away: Duration,
        reason: String,
    },
    /// What is to be done after files of `muster agent outputs` have changed fails.
    OutputFailed {
        dir: String,
        reason: String,
    },
    OutputRecovered {
        dir: String,
    },
    Stopping,
}

/// The events that wait for a session.
#[derive(Debug)]
pub struct PendingReports {
    clock: Arc<dyn Clock>,
    waiting: Mutex<Waiting>,
    /// How many wait.
    count: watch::Sender<usize>,
    /// While one session replaces the other, both deliver.
    delivering: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<(u64, Timestamp, ReportedEvent)>,
    next_number: u64,
    /// The last word has been noted.
    is_over: bool,
}

impl PendingReports {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            waiting: Mutex::default(),
            count: watch::Sender::new(0),
            delivering: tokio::sync::Mutex::default(),
        }
    }

    /// Takes note of what has just happened.
    pub fn note(&self, event: ReportedEvent) {
        let mut waiting = self.waiting.lock();
        // A rotation may end after the agent has said that it stops; whether it did, the server knows by itself.
        if waiting.is_over {
            return;
        }
        waiting.is_over = matches!(event, ReportedEvent::Stopping);
        if waiting.events.len() == WAITING_MAX {
            waiting.events.pop_front();
        }
        let number = waiting.next_number;
        waiting.next_number += 1;
        waiting.events.push_back((number, self.clock.now(), event));
        self.count.send_replace(waiting.events.len());
    }

    /// Returns when nothing waits any more.
    pub async fn delivered(&self) {
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Hands over what waits and what comes, for as long as it is polled.
    pub async fn deliver(&self, mut client: AgentServiceClient<Channel>, difference_ms: i64) -> Infallible {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut count = self.count.subscribe();
        loop {
            let _ = count.wait_for(|count| *count > 0).await;
            match self.hand_over(&mut client, difference_ms).await {
                Ok(()) => backoff.reset(),
                Err(status) => {
                    let wait = backoff.wait();
                    debug!(code = ?status.code(), reason = status.message(), retry_in_ms = wait.as_millis(), "the server did not take a report");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn hand_over(
        &self,
        client: &mut AgentServiceClient<Channel>,
        difference_ms: i64,
    ) -> Result<(), Status> {
        let _alone = self.delivering.lock().await;
        let waiting: Vec<_> = self.waiting.lock().events.iter().cloned().collect();
        let Some((last, ..)) = waiting.last() else { return Ok(()) };
        let last = *last;
        let requests = waiting.into_iter().map(move |(_, at, event)| ReportRequest {
            event: Some(to_proto(event, at.as_millisecond().saturating_add(difference_ms))),
        });
        let call = client.report(tokio_stream::iter(requests.collect::<Vec<_>>()));
        let answer = timeout(ANSWER_WITHIN, call).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        match answer {
            Ok(_) => {}
            // An older server, or one that wants it otherwise: it will not take them later either.
            Err(status) if matches!(status.code(), Code::Unimplemented | Code::InvalidArgument) => {
                debug!(code = ?status.code(), "the server does not take these reports");
            }
            Err(status) => return Err(status),
        }
        let mut waiting = self.waiting.lock();
        while waiting.events.front().is_some_and(|(number, ..)| *number <= last) {
            waiting.events.pop_front();
        }
        self.count.send_replace(waiting.events.len());
        Ok(())
    }
}

fn to_proto(event: ReportedEvent, at_ms: i64) -> HostEvent {
    let (kind, detail) = match event {
        ReportedEvent::Started => ("agent_started", vec![("version", env!("CARGO_PKG_VERSION").to_owned())]),
        ReportedEvent::Rotated { serial } => ("identity_rotated", vec![("serial", serial)]),
        ReportedEvent::RotationFailed { reason } => ("rotation_failed", vec![("reason", reason)]),
        ReportedEvent::ClockOff { seconds } => {
            let side = if seconds > 0 { "behind" } else { "ahead of" };
            let told = format!("{} s {side} the server's", seconds.unsigned_abs());
            ("clock_off", vec![("clock", told)])
        }
        ReportedEvent::Recovered { away, reason } => {
            ("session_recovered", vec![("away_seconds", away.as_secs().to_string()), ("reason", reason)])
        }
        ReportedEvent::OutputFailed { dir, reason } => {
            ("output_failed", vec![("dir", dir), ("reason", reason)])
        }
        ReportedEvent::OutputRecovered { dir } => ("output_recovered", vec![("dir", dir)]),
        ReportedEvent::Stopping => ("agent_stopping", Vec::new()),
    };
    let detail = detail
        .into_iter()
        .map(|(name, value)| (name.to_owned(), printable(&value, VALUE_CHARS_MAX)))
        .collect();
    HostEvent { kind: kind.to_owned(), at_ms, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::insight::timeline::Reported;

    #[test]
    fn what_waits_is_bounded_and_the_oldest_goes() {
        let reports = PendingReports::new(Arc::new(SystemClock));
        for seconds in 0..1000 {
            reports.note(ReportedEvent::ClockOff { seconds });
        }
        let waiting: Vec<_> = reports.waiting.lock().events.iter().map(|(.., event)| event.clone()).collect();
        let newest: Vec<_> = (968..1000).map(|seconds| ReportedEvent::ClockOff { seconds }).collect();
        assert_eq!(waiting, newest);
        assert_eq!(*reports.count.borrow(), WAITING_MAX);
        reports.note(ReportedEvent::Stopping);
        reports.note(ReportedEvent::Started);
        assert_eq!(reports.waiting.lock().events.back().unwrap().2, ReportedEvent::Stopping);
    }

    #[test]
    fn whatever_is_said_has_the_form_that_the_server_takes() {
        let awkward = format!("a\nb\u{1b}[31m{}", "ä".repeat(1000));
        let now = Timestamp::now();
        for event in [
            ReportedEvent::Started,
            ReportedEvent::Rotated { serial: "00".repeat(16) },
            ReportedEvent::RotationFailed { reason: awkward.clone() },
            ReportedEvent::ClockOff { seconds: i64::MIN },
            ReportedEvent::Recovered { away: Duration::MAX, reason: awkward.clone() },
            ReportedEvent::OutputFailed { dir: awkward.clone(), reason: awkward.clone() },
            ReportedEvent::OutputRecovered { dir: awkward },
            ReportedEvent::Stopping,
        ] {
            let HostEvent { kind, detail, .. } = to_proto(event, 0);
            assert!(Reported::new(kind.clone(), None, detail.into_iter().collect(), now).is_ok(), "{kind}");
        }
    }
}
