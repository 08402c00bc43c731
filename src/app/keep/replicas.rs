//! Replicas of this store: what they are given, how they stand, what there is to see to, and who waits for them.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use super::backup::contents;
use crate::app::App;
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::clock;
use crate::domain::insight::finding::{Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;
use crate::domain::replicas::{ReplicaSettings, ReplicaState, Synchronous};
use crate::domain::withdrawal::StoreId;
use crate::error_chain::chain;
use crate::replica::segment::NamedFile;
use crate::replica::shipping::{FrameSource, Shipping};
use crate::replica::state::StateFile;
use crate::replica::status::{ReplicaStanding, ReplicaStatus};
use crate::store::FramePlace;

/// A server that was never promoted writes in this one.
const FIRST_TERM: u64 = 1;
/// A replica that lacks what is older than this is somebody's business.
const BEHIND_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// How long an answer waits for a replica.
const HELD_FOR: Duration = Duration::from_secs(5);

/// Those that are shipped to, with what is set for each.
#[derive(Debug, Default)]
pub(crate) struct Replicas(RwLock<Vec<(ReplicaSettings, Arc<ReplicaStatus>)>>);

/// How one replica stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaFigures {
    /// What it says of itself.
    pub standing: ReplicaStanding,
    /// What is set for it.
    pub settings: ReplicaSettings,
    /// For how long the oldest change has been waiting that it lacks.
    pub lag: SignedDuration,
    /// How many frames it lacks.
    pub unsent: u64,
    /// Whether nothing is issued because it is out of reach.
    pub fenced: bool,
}

/// What was done stands, and a replica that was to have it before the answer does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is done and in force here, but the replica {url} does not have it yet")]
pub struct ReplicaBehind {
    /// Which.
    pub url: String,
}

/// What a server has for its replicas.
struct Given {
    app: Arc<App>,
    envelope: EnvelopeSettings,
}

impl FrameSource for Given {
    fn store(&self) -> Result<StoreId, String> {
        let id = self.app.query(|view| view.store_id()).map_err(|error| chain(&error))?;
        id.ok_or_else(|| "the store has no id yet".to_owned())
    }

    fn term(&self) -> u64 {
        FIRST_TERM
    }

    fn envelope(&self) -> Result<Envelope, String> {
        let found = Envelope::find(&self.envelope).map_err(|error| chain(&error))?;
        found.ok_or_else(|| "there is no envelope to seal it with".to_owned())
    }

    fn files(&self) -> Result<Vec<NamedFile>, String> {
        let files = contents::server_files_of(&self.app.data_dir).map_err(|error| chain(&error))?;
        Ok(files.named().map(|(name, content)| (name.to_owned(), content.clone())).collect())
    }

    fn snapshot(&self, to: &mut dyn Write) -> Result<FramePlace, String> {
        // Before the snapshot: a journal that knew more than the store would say that records are missing.
        let files = contents::files_of(&self.app.data_dir).map_err(|error| chain(&error))?;
        let mut sealing = self.envelope()?.sealing(to).map_err(|error| chain(&error))?;
        let taken = self.app.store.back_up_in_log(files, self.now(), &mut sealing);
        let taken = taken.map_err(|error| chain(&error))?;
        sealing.finish().and_then(Write::flush).map_err(|error| error.to_string())?;
        Ok(taken)
    }

    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }
}

impl App {
    /// Ships to every replica that is set, each on a thread of its own, until `ending`.
    pub fn ship_to_replicas(
        self: &Arc<Self>,
        envelope: &EnvelopeSettings,
        ending: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let mut threads = Vec::new();
        for (follower, settings) in self.policy.replicas.iter().enumerate() {
            let status = Arc::new(ReplicaStatus::new(settings.place.to_string(), self.clock.now()));
            self.replicas.0.write().push((settings.clone(), Arc::clone(&status)));
            let shipping = Shipping {
                follower,
                settings: settings.clone(),
                tap: Arc::clone(self.store.tap()),
                source: Arc::new(Given { app: Arc::clone(self), envelope: envelope.clone() }),
                state: StateFile::of(&self.data_dir),
                status: Arc::clone(&status),
            };
            let started: io::Result<_> = shipping.start(ending.clone());
            match started {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    tracing::error!(%error, replica = %settings.place, "there is no thread for a replica");
                    status.turns(ReplicaState::Behind, Some(error.to_string()), self.clock.now());
                }
            }
        }
        threads
    }

    /// How the replicas of a server that runs stand.
    pub fn replica_figures(&self) -> Vec<ReplicaFigures> {
        let (now, head) = (self.clock.now(), self.store.tap().head().number);
        let of = |(settings, status): &(ReplicaSettings, Arc<ReplicaStatus>)| {
            let standing = status.get();
            let unsent = head.saturating_sub(standing.frame);
            let fenced = settings.fence.is_some_and(|fence| status.is_fenced(fence));
            ReplicaFigures {
                lag: standing.lag(head, now),
                unsent,
                fenced,
                settings: settings.clone(),
                standing,
            }
        };
        self.replicas.0.read().iter().map(of).collect()
    }

    /// Whether a replica has been out of reach for so long that another server may have taken over, so that nothing is issued.
    pub(crate) fn is_fenced(&self) -> bool {
        let replicas = self.replicas.0.read();
        let fenced = |(settings, status): &(ReplicaSettings, Arc<ReplicaStatus>)| {
            settings.fence.is_some_and(|fence| status.is_fenced(fence))
        };
        replicas.iter().any(fenced)
    }

    /// What is set, whether or not a server ships there.
    pub fn set_replicas(&self) -> &[ReplicaSettings] {
        &self.policy.replicas
    }

    /// What there is to see to about replicas.
    pub(crate) fn replica_findings(&self) -> Vec<Finding> {
        self.replica_figures().iter().filter_map(ReplicaFigures::finding).collect()
    }

    /// Waits until everything that was decided so far is in each replica that is to have such a thing before it is answered.
    pub async fn replicated(&self, what: Synchronous) -> Result<(), ReplicaBehind> {
        let waited_for: Vec<_> = {
            let replicas = self.replicas.0.read();
            replicas
                .iter()
                .filter(|(settings, _)| settings.holds(what))
                .map(|(_, it)| Arc::clone(it))
                .collect()
        };
        if waited_for.is_empty() {
            return Ok(());
        }
        let head = self.store.tap().head().number;
        let until = clock::timer() + HELD_FOR;
        for status in waited_for {
            let mut confirmed = status.confirmed();
            self.store.tap().hurry();
            let reached = confirmed.wait_for(|frame| *frame >= head);
            let refused = status.get().state.is_final();
            if refused || !matches!(tokio::time::timeout_at(until, reached).await, Ok(Ok(_))) {
                return Err(ReplicaBehind { url: status.get().url });
            }
        }
        Ok(())
    }
}

