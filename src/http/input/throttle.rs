//! The throttle on guesses. Enrollment and rotation share one allowance per address, sign-in has another, and only
//! failures that proved nothing draw on them: a right credential is never a guess. A wrong password draws on both; a
//! wrong token draws on its own alone, so that a machine that enrolls in vain keeps nobody beside it from signing in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::network::networks::accountable;
use crate::http::problem::Problem;

/// What an address may use up at once, in failures.
pub(crate) const BURST: u32 = 100;
/// What it gets back each second.
const PER_SECOND: f64 = 1.0;
/// Addresses remembered. Beyond that, those that have recovered are forgotten, then all.
const ADDRESSES_MAX: usize = 50_000;
/// What a wrong password costs, in failures: it is cheaper to try again than a 256-bit secret.
const PASSWORD: f64 = 5.0;
const CREDENTIAL: f64 = 1.0;

/// What each address has used up. Time is monotonic, so a stepping clock locks nobody out.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    credentials: Bucket,
    sign_in: Bucket,
}

impl Throttle {
    /// Refuses to check a password, which costs us something, for an address that has used up its allowance.
    pub(crate) fn admit_sign_in(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.sign_in.admit(address, PASSWORD)
    }

    /// Counts a wrong password; an error once the allowance is used up.
    pub(crate) fn wrong_password(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        // Whether the other allowance is used up is no matter of this one's.
        let _ = self.credentials.failed(address, PASSWORD);
        self.sign_in.failed(address, PASSWORD)
    }

    /// Counts a credential that proved nothing; an error once the allowance is used up.
    pub(crate) fn wrong_credential(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.credentials.failed(address, CREDENTIAL)
    }

    /// Forgets addresses that have recovered.
    pub(crate) fn tidy(&self) {
        self.credentials.tidy();
        self.sign_in.tidy();
    }
}

#[derive(Debug, Default)]
struct Bucket {
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

impl Bucket {
    /// Refuses an address whose next failure would be more than its allowance.
    fn admit(&self, address: Option<IpAddr>, cost: f64) -> Result<(), Problem> {
        // Local callers are the operator.
        let Some(address) = address else { return Ok(()) };
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = used.get(&accountable(address)).map_or(0.0, |used| used.now(Instant::now()));
        drop(used);
        let over = failures + cost - f64::from(BURST);
        if over > 0.0 { Err(throttled(over)) } else { Ok(()) }
    }

    fn failed(&self, address: Option<IpAddr>, cost: f64) -> Result<(), Problem> {
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
        let failures = entry.now(now) + cost;
        let over = failures - f64::from(BURST);
        if over > 0.0 {
            return Err(throttled(over));
        }
        *entry = Used { failures, at: now };
        Ok(())
    }

    fn tidy(&self) {
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

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_its_burst_and_no_more() {
        let throttle = Throttle::default();
        let fail = |text: &str| throttle.wrong_credential(address(text));
        for _ in 0..BURST {
            assert_eq!(fail("2001:db8::1"), Ok(()));
        }
        let throttled = fail("2001:db8::2").unwrap_err();
        assert_eq!(
            (throttled.code, throttled.retry_after.is_some()),
            (crate::domain::code::Code::Throttled, true),
            "same /64"
        );
        assert_eq!(fail("2001:db8:0:1::1"), Ok(()), "another /64");
        assert_eq!(throttle.wrong_password(None), Ok(()), "the operator");
        assert_eq!(throttle.admit_sign_in(None), Ok(()));
    }

    #[test]
    fn wrong_passwords_count_against_enrollment_and_never_the_other_way_round() {
        let throttle = Throttle::default();
        let (enrolls, signs_in) = (address("192.0.2.1"), address("192.0.2.2"));
        while throttle.wrong_credential(enrolls).is_ok() {}
        assert_eq!(throttle.admit_sign_in(enrolls), Ok(()));
        assert_eq!(throttle.wrong_password(enrolls), Ok(()), "the first wrong password");
        while throttle.wrong_password(signs_in).is_ok() {}
        assert!(throttle.admit_sign_in(signs_in).is_err());
        assert!((0..2).any(|_| throttle.wrong_credential(signs_in).is_err()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let throttle = Throttle::default();
        for number in 0..(u32::try_from(ADDRESSES_MAX).unwrap() + 10) {
            assert_eq!(throttle.wrong_password(Some(IpAddr::from(number.to_be_bytes()))), Ok(()));
        }
        for bucket in [&throttle.credentials, &throttle.sign_in] {
            assert!(bucket.used.lock().unwrap().len() <= ADDRESSES_MAX);
        }
    }
}
