//! The throttle on guesses. Sign-in, enrollment and rotation share one allowance per address, and only
//! failures that proved nothing draw on it: a right credential is never a guess.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::Problem;

/// Failures that an address may produce at once.
pub(super) const BURST: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// Failures per second that it gets back.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(1).unwrap();
/// Addresses remembered; beyond that, those that have recovered are forgotten, then all.
const ADDRESSES_MAX: usize = 100_000;

/// What is left to each address.
#[derive(Debug)]
pub(super) struct Throttle {
    allowance: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { allowance: RateLimiter::keyed(Quota::per_second(PER_SECOND).allow_burst(BURST)) }
    }
}

impl Throttle {
    /// Counts a failure that proved nothing; the refusal is replaced once the allowance is used up.
    pub(super) fn failed(&self, address: Option<IpAddr>, refusal: Problem) -> Problem {
        // Local callers are the operator.
        let Some(address) = address else {
            return refusal;
        };
        if self.allowance.len() > ADDRESSES_MAX {
            self.tidy();
        }
        match self.allowance.check_key(&network(address)) {
            Ok(()) => refusal,
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Problem::throttled(wait.as_secs() + 1)
            }
        }
    }

    pub(super) fn tidy(&self) {
        self.allowance.retain_recent();
        self.allowance.shrink_to_fit();
    }
}

/// What counts as one client: an IPv4 address, or the /64 that an IPv6 client can move about in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_burst_and_no_more() {
        let throttle = Throttle::default();
        let refusal = Problem::unauthenticated();
        let address = |text: &str| Some(text.parse().unwrap());
        for _ in 0..BURST.get() {
            assert_eq!(throttle.failed(address("2001:db8::1"), refusal.clone()), refusal);
        }
        let throttled = throttle.failed(address("2001:db8::2"), refusal.clone());
        assert_eq!((throttled.code, throttled.retry_after.is_some()), ("throttled", true), "same /64");
        assert_eq!(throttle.failed(address("2001:db8:0:1::1"), refusal.clone()), refusal, "another /64");
        assert_eq!(throttle.failed(None, refusal.clone()), refusal, "the operator");
    }
}
