//! The throttle on guesses. Sign-in, enrollment and rotation share one allowance per address, and only
//! failures that proved nothing draw on it: a right credential is never a guess.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::problem::Problem;
use crate::domain::networks::accountable;

/// What an address may use up at once, in failures.
pub(super) const BURST: u32 = 100;
/// What it gets back each second.
const PER_SECOND: f64 = 1.0;
/// Addresses remembered. Beyond that, those that have recovered are forgotten, then all.
const ADDRESSES_MAX: usize = 50_000;

/// What a failure costs, in failures: a wrong password is cheaper to try again than a 256-bit secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    Credential,
    Password,
}

impl Cost {
    const fn failures(self) -> f64 {
        match self {
            Self::Credential => 1.0,
            Self::Password => 5.0,
        }
    }
}

/// What each address has used up. Time is monotonic, so a stepping clock locks nobody out.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    used: Mutex<HashMap<IpAddr, Used>>,
}

#[derive(Debug, Clone, Copy)]
struct Used {
    failures: f64,
    at: Instant,
}

impl Used {
    fn now(self, now: Instant) -> f64 {
        (self.failures - now.duration_since(self.at).as_secs_f64() * PER_SECOND).max(0.0)
    }
}

impl Throttle {
    /// Refuses work that costs us something to an address that has used up its allowance.
    pub(super) fn admit(&self, address: Option<IpAddr>, cost: Cost) -> Result<(), Problem> {
        // Local callers are the operator.
        let Some(address) = address else { return Ok(()) };
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = used.get(&accountable(address)).map_or(0.0, |used| used.now(Instant::now()));
        drop(used);
        let over = failures + cost.failures() - f64::from(BURST);
        if over > 0.0 { Err(throttled(over)) } else { Ok(()) }
    }

    /// Counts a failure that proved nothing; an error once the allowance is used up.
    pub(super) fn failed(&self, address: Option<IpAddr>, cost: Cost) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= ADDRESSES_MAX {
            used.retain(|_, used| used.now(now) > 0.0);
            if used.len() >= ADDRESSES_MAX {
                used.clear();
            }
        }
        let entry = used.entry(accountable(address)).or_insert(Used { failures: 0.0, at: now });
        let failures = entry.now(now) + cost.failures();
        let over = failures - f64::from(BURST);
        if over > 0.0 {
            return Err(throttled(over));
        }
        *entry = Used { failures, at: now };
        Ok(())
    }

    /// Forgets addresses that have recovered.
    pub(super) fn tidy(&self) {
        let now = Instant::now();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, used| used.now(now) > 0.0);
        used.shrink_to_fit();
    }
}

fn throttled(over: f64) -> Problem {
    let wait = Duration::from_secs_f64(over / PER_SECOND);
    Problem::throttled(wait.as_secs() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_burst_and_no_more() {
        let throttle = Throttle::default();
        let fail = |text: &str| throttle.failed(Some(text.parse().unwrap()), Cost::Credential);
        for _ in 0..BURST {
            assert_eq!(fail("2001:db8::1"), Ok(()));
        }
        let throttled = fail("2001:db8::2").unwrap_err();
        assert_eq!((throttled.code, throttled.retry_after.is_some()), ("throttled", true), "same /64");
        assert!(throttle.admit(Some("2001:db8::3".parse().unwrap()), Cost::Password).is_err());
        assert_eq!(fail("2001:db8:0:1::1"), Ok(()), "another /64");
        assert_eq!(throttle.failed(None, Cost::Password), Ok(()), "the operator");
        assert_eq!(throttle.admit(None, Cost::Password), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..(u32::try_from(ADDRESSES_MAX).unwrap() + 10) {
            assert_eq!(throttle.failed(Some(IpAddr::from(number.to_be_bytes())), Cost::Credential), Ok(()));
        }
        assert!(throttle.used.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
