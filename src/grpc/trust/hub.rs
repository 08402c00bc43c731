//! What there is to tell to watchers: the latest changes in a ring, everything as a snapshot that all share, the lists. And
//! the one task that follows the trust log and wakes them.
//!
//! Of a burst the first change is told at once and the others together, after a pause that grows with the number of watchers:
//! telling ten thousand costs two tenths of a second of processor, and enrollments want some, too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::encoded::{self, EncodedDenied};
use super::places::Watches;
use super::wakers::Wakers;
use crate::app::Unavailable;
use crate::app::trust::feed::TrustFeed;
use crate::app::trust::log::{TOLD_PAST_END, TrustNews};
use crate::clock::{self, Clock};
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::identity::trust_version::TrustVersion;

/// Waves that a watcher may be behind before it gets a snapshot.
const WAVES_KEPT: usize = 256;
/// Denied serials in them together.
const KEPT_MAX: usize = 65_536;
/// The pause after a wave, for each watcher.
const PAUSE_PER_WATCHER: Duration = Duration::from_micros(20);
/// The least time between two tellings of lists.
const LISTS_PAUSE: Duration = Duration::from_secs(1);
/// How often some watchers are told epoch and version again, and in how many rounds everybody had their turn: 30 seconds.
const TURN_EVERY: Duration = Duration::from_millis(500);
const TURNS: u64 = 60;

/// What was changed by one or some commits.
#[derive(Debug)]
pub(super) struct Wave {
    /// A watcher of this version or a later one can take it.
    from: u64,
    pub(super) to: TrustVersion,
    pub(super) denied: EncodedDenied,
    /// Empty where it is the same.
    pub(super) bundle: Bytes,
    /// How many serials are denied in it.
    count: usize,
}

/// Everything as of a version.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: TrustVersion,
    pub(super) bundle: Bytes,
    pub(super) denied: EncodedDenied,
    made_at: Timestamp,
}

/// Revocation lists, ready to be sent; their number is zero while there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Lists {
    pub(super) number: u64,
    pub(super) fields: Vec<Bytes>,
}

/// What a watcher gets next.
#[derive(Debug)]
pub(super) enum Next {
    /// It has everything.
    Nothing,
    Wave(Arc<Wave>),
    /// It is too far behind, or has what this server never told.
    Snapshot,
}

#[derive(Debug)]
struct Ring {
    /// What was told last.
    told: TrustVersion,
    waves: VecDeque<Arc<Wave>>,
    lists: Arc<Lists>,
}

#[derive(Debug)]
pub(in crate::grpc) struct TrustHub {
    feed: TrustFeed,
    clock: Arc<dyn Clock>,
    ring: RwLock<Ring>,
    /// The newest one; held while the next one is made.
    snapshot: tokio::sync::Mutex<Option<Arc<Snapshot>>>,
    pub(super) wakers: Wakers,
    pub(super) watches: Watches,
    /// How many rounds of turns have begun.
    turn: AtomicU64,
}

impl TrustHub {
    pub(in crate::grpc) fn new(feed: TrustFeed, clock: Arc<dyn Clock>) -> Self {
        let ring = Ring { told: feed.log.version(), waves: VecDeque::new(), lists: Arc::default() };
        Self {
            feed,
            clock,
            ring: RwLock::new(ring),
            snapshot: tokio::sync::Mutex::default(),
            wakers: Wakers::default(),
            watches: Watches::default(),
            turn: AtomicU64::new(0),
        }
    }

