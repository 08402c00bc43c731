//! The server's clock on this machine: what a heartbeat told, and from then on how long the machine has run since, awake or
//! asleep. Nobody sets that, so a wall clock that is set while the server is away makes no SVID expire and none live again.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;

use crate::clock::Clock;

/// How far this machine's clock may be behind what the server has said before it is known to be wrong.
const BEHIND_MAX: SignedDuration = SignedDuration::from_mins(5);

/// Where the time comes from, and what the server has said of it.
#[derive(Debug)]
pub(crate) struct ServerClock {
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// The server's time minus the machine's running time, once a heartbeat of this run has told it.
    ahead_ms: Option<i64>,
    /// The server's clock minus the wall clock, as it was before this run.
    difference: SignedDuration,
    /// What the server had confirmed at the latest before this run, by its clock: it is later than that. And how long the machine
    /// had run when that was read.
    floor: Option<(Timestamp, Duration)>,
    /// How long the machine had run when the server last confirmed something in this run.
    confirmed: Option<Duration>,
}

impl ServerClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let (ahead_ms, difference, floor, confirmed) = (None, SignedDuration::ZERO, None, None);
        Self { clock, known: RwLock::new(Known { ahead_ms, difference, floor, confirmed }) }
    }

    /// What was known before this run: how far the server's clock was ahead of the wall clock, and when the server last
    /// confirmed something.
    pub(crate) fn remember(&self, difference_ms: i64, confirmed_at: Option<Timestamp>) {
        let floor = confirmed_at.map(|at| (at, self.clock.since_boot()));
        let mut known = self.known.write();
        (known.difference, known.floor) = (SignedDuration::from_millis(difference_ms), floor);
    }

    /// What a heartbeat told. A time beyond all times is none.
    pub(crate) fn hear(&self, server_time_ms: i64) {
        if Timestamp::from_millisecond(server_time_ms).is_ok() {
            self.known.write().ahead_ms =
                Some(server_time_ms.saturating_sub(millis(self.clock.since_boot())));
        }
    }

    /// The server has just confirmed that what is known is the newest.
    pub(crate) fn confirm(&self) {
        let now = self.clock.since_boot();
        self.known.write().confirmed = Some(now);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.now_by(*self.known.read())
    }

    /// How long ago the server confirmed something, which it did at this time by its clock. `Duration::MAX` where that can't be
    /// known: then the clock says that it has not happened yet.
    pub(crate) fn since(&self, confirmed_at: Timestamp) -> Duration {
        let known = *self.known.read();
        if let (Some(confirmed), Some(_)) = (known.confirmed, known.ahead_ms) {
            // The server's clock may have been set since.
            return self.clock.since_boot().saturating_sub(confirmed);
        }
        let now = match known.ahead_ms {
            Some(_) => self.now_by(known),
            None => self.by_wall(known),
        };
        if now < confirmed_at.saturating_sub(BEHIND_MAX).unwrap_or(Timestamp::MIN) {
            return Duration::MAX;
        }
        Duration::try_from(self.now_by(known).duration_since(confirmed_at)).unwrap_or_default()
    }

    fn now_by(&self, known: Known) -> Timestamp {
        let running = self.clock.since_boot();
        if let Some(ahead_ms) = known.ahead_ms {
            let now = Timestamp::from_millisecond(ahead_ms.saturating_add(millis(running)));
            return now.unwrap_or(Timestamp::MAX);
        }
        let by_wall = self.by_wall(known);
        known.floor.map_or(by_wall, |(at, read)| {
            by_wall.max(at.saturating_add(running.saturating_sub(read)).unwrap_or(at))
        })
    }

    /// Until a heartbeat has told better: a machine that has just started often has its clock set soon.
    fn by_wall(&self, known: Known) -> Timestamp {
        let now = self.clock.now();
        now.saturating_add(known.difference).unwrap_or(now)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    /// Wall clock and running time of a machine, in milliseconds.
    #[derive(Debug, Default)]
    pub(crate) struct SetClocks {
        pub wall: AtomicI64,
        pub running: AtomicI64,
    }

    impl Clock for SetClocks {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(self.wall.load(Ordering::Relaxed)).unwrap()
        }

        fn since_boot(&self) -> Duration {
            Duration::from_millis(self.running.load(Ordering::Relaxed).unsigned_abs())
        }
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn clocks(wall: i64) -> (Arc<SetClocks>, ServerClock) {
        let set = Arc::new(SetClocks { wall: wall.into(), running: 1000.into() });
        let clock = ServerClock::new(Arc::clone(&set) as Arc<dyn Clock>);
        (set, clock)
    }

    #[test]
    fn a_wall_clock_that_is_set_while_the_server_is_away_changes_nothing() {
        let (set, clock) = clocks(1000 * HOUR_MS);
        clock.remember(0, None);
        clock.hear(2000 * HOUR_MS);
        clock.confirm();
        for wall in [0, 1000, 3000] {
            set.wall.store(wall * HOUR_MS, Ordering::Relaxed);
            assert_eq!(clock.now(), at(2000 * HOUR_MS));
            assert_eq!(clock.since(at(2000 * HOUR_MS)), Duration::ZERO);
        }
        // Asleep or awake.
        set.running.fetch_add(HOUR_MS, Ordering::Relaxed);
        assert_eq!(clock.now(), at(2001 * HOUR_MS));
        assert_eq!(clock.since(at(2000 * HOUR_MS)), Duration::from_secs(3600));
        // The server's own clock is set back: it decides, and what it confirmed is as old as it was.
        clock.hear(1990 * HOUR_MS);
        assert_eq!(clock.now(), at(1990 * HOUR_MS));
        assert_eq!(clock.since(at(2000 * HOUR_MS)), Duration::from_secs(3600));
        clock.hear(i64::MAX);
        assert_eq!(clock.now(), at(1990 * HOUR_MS), "no time at all");
    }

    #[test]
    fn after_a_start_it_is_never_before_what_the_server_has_confirmed() {
        let (set, clock) = clocks(10 * HOUR_MS);
        let confirmed = at(12 * HOUR_MS);
        clock.remember(HOUR_MS, Some(confirmed));
        assert_eq!(clock.now(), confirmed, "the wall clock says 11");
        assert_eq!(clock.since(confirmed), Duration::MAX, "nobody knows for how long the machine was off");
        set.running.fetch_add(HOUR_MS, Ordering::Relaxed);
        assert_eq!(clock.now(), at(13 * HOUR_MS));
        // The machine's clock is set right, the server still away.
        set.wall.store(15 * HOUR_MS, Ordering::Relaxed);
        assert_eq!((clock.now(), clock.since(confirmed)), (at(16 * HOUR_MS), Duration::from_secs(4 * 3600)));
        clock.hear(14 * HOUR_MS);
        assert_eq!((clock.now(), clock.since(confirmed)), (at(14 * HOUR_MS), Duration::from_secs(2 * 3600)));
    }
}
