//! How a replica stands: what the shipping writes down, and everybody else reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock;
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
    /// When it answered last, or this process began.
    answered: Mutex<Instant>,
    fenced: AtomicBool,
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
        Self {
            standing: Mutex::new(standing),
            confirmed: watch::Sender::new(0),
            answered: Mutex::new(clock::monotonic()),
            fenced: AtomicBool::new(false),
        }
    }

    /// How it stands now.
    pub fn get(&self) -> ReplicaStanding {
        self.standing.lock().clone()
    }

    /// It is within reach, and what it holds is ours.
    pub fn answers(&self) {
        *self.answered.lock() = clock::monotonic();
    }

    /// For how long it has not been within reach.
    pub fn silent_for(&self) -> Duration {
        self.answered.lock().elapsed()
    }

    /// Whether it has been out of reach for so long that nothing may be issued.
    pub fn is_fenced(&self, fence: SignedDuration) -> bool {
        let fenced = self.silent_for() > fence.unsigned_abs();
        if self.fenced.swap(fenced, Ordering::Relaxed) != fenced {
            let replica = self.standing.lock().url.clone();
            if fenced {
                tracing::error!(
                    replica,
                    "NOTHING IS ISSUED ANY MORE: a replica has been out of reach for as long as 'fence' says"
                );
            } else {
                tracing::warn!(replica, "certificates are issued again: the replica is within reach");
            }
        }
        fenced
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