    /// Follows the trust log until `shutdown`.
    pub(in crate::grpc) async fn run(&self, shutdown: CancellationToken) {
        let mut changes = self.feed.log.follow();
        // What has changed before it was followed.
        self.ring.write().told = self.feed.log.version();
        let mut turns = interval(TURN_EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_wave = clock::timer();
        let mut next_lists = clock::timer();
        let mut waiting = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                // The log outlives this.
                _ = changes.changed() => waiting = true,
                () = sleep_until(next_wave), if waiting => {
                    waiting = false;
                    let now = clock::timer();
                    let mut moved = self.take_news();
                    if self.has_new_lists() {
                        if now >= next_lists {
                            self.take_lists();
                            moved = true;
                            next_lists = now + LISTS_PAUSE;
                        } else {
                            waiting = true;
                        }
                    }
                    if moved {
                        self.wakers.wake(0, 1);
                    }
                    let watchers = u32::try_from(self.wakers.count()).unwrap_or(u32::MAX);
                    next_wave = clock::timer() + PAUSE_PER_WATCHER * watchers;
                    if waiting {
                        next_wave = next_wave.max(next_lists);
                    }
                }
                _ = turns.tick() => {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
                    self.wakers.wake(usize::try_from(turn % TURNS).unwrap_or(0), 60);
                }
            }
        }
        self.wakers.wake(0, 1);
    }

    /// Whether there is something to tell to everybody.
    fn take_news(&self) -> bool {
        let Some(TrustNews { from, to, denied, bundle, gap }) = self.feed.log.news() else { return false };
        let trust_domain = self.trust_domain();
        let count = denied.len();
        let now = self.clock.now();
        let ended = now.saturating_sub(TOLD_PAST_END).unwrap_or(Timestamp::MIN);
        let denied = denied.into_iter().filter(|denied| denied.until >= ended).collect();
        let wave = Wave {
            from,
            to,
            denied: EncodedDenied::new(denied, trust_domain.as_ref()),
            bundle: bundle.as_deref().map(encoded::bundle).unwrap_or_default(),
            count,
        };
        let mut ring = self.ring.write();
        if gap || to.epoch != ring.told.epoch {
            ring.waves.clear();
        } else {
            ring.waves.push_back(Arc::new(wave));
            while ring.waves.len() > WAVES_KEPT
                || ring.waves.iter().map(|wave| wave.count).sum::<usize>() > KEPT_MAX
            {
                ring.waves.pop_front();
            }
        }
        ring.told = to;
        true
    }

    fn trust_domain(&self) -> Option<TrustDomain> {
        self.feed.log.bundle().map(|bundle| bundle.trust_domain.clone())
    }

    fn has_new_lists(&self) -> bool {
        self.feed.log.lists().0 != self.ring.read().lists.number
    }

    fn take_lists(&self) {
        let (number, lists) = self.feed.log.lists();
        let lists = Lists { number, fields: encoded::lists(&lists) };
        self.ring.write().lists = Arc::new(lists);
    }

    /// What a watcher gets next that has this version.
    pub(super) fn after(&self, has: &TrustVersion) -> Next {
        let ring = self.ring.read();
        if has.epoch != ring.told.epoch {
            return Next::Snapshot;
        }
        if has.number >= ring.told.number {
            // A snapshot may be newer than what was told; nothing is newer than what there is.
            let known = has.number == ring.told.number || has.number <= self.feed.log.version().number;
            return if known { Next::Nothing } else { Next::Snapshot };
        }
        let next = ring.waves.partition_point(|wave| wave.to.number <= has.number);
        match ring.waves.get(next) {
            Some(wave) if wave.from <= has.number => Next::Wave(Arc::clone(wave)),
            _ => Next::Snapshot,
        }
    }

    pub(super) fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.ring.read().lists)
    }

    /// A snapshot from which the ring goes on.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Unavailable> {
        let mut newest = self.snapshot.lock().await;
        let now = self.clock.now();
        if let Some(snapshot) = newest.as_ref()
            && snapshot.serves(now)
            && !matches!(self.after(&snapshot.version), Next::Snapshot)
        {
            return Ok(Arc::clone(snapshot));
        }
        let made = self.feed.snapshot(now).await?;
        let encode = move || {
            let bundle = made.bundle.as_deref();
            Snapshot {
                version: made.version,
                bundle: bundle.map(encoded::bundle).unwrap_or_default(),
                denied: EncodedDenied::new(made.denied, bundle.map(|bundle| &bundle.trust_domain)),
                made_at: now,
            }
        };
        let snapshot = tokio::task::spawn_blocking(encode).await.map_err(|_| Unavailable::Failed)?;
        let snapshot = Arc::new(snapshot);
        *newest = Some(Arc::clone(&snapshot));
        Ok(snapshot)
    }

    /// How many turns the watcher at this place has had.
    pub(super) fn turns_of(&self, place: usize) -> u64 {
        let place = u64::try_from(place).unwrap_or(0) % TURNS;
        (self.turn.load(Ordering::Relaxed) + TURNS - place) / TURNS
    }
}

impl Snapshot {
    /// Where the clock was set back, certificates may be good again that had ended when it was made.
    fn serves(&self, now: Timestamp) -> bool {
        now.duration_since(self.made_at) >= SignedDuration::ZERO
    }
}
