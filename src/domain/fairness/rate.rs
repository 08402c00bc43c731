//! Rate limits: token buckets, one by itself or one for each key, such as an address or a host.
//!
//! They are our own and not `governor`'s, because here a caller may look without taking ([`RateLimiter::peek`]), one take
//! may cost more than another, what is remembered is bounded with a say in what happens at the bound, and forgetting
//! needs no walk over all entries under a lock. Time is passed in, and locking is the owner's.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What one may use up at once after a quiet time, and what one regains per second, in whatever is counted.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub burst: f64,
    pub per_second: f64,
}

/// What one has used up of a [`Rate`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    used: f64,
    /// When that was so; `None`: nothing was used yet.
    at: Option<Instant>,
}

/// How long to wait until there is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFast(pub Duration);

/// An entry that recovers later than this is taken to recover then.
const RECOVERY_MAX: Duration = Duration::from_hours(24 * 365);

impl Bucket {
    fn used(&self, rate: Rate, now: Instant) -> f64 {
        let Some(at) = self.at else { return 0.0 };
        let idle = now.saturating_duration_since(at);
        // Exactly nothing from the moment on when it is forgotten, whatever the rounding.
        if idle >= regained(rate, self.used) {
            return 0.0;
        }
        (self.used - idle.as_secs_f64() * rate.per_second).max(0.0)
    }

    /// Whether there is enough for something of this cost.
    pub fn peek(&self, rate: Rate, cost: f64, now: Instant) -> Result<(), TooFast> {
        let over = self.used(rate, now) + cost - rate.burst;
        if over > 0.0 { Err(TooFast(regained(rate, over))) } else { Ok(()) }
    }

    /// The same; if there is enough, it is used up.
    pub fn take(&mut self, rate: Rate, cost: f64, now: Instant) -> Result<(), TooFast> {
        self.peek(rate, cost, now)?;
        *self = Self { used: self.used(rate, now) + cost, at: Some(now) };
        Ok(())
    }

    /// When nothing of it is used up any more.
    fn recovers(&self, rate: Rate) -> Option<Instant> {
        self.at.map(|at| at + regained(rate, self.used))
    }
}

/// How long it takes to regain so much.
fn regained(rate: Rate, amount: f64) -> Duration {
    Duration::try_from_secs_f64(amount / rate.per_second).unwrap_or(RECOVERY_MAX).min(RECOVERY_MAX)
}

/// Keys that a limiter remembers where nothing speaks for another bound.
pub const KEYS_MAX: usize = 50_000;

/// What happens to a new key while as many keys as may be are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The one that recovers soonest is forgotten: it loses least of what it had used up.
    Forget,
    /// The new one is refused.
    Refuse,
}

/// A bucket for each key, of a bounded number of keys.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Rate,
    keys_max: usize,
    when_full: WhenFull,
    buckets: HashMap<K, Bucket>,
    /// The same keys by the moment when they recover.
    recovering: BTreeSet<(Instant, K)>,
}

/// Recovered keys that are forgotten with each take. A take adds one at most, so they never pile up.
const FORGOTTEN_AT_ONCE: usize = 2;

impl<K: Copy + Eq + Hash + Ord> RateLimiter<K> {
    pub fn new(rate: Rate, keys_max: usize, when_full: WhenFull) -> Self {
        Self { rate, keys_max, when_full, buckets: HashMap::new(), recovering: BTreeSet::new() }
    }

    /// Whether there is enough for something of this cost.
    pub fn peek(&self, key: K, cost: f64, now: Instant) -> Result<(), TooFast> {
        self.buckets.get(&key).copied().unwrap_or_default().peek(self.rate, cost, now)
    }

    /// The same; if there is enough, it is used up.
    pub fn take(&mut self, key: K, cost: f64, now: Instant) -> Result<(), TooFast> {
        self.forget_recovered(FORGOTTEN_AT_ONCE, now);
        let before = self.buckets.get(&key).copied();
        let mut bucket = before.unwrap_or_default();
        bucket.take(self.rate, cost, now)?;
        match before.and_then(|before| before.recovers(self.rate)) {
            Some(recovers) => _ = self.recovering.remove(&(recovers, key)),
            None => self.make_room(now)?,
        }
        self.buckets.insert(key, bucket);
        self.recovering.extend(bucket.recovers(self.rate).map(|recovers| (recovers, key)));
        Ok(())
    }

    /// Forgets all that have recovered, and gives back the room.
    pub fn tidy(&mut self, now: Instant) {
        self.forget_recovered(usize::MAX, now);
        self.buckets.shrink_to_fit();
    }

    fn forget_recovered(&mut self, most: usize, now: Instant) {
        for _ in 0..most {
            match self.recovering.first() {
                Some(&(recovers, key)) if recovers <= now => {
                    self.recovering.pop_first();
                    self.buckets.remove(&key);
                }
                _ => return,
            }
        }
    }

    fn make_room(&mut self, now: Instant) -> Result<(), TooFast> {
        if self.buckets.len() < self.keys_max {
            return Ok(());
        }
        let Some(&(recovers, key)) = self.recovering.first() else { return Ok(()) };
        if self.when_full == WhenFull::Refuse {
            return Err(TooFast(recovers.saturating_duration_since(now)));
        }
        self.recovering.pop_first();
        self.buckets.remove(&key);
        Ok(())
    }

