//! How often an identity may rotate. Every rotation adds rows that stay, so a runaway agent is slowed down.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::SignedDuration;

use crate::domain::ids::HostId;

/// Rotations at once after a quiet time.
const BURST: f64 = 100.0;
/// Rotations in one lifetime of an SVID, in the long run.
const PER_LIFETIME: f64 = 30.0;
/// Hosts remembered; beyond that, those that have recovered are forgotten.
const HOSTS_MAX: usize = 10_000;

/// What each host has used up lately.
#[derive(Debug, Default)]
pub(super) struct RotationLimit {
    used: Mutex<HashMap<HostId, (f64, Instant)>>,
}

impl RotationLimit {
    /// Whether a host may rotate now; if so, it counts.
    pub(super) fn allow(&self, host: HostId, lifetime: SignedDuration) -> bool {
        let per_second = PER_LIFETIME / lifetime.as_secs_f64().max(1.0);
        let now = Instant::now();
        let left =
            |(used, at): (f64, Instant)| (used - now.duration_since(at).as_secs_f64() * per_second).max(0.0);
        let mut hosts = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS_MAX {
            hosts.retain(|_, used| left(*used) > 0.0);
        }
        let used = hosts.get(&host).copied().map_or(0.0, left) + 1.0;
        if used > BURST {
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
        let limit = RotationLimit::default();
        let allow = |number| limit.allow(HostId::from_bytes([number; 16]), SignedDuration::from_hours(24));
        assert!((0..100).all(|_| allow(1)));
        assert!(!allow(1));
        assert!(allow(2), "another host");
    }
}
