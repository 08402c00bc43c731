//! What there is to tell to watchers: the latest changes in a ring, everything as a snapshot that all share, the lists. And
//! the one task that follows the trust log and wakes them.
//!
//! Of a burst the first change is told at once and the others together, after a pause that grows with the number of watchers:
//! telling ten thousand costs two tenths of a second of processor, and enrollments want some, too.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::encoded::{self, EncodedDenied, UpdateWriter};
use super::places::Watches;
use super::wakers::Wakers;
use crate::app::Unavailable;
use crate::app::insight::live_counts::LiveCount;
use crate::app::trust::feed::TrustFeed;
use crate::app::trust::log::{TOLD_PAST_END, TrustNews};
use crate::clock::{self, Clock};
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::identity::trust_version::TrustVersion;
use crate::domain::ids::TenantId;

/// Waves that a watcher may be behind before it gets a snapshot.
const WAVES_KEPT: usize = 256;
/// Denied serials in them together.
const KEPT_MAX: usize = 65_536;
/// The pause after a wave, for each watcher.
const PAUSE_PER_WATCHER: Duration = Duration::from_micros(20);
/// Between those who answer and the others: they have to take what they were told, often on this machine.
const FIRST_PAUSE: Duration = Duration::from_millis(3);
/// Between two groups of the others. Ten thousand are told within half a second.
const PAUSE: Duration = Duration::from_millis(1);
/// The least time between two tellings of lists.
const LISTS_PAUSE: Duration = Duration::from_secs(1);
/// How often some watchers are told epoch and version again, and in how many rounds everybody had their turn: 30 seconds.
const TURN_EVERY: Duration = Duration::from_millis(500);
const TURNS: u64 = 60;
const TURNS_STRIDE: usize = 60;

/// Who is being woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    WhoAnswers,
    Others,
    Nobody,
}

/// What was changed by one or some commits.
#[derive(Debug)]
pub(super) struct Wave {
    /// A watcher of this version or a later one can take it.
    from: u64,
    pub(super) to: TrustVersion,
    pub(super) denied: EncodedDenied,
    /// Empty where it is the same.
    pub(super) bundle: Bytes,
    /// Denied identities; the same to every tenant.
    pub(super) identities: Vec<Bytes>,
    /// How many serials and identities are denied in it.
    count: usize,
    /// What it is to each tenant, once a watcher of it was told.
    told: RwLock<HashMap<TenantId, VecDeque<Bytes>>>,
}

impl Wave {
    /// What the watchers of a tenant are told, who share it.
    pub(super) fn told_to(&self, tenant: TenantId) -> VecDeque<Bytes> {
        if let Some(told) = self.told.read().get(&tenant) {
            return told.clone();
        }
        let mut update = UpdateWriter::new(self.to, false);
        update.add(self.bundle.clone());
        update.add_denied(&self.denied, tenant);
        self.identities.iter().for_each(|fields| update.add(fields.clone()));
        let told = update.finish();
        self.told.write().insert(tenant, told.clone());
        told
    }
}

