//! How often a host may do what leaves rows behind: a burst after a quiet time, and a rate in the long run, so
//! that an agent that has run wild is slowed down and the others do not notice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::domain::ids::HostId;

/// Hosts remembered; beyond that, those that have recovered are forgotten.
const HOSTS_MAX: usize = 10_000;

/// What each host has used up lately.
#[derive(Debug)]
pub(super) struct HostPace {
    burst: f64,
    used: Mutex<HashMap<HostId, (f64, Instant)>>,
}

impl HostPace {
    /// A pace that allows so much at once after a quiet time.
    pub(super) fn new(burst: f64) -> Self {
        Self { burst, used: Mutex::default() }
    }

    /// Whether a host may do so much now, where it regains `per_second`; if so, it counts.
    pub(super) fn allow(&self, host: HostId, cost: f64, per_second: f64) -> bool {
        let now = Instant::now();
        let left =
            |(used, at): (f64, Instant)| (used - now.duration_since(at).as_secs_f64() * per_second).max(0.0);
        let mut hosts = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, used| left(*used) > 0.0);
        }
        let used = hosts.get(&host).copied().map_or(0.0, left) + cost;
        if used > self.burst {
            return false;
        }
        hosts.insert(host, (used, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_its_burst_and_no_more() {
        let pace = HostPace::new(100.0);
        let allow = |number, cost| pace.allow(HostId::from_bytes([number; 16]), cost, 0.001);
        assert!((0..99).all(|_| allow(1, 1.0)));
        assert!(!allow(1, 2.0), "more than is left");
        assert!(allow(1, 1.0));
        assert!(!allow(1, 1.0));
        assert!(allow(2, 1.0), "another host");
    }
}