impl ReplicaFigures {
    /// Since when it needs somebody, and what for; `None`: it does not.
    pub(crate) fn trouble(&self, now: Timestamp) -> Option<(Timestamp, String)> {
        let message = self.finding()?.message;
        let is_slow = match self.standing.state {
            ReplicaState::Starting | ReplicaState::Following | ReplicaState::Behind => !self.fenced,
            _ => false,
        };
        let since = if is_slow { now - self.lag + BEHIND_AFTER } else { self.standing.since };
        Some((since, message))
    }

    fn finding(&self) -> Option<Finding> {
        let ReplicaStanding { url, state, since, why, .. } = &self.standing;
        let why = why.as_deref().unwrap_or("it takes what is written more slowly than it is written");
        let (code, severity, message, hint) = match state {
            _ if self.fenced => (
                FindingCode::ReplicaBehind,
                Severity::Critical,
                format!("Nothing is issued, because the replica {url} is out of reach: {why}"),
                "Bring it back, or take 'fence' out of its entry in 'replicas' if no other server has taken over.",
            ),
            ReplicaState::Unsafe => (
                FindingCode::UnsafeReplica,
                Severity::Critical,
                format!("Nothing is written to the replica {url}: {why}"),
                "Set another address in 'replicas' (MUSTER_REPLICAS); muster replica status shows how each stands.",
            ),
            ReplicaState::Foreign => (
                FindingCode::ReplicaBehind,
                Severity::Critical,
                format!("Nothing is written to the replica {url} any more: {why}"),
                "See docs/replicas.md, 'Whose history it is'.",
            ),
            ReplicaState::Starting | ReplicaState::Following | ReplicaState::Behind
                if self.lag > BEHIND_AFTER =>
            {
                let minutes = self.lag.as_mins().max(1);
                let message = format!(
                    "The replica {url} lacks the changes of the last {minutes} min ({} of them): {why}",
                    self.unsent
                );
                let hint =
                    "It catches up by itself once that is mended; muster replica status shows how it stands.";
                (FindingCode::ReplicaBehind, Severity::Soon, message, hint)
            }
            _ => return None,
        };
        Some(Finding::new(code, severity, message, hint).at(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_replica_is_told_and_a_moment_s_delay_is_not() {
        let of = |state, lag: i64| {
            let standing = ReplicaStanding {
                url: "file:///a".to_owned(),
                state,
                since: Timestamp::UNIX_EPOCH,
                why: Some("it is full".to_owned()),
                last_frame_at: None,
                frame: 0,
                snapshot_at: None,
                failures: 0,
                sent_octets: 0,
            };
            let settings = ReplicaSettings::at("file:///a").unwrap();
            let figures = ReplicaFigures {
                standing,
                settings,
                lag: SignedDuration::from_secs(lag),
                unsent: 7,
                fenced: false,
            };
            let now = Timestamp::from_second(1_000).unwrap();
            let began = figures.trouble(now).map(|(began, _)| began.as_second());
            figures.finding().map(|finding| (finding.code, finding.severity, began.unwrap()))
        };
        assert_eq!(of(ReplicaState::Behind, 59), None);
        assert_eq!(of(ReplicaState::Behind, 61), Some((FindingCode::ReplicaBehind, Severity::Soon, 999)));
        assert_eq!(of(ReplicaState::Following, 0), None);
        assert_eq!(of(ReplicaState::Unsafe, 0), Some((FindingCode::UnsafeReplica, Severity::Critical, 0)));
        assert_eq!(of(ReplicaState::Foreign, 0), Some((FindingCode::ReplicaBehind, Severity::Critical, 0)));
    }
}
