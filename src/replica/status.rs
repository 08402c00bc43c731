//! How a replica stands: what the shipping writes down, and everybody else reads.

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::replicas::ReplicaState;

/// How one stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStanding {
    /// Where it lies, without anything secret.
    pub url: String,
    /// What it is doing.
    pub state: ReplicaState,
    /// Since when.
    pub since: Timestamp,
    /// Why it is not following, as a clause.
    pub why: Option<String>,
    /// When the last frame was written that it has.
    pub last_frame_at: Option<Timestamp>,
    /// The number of that frame.
    pub frame: u64,
    /// When the newest snapshot there was begun.
    pub snapshot_at: Option<Timestamp>,
    /// Attempts that came to nothing since this process started.
    pub failures: u64,
    /// Octets that were sent since then.
    pub sent_octets: u64,
}

/// One replica's.
#[derive(Debug)]
pub struct ReplicaStatus {
    standing: Mutex<ReplicaStanding>,
    /// The number of the last frame that is there.
    confirmed: watch::Sender<u64>,
}

impl ReplicaStatus {
    /// Of one that nobody has looked at.
    pub fn new(url: String, now: Timestamp) -> Self {
        let standing = ReplicaStanding {
            url,
            state: ReplicaState::Starting,
            since: now,
            why: None,
            last_frame_at: None,
            frame: 0,
            snapshot_at: None,
            failures: 0,
            sent_octets: 0,
        };
        Self { standing: Mutex::new(standing), confirmed: watch::Sender::new(0) }
    }

    /// How it stands now.
    pub fn get(&self) -> ReplicaStanding {
        self.standing.lock().clone()
    }

    /// Changes with each segment.
    pub fn confirmed(&self) -> watch::Receiver<u64> {
        self.confirmed.subscribe()
    }

    /// It does something else from now on; whether that is news.
    pub fn turns(&self, state: ReplicaState, why: Option<String>, now: Timestamp) -> bool {
        let mut standing = self.standing.lock();
        let news = standing.state != state;
        if news {
            standing.since = now;
        }
        standing.state = state;
        standing.why = why;
        standing.failures += u64::from(state == ReplicaState::Behind);
        news
    }

    /// It has everything up to a frame.
    pub fn has(&self, frame: u64, at: Option<Timestamp>, octets: usize) {
        let mut standing = self.standing.lock();
        standing.frame = frame;
        standing.last_frame_at = at.or(standing.last_frame_at);
        standing.sent_octets += octets as u64;
        drop(standing);
        self.confirmed.send_replace(frame);
    }

    /// A snapshot is there.
    pub fn has_snapshot(&self, at: Timestamp) {
        let mut standing = self.standing.lock();
        standing.snapshot_at = standing.snapshot_at.max(Some(at));
    }
}

impl ReplicaStanding {
    /// How long the oldest change has been waiting that it lacks; nothing where it lacks none. `head`: the number of the last frame.
    pub fn lag(&self, head: u64, now: Timestamp) -> SignedDuration {
        if self.frame >= head && self.state == ReplicaState::Following {
            return SignedDuration::ZERO;
        }
        let since = self.last_frame_at.unwrap_or(self.since);
        now.duration_since(since).max(SignedDuration::ZERO)
    }
}
