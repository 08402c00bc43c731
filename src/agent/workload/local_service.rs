//! What this agent tells programs of ours on this machine, and what it takes to its server for them (`local.proto`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::agent::run::reports::{PendingReports, ReportedEvent};
use crate::agent::trust::shared::SharedTrust;
use crate::agent::trust::state::{DeniedSerial as Denial, TrustState};
use crate::agent::workload::authority::WorkloadCaller;
use crate::agent::workload::local_proto::local_service_server::LocalService;
use crate::agent::workload::local_proto::{
    DeniedSerial, DeniedSnapshot, ReportOutputRequest, ReportOutputResponse, WatchDeniedRequest,
};
use crate::clock;
use crate::domain::identity::serial::Serial;
use crate::domain::insight::timeline::VALUE_CHARS_MAX;
use crate::domain::printable::printable;

/// Who may watch at a time: each holds the pieces of a snapshot.
const WATCHERS_MAX: usize = 4;
/// Denied serials in one message, of about a hundred octets each.
const DENIED_PER_MESSAGE: usize = 4096;
/// The least time between two snapshots, so that a burst of revocations is told as one.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);
/// Reports at once, and how long each takes to come back.
const REPORTS_BURST: u32 = 10;
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Answers from the trust state, and adds to the reports.
#[derive(Debug)]
pub(crate) struct LocalApi {
    trust: SharedTrust,
    reports: Arc<PendingReports>,
    watchers: Arc<Semaphore>,
    pace: Mutex<ReportPace>,
}

impl LocalApi {
    pub(crate) fn new(trust: SharedTrust, reports: Arc<PendingReports>) -> Self {
        let watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        let pace = Mutex::new(ReportPace { left: REPORTS_BURST, counted: clock::timer() });
        Self { trust, reports, watchers, pace }
    }
}

#[tonic::async_trait]
impl LocalService for LocalApi {
    type WatchDeniedStream = ReceiverStream<Result<DeniedSnapshot, Status>>;

