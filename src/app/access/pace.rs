//! How often somebody may do what costs others something: a burst after a quiet time, and a rate in the long run,
//! so that one who has run wild is slowed down and the others do not notice.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// So many are remembered before those that have recovered are looked for, and forgotten.
const REMEMBERED: usize = 10_000;

/// What each has used up lately.
#[derive(Debug)]
pub struct Pace<K> {
    burst: f64,
    used: Mutex<Used<K>>,
}

#[derive(Debug)]
struct Used<K> {
    by: HashMap<K, (f64, Instant)>,
    /// How many there are when it is worth looking for those that have recovered.
    look_at: usize,
}

impl<K: Eq + Hash> Pace<K> {
    /// A pace that allows so much at once after a quiet time.
    pub fn new(burst: f64) -> Self {
        Self { burst, used: Mutex::new(Used { by: HashMap::new(), look_at: REMEMBERED }) }
    }

    /// Whether somebody may do so much now, where they regain `per_second`; if so, it counts.
    pub fn allow(&self, who: K, cost: f64, per_second: f64) -> bool {
        self.wait(who, cost, per_second).is_none()
    }

    /// The same; if not, how long until they may.
    pub fn wait(&self, who: K, cost: f64, per_second: f64) -> Option<Duration> {
        let now = clock::monotonic();
        let left =
            |(used, at): (f64, Instant)| (used - now.duration_since(at).as_secs_f64() * per_second).max(0.0);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.by.len() >= used.look_at {
            used.by.retain(|_, used| left(*used) > 0.0);
            // Whoever stays is looked at again only when as many have come, so that this costs each of them little.
            used.look_at = REMEMBERED.max(used.by.len() * 2);
        }
        let total = used.by.get(&who).copied().map_or(0.0, left) + cost;
        let over = total - self.burst;
        if over > 0.0 {
            return Some(Duration::from_secs_f64(over / per_second));
        }
        used.by.insert(who, (total, now));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_burst_and_no_more() {
        let pace = Pace::new(100.0);
        let allow = |number: u8, cost| pace.allow(number, cost, 0.001);
        assert!((0..99).all(|_| allow(1, 1.0)));
        assert!(!allow(1, 2.0), "more than is left");
        assert!(allow(1, 1.0));
        assert!(!allow(1, 1.0));
        assert!(pace.wait(1, 1.0, 0.001).is_some_and(|wait| wait > Duration::from_secs(900)));
        assert!(allow(2, 1.0), "somebody else");
    }

    #[test]
    fn those_that_have_recovered_are_forgotten() {
        let pace = Pace::new(1.0);
        for number in 0..3 * REMEMBERED {
            assert!(pace.allow(number, 1.0, 1e9));
        }
        assert!(pace.used.lock().unwrap().by.len() <= REMEMBERED);
    }
}
