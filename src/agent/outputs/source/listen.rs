//! Listening to the provider for as long as it takes: what it gives is published, and stays when the provider goes away.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};
use tracing::{info, warn};

use crate::agent::outputs::source::answer::X509Answer;
use crate::agent::outputs::source::lists::trimmed;
use crate::agent::outputs::source::material::{DeniedFacts, LocalNews, number};
use crate::agent::outputs::source::socket::{ProviderChannel, refusal, workload_request};
use crate::agent::run::backoff::Backoff;
use crate::agent::workload::local_proto::{ReportOutputRequest, WatchDeniedRequest};
use crate::agent::workload::proto::X509svidRequest;
use crate::domain::printable::printable;
use crate::error_chain::chain;

/// The waits before the provider is asked again.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// More denied certificates than are taken in. Beyond, the lists alone have them.
const DENIED_MAX: usize = 1_000_000;
/// How long the agent may take to take a report.
const REPORT_WITHIN: Duration = Duration::from_secs(10);
/// Reports that wait.
pub(crate) const REPORTS_MAX: usize = 64;

/// What has been heard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard {
    pub answer: Option<Arc<X509Answer>>,
    pub local: LocalState,
    /// Why nothing is heard at present.
    pub trouble: Option<String>,
}

/// Whether the provider is an agent of ours that tells who is denied.
#[derive(Debug, Clone, Default)]
pub(crate) enum LocalState {
    /// It has not said yet.
    #[default]
    Unknown,
    /// It is another one, or an older one.
    Absent,
    /// What it told last.
    Told(Arc<LocalNews>),
}

impl LocalState {
    pub(crate) fn news(&self) -> Option<&LocalNews> {
        match self {
            Self::Told(news) => Some(news),
            Self::Unknown | Self::Absent => None,
        }
    }
}

/// Something that belongs into the host's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutputReport {
    pub dir: PathBuf,
    /// Nothing: it works again.
    pub failure: Option<String>,
}

/// Listens until nobody wants to know any more, and passes reports on.
pub(crate) async fn listen(
    socket: PathBuf,
    heard: watch::Sender<Heard>,
    mut reports: mpsc::Receiver<OutputReport>,
) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut waiting = None;
    loop {
        let trouble = match ProviderChannel::connect(&socket).await {
            Ok(channel) => {
                let ended = tokio::select! {
                    ended = take_answers(&channel, &heard, &mut backoff) => ended,
                    never = take_denied(&channel, &heard) => match never {},
                    never = pass_on(&channel, &mut reports, &mut waiting) => match never {},
                };
                match ended {
                    Ended::Refused(status) if status.code() == Code::PermissionDenied => {
                        format!("there is no identity yet ({})", refusal(&status))
                    }
                    Ended::Refused(status) => format!("the provider ended the stream ({})", refusal(&status)),
                    Ended::Unwatched => return,
                }
            }
            Err(error) => format!("{} can't be reached: {}", socket.display(), chain(&error)),
        };
        if heard.is_closed() {
            return;
        }
        let wait = backoff.wait();
        let news = heard.borrow().trouble.as_ref() != Some(&trouble);
        if news {
            warn!(reason = trouble, "the Workload API gives nothing at present; files stay as they are");
            heard.send_modify(|heard| heard.trouble = Some(trouble));
        }
        sleep(wait).await;
    }
}

/// Why the stream of answers is at its end.
enum Ended {
    Refused(Status),
    /// Nobody wants to know.
    Unwatched,
}