    async fn watch_denied(
        &self,
        request: Request<WatchDeniedRequest>,
    ) -> Result<Response<Self::WatchDeniedStream>, Status> {
        WorkloadCaller::admitted(&request)?;
        let Ok(place) = Arc::clone(&self.watchers).try_acquire_owned() else {
            return Err(Status::resource_exhausted(format!("{WATCHERS_MAX} watch already")));
        };
        let (tell, told) = mpsc::channel(1);
        let trust = self.trust.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                () = tell_denied(&trust, &tell) => {}
                () = tell.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn report_output(
        &self,
        request: Request<ReportOutputRequest>,
    ) -> Result<Response<ReportOutputResponse>, Status> {
        WorkloadCaller::admitted(&request)?;
        let ReportOutputRequest { dir, recovered, reason } = request.into_inner();
        if dir.is_empty() {
            return Err(Status::invalid_argument("dir: whose files it is about is missing"));
        }
        if !self.pace.lock().take(clock::timer()) {
            return Err(Status::resource_exhausted("too many reports; try again in half a minute"));
        }
        let cut = |text: String| printable(&text, VALUE_CHARS_MAX);
        self.reports.note(if recovered {
            ReportedEvent::OutputRecovered { dir: cut(dir) }
        } else {
            ReportedEvent::OutputFailed { dir: cut(dir), reason: cut(reason) }
        });
        Ok(Response::new(ReportOutputResponse {}))
    }
}

/// Tells what is known now and after each change, until nobody listens.
async fn tell_denied(trust: &SharedTrust, tell: &mpsc::Sender<Result<DeniedSnapshot, Status>>) {
    // Whoever asks this writes lists, too.
    let _wanted = trust.lists_wanted();
    let mut changes = trust.changes();
    loop {
        changes.mark_unchanged();
        let now = trust.server_now();
        // Serials are few octets each; the messages are made one at a time.
        let known = trust.read().as_ref().map(|state| {
            let in_force = state.denied.iter().filter(|(_, denied)| denied.until >= now);
            let mut denied: Vec<_> = in_force.map(|(serial, denied)| (*serial, denied.clone())).collect();
            denied.sort_by_key(|(serial, _)| *serial.as_bytes());
            (intermediates(state), denied)
        });
        if let Some((intermediates, denied)) = known {
            for message in pieces(intermediates, &denied) {
                if tell.send(Ok(message)).await.is_err() {
                    return;
                }
            }
            sleep(SNAPSHOT_EVERY).await;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn intermediates(state: &TrustState) -> Vec<Vec<u8>> {
    state.intermediates.clone()
}

/// The messages of one snapshot.
fn pieces(intermediates: Vec<Vec<u8>>, denied: &[(Serial, Denial)]) -> impl Iterator<Item = DeniedSnapshot> {
    let count = denied.len().div_ceil(DENIED_PER_MESSAGE).max(1);
    let mut intermediates = Some(intermediates);
    (0..count).map(move |piece| {
        let part = denied.iter().skip(piece * DENIED_PER_MESSAGE).take(DENIED_PER_MESSAGE);
        DeniedSnapshot {
            more: piece + 1 < count,
            intermediates: intermediates.take().unwrap_or_default(),
            denied: part.map(to_proto).collect(),
        }
    })
}

fn to_proto((serial, denied): &(Serial, Denial)) -> DeniedSerial {
    DeniedSerial {
        serial: serial.as_bytes().to_vec(),
        until_ms: denied.until.as_millisecond(),
        spiffe_id: denied.spiffe_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// Reports that may come now, and since when that has been so.
#[derive(Debug)]
struct ReportPace {
    left: u32,
    counted: Instant,
}

impl ReportPace {
    fn take(&mut self, now: Instant) -> bool {
        let back = now.duration_since(self.counted).as_secs() / REPORT_EVERY.as_secs();
        let back = u32::try_from(back).unwrap_or(REPORTS_BURST).min(REPORTS_BURST);
        if self.left + back >= REPORTS_BURST {
            (self.left, self.counted) = (REPORTS_BURST, now);
        } else {
            self.left += back;
            self.counted += REPORT_EVERY * back;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_snapshot_comes_in_pieces_that_are_whole() {
        let serial = |n: usize| {
            Serial::new(Timestamp::UNIX_EPOCH, {
                let mut entropy = [0; 10];
                entropy[..8].copy_from_slice(&n.to_be_bytes());
                entropy
            })
        };
        let until = Timestamp::UNIX_EPOCH;
        for (count, messages) in [(0, 1), (1, 1), (DENIED_PER_MESSAGE, 1), (2 * DENIED_PER_MESSAGE + 1, 3)] {
            let denied: Vec<_> = (0..count).map(|n| (serial(n), Denial { until, spiffe_id: None })).collect();
            let told: Vec<_> = pieces(vec![vec![7]], &denied).collect();
            assert_eq!(told.len(), messages);
            assert_eq!(told[0].intermediates, [vec![7]]);
            assert!(told[1..].iter().all(|message| message.intermediates.is_empty()));
            let more: Vec<_> = told.iter().map(|message| message.more).collect();
            assert_eq!(more.iter().filter(|more| !**more).count(), 1);
            assert_eq!(more.last(), Some(&false));
            assert_eq!(told.iter().map(|message| message.denied.len()).sum::<usize>(), count);
        }
    }

    #[test]
    fn reports_are_paced() {
        let begin = Instant::now();
        let mut pace = ReportPace { left: REPORTS_BURST, counted: begin };
        let taken =
            |pace: &mut ReportPace, after: Duration| (0..20).filter(|_| pace.take(begin + after)).count();
        assert_eq!(taken(&mut pace, Duration::ZERO), 10);
        assert_eq!(taken(&mut pace, Duration::from_secs(29)), 0);
        assert_eq!(taken(&mut pace, Duration::from_secs(61)), 2);
        assert_eq!(taken(&mut pace, Duration::from_secs(89)), 0);
        assert_eq!(taken(&mut pace, Duration::from_secs(90)), 1);
        assert_eq!(taken(&mut pace, Duration::from_secs(9000)), 10);
    }
}