/// Everything as of a version.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: TrustVersion,
    pub(super) bundle: Bytes,
    pub(super) denied: EncodedDenied,
    pub(super) identities: Vec<Bytes>,
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
    /// Nothing will be told any more.
    ended: AtomicBool,
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
            ended: AtomicBool::new(false),
        }
    }

    /// The same, counting there who watches.
    pub(in crate::grpc) fn counting(self, count: LiveCount) -> Self {
        Self { watches: Watches::counting(count), ..self }
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
        // What is denied never waits for lists.
        let (mut waiting, mut lists_waiting) = (true, false);
        let (mut telling, mut next_group) = (Telling::Nobody, clock::timer());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                // The log outlives this.
                _ = changes.changed() => waiting = true,
                () = sleep_until(next_wave), if waiting => {
                    waiting = false;
                    let now = clock::timer();
                    let mut moved = self.take_news().await;
                    lists_waiting = self.has_new_lists();
                    if lists_waiting && now >= next_lists {
                        self.take_lists();
                        (moved, lists_waiting, next_lists) = (true, false, now + LISTS_PAUSE);
                    }
                    if moved {
                        self.wakers.begin();
                        telling = Telling::WhoAnswers;
                        let watchers = u32::try_from(self.wakers.count()).unwrap_or(u32::MAX);
                        next_wave = now + PAUSE_PER_WATCHER * watchers;
                    }
                }
                () = sleep_until(next_lists), if lists_waiting && !waiting => {
                    self.take_lists();
                    (lists_waiting, next_lists) = (false, clock::timer() + LISTS_PAUSE);
                    self.wakers.begin();
                    telling = Telling::WhoAnswers;
                }
                () = yield_now(), if telling == Telling::WhoAnswers => {
                    if !self.wakers.wake_answering() {
                        telling = Telling::Others;
                        next_group = clock::timer() + FIRST_PAUSE;
                    }
                }
                () = sleep_until(next_group), if telling == Telling::Others => {
                    if !self.wakers.wake_others() {
                        telling = Telling::Nobody;
                    }
                    next_group = clock::timer() + PAUSE;
                }
                _ = turns.tick() => {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
                    self.wakers.wake(usize::try_from(turn % TURNS).unwrap_or(0), TURNS_STRIDE);
                    self.tell_anew_if_clock_was_set_back().await;
                }
            }
        }
        self.ended.store(true, Ordering::Release);
        self.wakers.wake(0, 1);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Where the clock was ahead, certificates were taken to have ended that are good again, and nobody was told of those.
    async fn tell_anew_if_clock_was_set_back(&self) {
        let now = self.clock.now();
        if !self.feed.log.clock_was_set_back(now) {
            return;
        }
        match self.feed.begin_epoch(now).await {
            Ok(()) => {
                tracing::warn!("the clock was set back; all who watch trust are told everything anew");
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "watchers of trust could not be told anew; it will be tried again");
            }
        }
    }

    /// Now, by which it is judged what has ended.
    async fn judge(&self) -> Timestamp {
        let now = self.clock.now();
        self.feed.judge(now).await;
        now
    }

    /// Whether there is something to tell to everybody.
    async fn take_news(&self) -> bool {
        let Some(TrustNews { from, to, denied, identities, bundle, gap }) = self.feed.log.news() else {
            return false;
        };
        let trust_domain = self.trust_domain();
        let count = denied.len() + identities.len();
        // Nothing is judged where nothing is told of, or everybody is told everything: judging may need a commit.
        let denied = if denied.is_empty() || gap {
            Vec::new()
        } else {
            let now = self.judge().await;
            let ended = now.saturating_sub(TOLD_PAST_END).unwrap_or(Timestamp::MIN);
            denied.into_iter().filter(|denied| denied.until >= ended).collect()
        };
        let wave = Wave {
            from,
            to,
            denied: EncodedDenied::new(denied, trust_domain.as_ref()),
            bundle: bundle.as_deref().map(encoded::bundle).unwrap_or_default(),
            identities: encoded::identities(&identities, trust_domain.as_ref()),
            count,
            told: RwLock::default(),
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

    /// What was told since a version, if all of that is still here.
    pub(super) fn waves_after(&self, mut version: TrustVersion) -> Vec<Arc<Wave>> {
        let mut waves = Vec::new();
        while let Next::Wave(wave) = self.after(&version) {
            version = wave.to;
            waves.push(wave);
        }
        waves
    }

    pub(super) fn lists(&self) -> Arc<Lists> {
        Arc::clone(&self.ring.read().lists)
    }

    /// A snapshot from which the ring goes on.
    pub(super) async fn snapshot(&self) -> Result<Arc<Snapshot>, Unavailable> {
        let mut newest = self.snapshot.lock().await;
        let now = self.judge().await;
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
                identities: encoded::identities(&made.identities, bundle.map(|bundle| &bundle.trust_domain)),
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use parking_lot::Mutex;
    use proptest::prelude::*;

    use super::super::encoded::UpdateWriter;
    use super::super::encoded::tests::{denied, messages, tenant, version};
    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::identity::deny::DenyChange;
    use crate::domain::identity::hierarchy::{Hierarchy, Intermediate};
    use crate::domain::identity::trust_version::TrustEpoch;
    use crate::store::Published;

    /// What a watcher knows, by the messages it was told.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Watcher {
        has: TrustVersion,
        roots: Vec<Vec<u8>>,
        denied: BTreeMap<Vec<u8>, i64>,
        snapshots: usize,
    }

    impl Watcher {
        fn new() -> Self {
            let nothing = TrustVersion { epoch: TrustEpoch::from_bytes([0; 16]), number: 0 };
            Self { has: nothing, roots: Vec::new(), denied: BTreeMap::new(), snapshots: 0 }
        }

        /// Whether there was something to hear.
        async fn hear(&mut self, hub: &TrustHub) -> bool {
            let update = match hub.after(&self.has) {
                Next::Nothing => return false,
                Next::Wave(wave) => {
                    let mut update = UpdateWriter::new(wave.to, false);
                    self.has = wave.to;
                    update.add(wave.bundle.clone());
                    update.add_denied(&wave.denied, tenant(1));
                    update
                }
                Next::Snapshot => {
                    let snapshot = hub.snapshot().await.unwrap();
                    let mut update = UpdateWriter::new(snapshot.version, true);
                    self.has = snapshot.version;
                    update.add(snapshot.bundle.clone());
                    update.add_denied(&snapshot.denied, tenant(1));
                    self.snapshots += 1;
                    self.denied.clear();
                    update
                }
            };
            for update in messages(&update.finish()) {
                assert_eq!((update.version, update.epoch), (self.has.number, self.has.epoch.to_string()));
                if !update.roots.is_empty() {
                    self.roots = update.roots;
                }
                self.denied.extend(update.denied.into_iter().map(|denied| (denied.serial, denied.until_ms)));
            }
            true
        }

        async fn hear_all(&mut self, hub: &TrustHub) {
            while self.hear(hub).await {}
        }
    }

    fn hierarchy(number: u8) -> Hierarchy {
        let intermediate = Intermediate {
            certificate: vec![number; 20],
            sealed_key: None,
            issuing_from: None,
            revocation: None,
            last_list: None,
            held: false,
        };
        Hierarchy {
            trust_domain: "muster".parse().unwrap(),
            roots: vec![vec![number; 10]],
            root_lists: Vec::new(),
            waiting_lists: Vec::new(),
            svid_lifetimes: Vec::new(),
            root_change: None,
            open_request: None,
            intermediates: vec![intermediate],
        }
    }

    fn hub() -> TrustHub {
        let hub = TrustHub::new(TrustFeed::in_memory(), Arc::new(SystemClock));
        hub.feed.log.follow();
        hub.publish(1, &[], Some(0));
        hub
    }

    impl TrustHub {
        fn publish(&self, number: u64, serials: &[u32], bundle: Option<u8>) {
            let deny = serials.iter().map(|serial| {
                let known = denied(*serial, None);
                let not_after = Timestamp::from_second(4_000_000_000 + i64::from(*serial)).unwrap();
                DenyChange::Serial { serial: known.serial, not_after }
            });
            self.feed.log.publish(&Published {
                deny: deny.collect(),
                hierarchy: bundle.map(|number| Box::new(hierarchy(number))),
                trust: Some(version(number)),
                ..Published::default()
            });
        }
    }

    #[derive(Debug, Clone)]
    enum Op {
        Deny(Vec<u32>),
        Bundle(u8),
        /// What has changed is told.
        Wave,
        /// A watcher hears the next thing there is for it.
        Hear(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => proptest::collection::vec(0u32..50, 1..4).prop_map(Op::Deny),
            1 => (0u8..9).prop_map(Op::Bundle),
            4 => Just(Op::Wave),
            4 => (0usize..3).prop_map(Op::Hear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn whoever_resumes_ends_as_whoever_begins(ops in proptest::collection::vec(op(), 1..120)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let hub = hub();
                let mut number = 1;
                let mut watchers = [Watcher::new(), Watcher::new(), Watcher::new()];
                let mut expected = BTreeSet::new();
                for op in ops {
                    match op {
                        Op::Deny(serials) => {
                            number += 1;
                            expected.extend(serials.iter().map(|n| denied(*n, None).serial.as_bytes().to_vec()));
                            hub.publish(number, &serials, None);
                        }
                        Op::Bundle(bundle) => {
                            number += 1;
                            hub.publish(number, &[], Some(bundle));
                        }
                        Op::Wave => {
                            hub.take_news().await;
                        }
                        Op::Hear(watcher) => {
                            watchers[watcher].hear(&hub).await;
                        }
                    }
                }
                hub.take_news().await;
                let mut fresh = Watcher::new();
                fresh.hear_all(&hub).await;
                assert_eq!(fresh.denied.keys().cloned().collect::<BTreeSet<_>>(), expected);
                for mut watcher in watchers {
                    watcher.hear_all(&hub).await;
                    assert_eq!((&watcher.roots, &watcher.denied), (&fresh.roots, &fresh.denied));
                    assert_eq!(watcher.has, version(number));
                }
            });
        }
    }

    #[tokio::test]
    async fn who_is_too_far_behind_or_ahead_or_of_another_epoch_gets_a_snapshot() {
        let hub = hub();
        hub.take_news().await;
        let mut watcher = Watcher::new();
        watcher.hear_all(&hub).await;
        assert_eq!((watcher.snapshots, watcher.has), (1, version(1)));
        let waves = u64::try_from(WAVES_KEPT).unwrap();
        for number in 2..=waves + 1 {
            hub.publish(number, &[u32::try_from(number).unwrap()], None);
            hub.take_news().await;
        }
        let mut keeps_up = watcher.clone();
        keeps_up.hear_all(&hub).await;
        assert_eq!((keeps_up.snapshots, keeps_up.denied.len()), (1, WAVES_KEPT));
        hub.publish(waves + 2, &[1], None);
        hub.take_news().await;
        watcher.hear_all(&hub).await;
        assert_eq!((watcher.snapshots, watcher.denied.len()), (2, WAVES_KEPT + 1));

        assert!(matches!(hub.after(&version(waves + 3)), Next::Snapshot));
        let foreign = TrustVersion { epoch: TrustEpoch::from_bytes([9; 16]), ..version(3) };
        assert!(matches!(hub.after(&foreign), Next::Snapshot));
        // One flood of revocations is not told one by one.
        hub.publish(waves + 3, &(0..5000).collect::<Vec<_>>(), None);
        hub.take_news().await;
        watcher.hear_all(&hub).await;
        assert_eq!((watcher.snapshots, watcher.denied.len()), (3, 5000));
    }

    #[tokio::test]
    async fn lists_that_wait_for_their_time_hold_up_no_denial() {
        let hub = Arc::new(hub());
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let (hub, stop) = (Arc::clone(&hub), stop.clone());
            async move { hub.run(stop).await }
        });
        let until = async |is_so: &dyn Fn() -> bool| {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        hub.feed.log.put_lists(vec![vec![1]]);
        until(&|| hub.lists().number == 1).await;
        hub.feed.log.put_lists(vec![vec![2]]);
        for number in 2..5 {
            hub.publish(number, &[u32::try_from(number).unwrap()], None);
            until(&|| hub.ring.read().told == version(number)).await;
            assert_eq!(hub.lists().number, 1, "told with the lists, a second after the ones before");
        }
        until(&|| hub.lists().number == 2).await;
        stop.cancel();
        running.await.unwrap();
    }

    /// A clock that stands where it is set.
    #[derive(Debug)]
    struct Set(Mutex<Timestamp>);

    impl Clock for Set {
        fn now(&self) -> Timestamp {
            *self.0.lock()
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_hides_no_denial_for_good() {
        let ends = Timestamp::from_second(4_000_000_001).unwrap();
        let clock = Arc::new(Set(Mutex::new(ends + SignedDuration::from_hours(48))));
        let hub = TrustHub::new(TrustFeed::in_memory(), Arc::clone(&clock) as Arc<dyn Clock>);
        hub.feed.log.follow();
        hub.publish(1, &[1], Some(0));
        hub.take_news().await;
        let mut watcher = Watcher::new();
        watcher.hear_all(&hub).await;
        assert_eq!((watcher.snapshots, watcher.denied.len()), (1, 0));
        *clock.0.lock() = ends - SignedDuration::from_hours(1);
        hub.tell_anew_if_clock_was_set_back().await;
        // The writer of this store feeds no log, so what it would say is said for it.
        hub.feed.log.publish(&Published {
            trust: Some(TrustVersion::first(TrustEpoch::from_bytes([8; 16]))),
            ..Published::default()
        });
        hub.take_news().await;
        watcher.hear_all(&hub).await;
        assert_eq!((watcher.snapshots, watcher.denied.len()), (2, 1));
        assert!(!hub.feed.log.clock_was_set_back(clock.now()));
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_before_a_restart_is_found_out_after_it() {
        let right = Timestamp::from_second(4_000_000_000).unwrap();
        for (ahead, anew) in [(SignedDuration::from_mins(45), false), (SignedDuration::from_mins(61), true)] {
            let clock = Arc::new(Set(Mutex::new(right + ahead)));
            let before = TrustHub::new(TrustFeed::in_memory(), Arc::clone(&clock) as Arc<dyn Clock>);
            before.publish(1, &[1], Some(0));
            before.snapshot().await.unwrap();
            *clock.0.lock() = right;
            let after = TrustHub::new(before.feed.reloaded(), Arc::clone(&clock) as Arc<dyn Clock>);
            let epoch = after.feed.stored_epoch();
            after.tell_anew_if_clock_was_set_back().await;
            assert_eq!(after.feed.stored_epoch() != epoch, anew, "{ahead}");
            // Once.
            let epoch = after.feed.stored_epoch();
            let later = TrustHub::new(after.feed.reloaded(), Arc::clone(&clock) as Arc<dyn Clock>);
            later.tell_anew_if_clock_was_set_back().await;
            assert_eq!(later.feed.stored_epoch(), epoch, "{ahead}");
        }
    }
}