async fn take_answers(
    channel: &ProviderChannel,
    heard: &watch::Sender<Heard>,
    backoff: &mut Backoff,
) -> Ended {
    let request = workload_request(X509svidRequest {});
    let mut answers = match channel.workload().fetch_x509svid(request).await {
        Ok(answers) => answers.into_inner(),
        Err(status) => return Ended::Refused(status),
    };
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            () = heard.closed() => return Ended::Unwatched,
        };
        let trouble = match answer {
            Ok(Some(response)) => match X509Answer::read(response) {
                Ok(answer) => {
                    backoff.reset();
                    let again = heard.borrow().trouble.is_some();
                    if again {
                        info!("the Workload API answers again");
                    }
                    heard.send_modify(|heard| {
                        heard.answer = Some(Arc::new(answer));
                        heard.trouble = None;
                    });
                    continue;
                }
                Err(error) => chain(&error),
            },
            Ok(None) => return Ended::Refused(Status::unavailable("it ended")),
            Err(status) => return Ended::Refused(status),
        };
        warn!(reason = trouble, "an answer of the Workload API is of no use; files stay as they are");
        heard.send_modify(|heard| heard.trouble = Some(trouble));
    }
}

/// What an agent of ours tells. Another provider says that it knows of no such thing.
async fn take_denied(channel: &ProviderChannel, heard: &watch::Sender<Heard>) -> Infallible {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut complained = false;
    loop {
        let ended = match channel.local().watch_denied(WatchDeniedRequest {}).await {
            Ok(snapshots) => {
                let mut snapshots = snapshots.into_inner();
                let mut news = LocalNews::default();
                loop {
                    match snapshots.message().await {
                        Ok(Some(part)) => {
                            news.intermediates.extend(part.intermediates);
                            let room = DENIED_MAX.saturating_sub(news.denied.len());
                            for entry in part.denied.into_iter().take(room) {
                                let until = Timestamp::from_millisecond(entry.until_ms).ok();
                                let spiffe_id = Some(entry.spiffe_id).filter(|id| is_plain(id));
                                let serial = number(&trimmed(&entry.serial));
                                news.denied.insert(serial, DeniedFacts { until, spiffe_id });
                            }
                            if !part.more {
                                backoff.reset();
                                complained = false;
                                let whole = Arc::new(std::mem::take(&mut news));
                                heard.send_modify(|heard| heard.local = LocalState::Told(whole));
                            }
                        }
                        Ok(None) => break Status::unavailable("it ended"),
                        Err(status) => break status,
                    }
                }
            }
            Err(status) => status,
        };
        if matches!(ended.code(), Code::Unimplemented | Code::NotFound | Code::InvalidArgument) {
            heard.send_if_modified(|heard| {
                let was_another = matches!(heard.local, LocalState::Absent);
                heard.local = LocalState::Absent;
                !was_another
            });
            // A newer one listens on another connection.
            return std::future::pending().await;
        }
        // Who goes away is missed by whoever takes the answers, too.
        if ended.code() != Code::Unavailable && !std::mem::replace(&mut complained, true) {
            let reason = refusal(&ended);
            warn!(
                reason,
                "the agent does not tell who is denied; it is asked again, and the lists alone say it meanwhile"
            );
        }
        sleep(backoff.wait()).await;
    }
}

/// A SPIFFE id goes into lines of text.
fn is_plain(id: &str) -> bool {
    !id.is_empty() && id.len() <= 2048 && id.chars().all(|c| c.is_ascii_graphic())
}

/// Hands over what belongs into the host's history. It is a courtesy: what can't be told now is told later, if at all.
async fn pass_on(
    channel: &ProviderChannel,
    reports: &mut mpsc::Receiver<OutputReport>,
    waiting: &mut Option<OutputReport>,
) -> Infallible {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        if waiting.is_none() {
            *waiting = reports.recv().await;
        }
        let Some(report) = waiting.as_ref() else { return std::future::pending().await };
        let dir = printable(&report.dir.to_string_lossy(), 255);
        let reason = printable(report.failure.as_deref().unwrap_or_default(), 255);
        let request = ReportOutputRequest { dir, recovered: report.failure.is_none(), reason };
        let answer = timeout(REPORT_WITHIN, channel.local().report_output(request)).await;
        match answer {
            Ok(Err(status)) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                sleep(backoff.wait()).await;
            }
            Err(_) => sleep(backoff.wait()).await,
            // Taken, or never wanted.
            Ok(_) => {
                backoff.reset();
                *waiting = None;
            }
        }
    }
}