    /// How many keys are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        assert_eq!(self.buckets.len(), self.recovering.len());
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate { burst: 10.0, per_second: 2.0 };

    #[test]
    fn each_key_has_a_burst_and_no_more() {
        let now = Instant::now();
        let mut limiter = RateLimiter::new(Rate { burst: 100.0, per_second: 0.001 }, 10, WhenFull::Forget);
        assert!((0..99).all(|_| limiter.take(1, 1.0, now).is_ok()));
        assert!(limiter.take(1, 2.0, now).is_err(), "more than is left");
        assert_eq!(limiter.peek(1, 1.0, now), Ok(()));
        assert_eq!(limiter.take(1, 1.0, now), Ok(()));
        assert_eq!(limiter.peek(1, 1.0, now), Err(TooFast(Duration::from_secs(1_000))));
        assert_eq!(limiter.take(1, 1.0, now), Err(TooFast(Duration::from_secs(1_000))));
        assert_eq!(limiter.take(2, 1.0, now), Ok(()), "somebody else");
        assert_eq!(limiter.take(1, 1.0, now + Duration::from_secs(1_000)), Ok(()));
    }

    #[test]
    fn at_the_bound_the_one_that_recovers_soonest_goes_or_the_new_one_is_refused() {
        let now = Instant::now();
        let full = |when_full| {
            let mut limiter = RateLimiter::new(RATE, 2, when_full);
            limiter.take(1, 10.0, now).unwrap();
            limiter.take(2, 4.0, now).unwrap();
            limiter
        };
        let mut forgetting = full(WhenFull::Forget);
        assert_eq!(forgetting.take(3, 10.0, now), Ok(()));
        assert!(forgetting.peek(1, 1.0, now).is_err());
        assert_eq!((forgetting.peek(2, 10.0, now), forgetting.remembered()), (Ok(()), 2));
        let mut refusing = full(WhenFull::Refuse);
        assert_eq!(refusing.take(3, 1.0, now), Err(TooFast(Duration::from_secs(2))));
        assert_eq!(refusing.take(2, 1.0, now), Ok(()), "one that is known");
        assert_eq!(refusing.take(3, 1.0, now + Duration::from_secs(3)), Ok(()));
    }

    #[test]
    fn a_rate_of_next_to_nothing_is_no_overflow() {
        let rate = Rate { burst: 1.0, per_second: f64::MIN_POSITIVE };
        let mut limiter = RateLimiter::new(rate, 10, WhenFull::Forget);
        let now = Instant::now();
        limiter.take((), 1.0, now).unwrap();
        assert_eq!(limiter.take((), 1.0, now), Err(TooFast(RECOVERY_MAX)));
    }

    fn takes() -> impl Strategy<Value = Vec<(u8, f64, u64)>> {
        proptest::collection::vec((0..8_u8, prop_oneof![Just(1.0), Just(5.0)], 0..2_000_u64), 1..200)
    }

    proptest! {
        #[test]
        fn no_key_gets_more_than_burst_and_rate_in_any_span(takes in takes()) {
            let mut now = Instant::now();
            let mut limiter = RateLimiter::new(RATE, 100, WhenFull::Forget);
            let mut taken = Vec::new();
            for (key, cost, millis) in takes {
                now += Duration::from_millis(millis);
                if limiter.take(key, cost, now).is_ok() {
                    taken.push((key, cost, now));
                }
            }
            for (first, (key, _, from)) in taken.iter().enumerate() {
                let mut total = 0.0;
                for (_, cost, at) in taken[first..].iter().filter(|(other, ..)| other == key) {
                    total += cost;
                    let most = RATE.burst + RATE.per_second * at.duration_since(*from).as_secs_f64();
                    prop_assert!(total <= most + 1e-6, "{total} of {most}");
                }
            }
        }

        #[test]
        fn forgetting_changes_no_answer(takes in takes(), tidies in proptest::collection::vec(any::<bool>(), 200)) {
            let mut now = Instant::now();
            let mut limiter = RateLimiter::new(RATE, 100, WhenFull::Forget);
            let mut model: HashMap<u8, Bucket> = HashMap::new();
            for ((key, cost, millis), tidy) in takes.into_iter().zip(tidies) {
                now += Duration::from_millis(millis);
                if tidy {
                    limiter.tidy(now);
                }
                let expected = model.entry(key).or_default().take(RATE, cost, now);
                prop_assert_eq!(limiter.peek(key, cost, now).is_ok(), expected.is_ok());
                prop_assert_eq!(limiter.take(key, cost, now).is_ok(), expected.is_ok());
            }
            limiter.tidy(now + Duration::from_secs(5));
            prop_assert_eq!(limiter.remembered(), 0);
        }

        #[test]
        fn what_is_remembered_is_bounded(takes in takes(), refuse in any::<bool>()) {
            let when_full = if refuse { WhenFull::Refuse } else { WhenFull::Forget };
            let mut now = Instant::now();
            let mut limiter = RateLimiter::new(RATE, 3, when_full);
            for (key, cost, millis) in takes {
                now += Duration::from_millis(millis / 10);
                let _ = limiter.take(key, cost, now);
                prop_assert!(limiter.remembered() <= 3);
            }
        }
    }
}
