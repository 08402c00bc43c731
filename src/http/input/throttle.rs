//! The throttle on guesses. Enrollment and rotation share one allowance per address, sign-in has another, and only
//! failures that proved nothing draw on them: a right credential is never a guess. A wrong password draws on both; a
//! wrong token draws on its own alone, so that a machine that enrolls in vain keeps nobody beside it from signing in.

use std::net::IpAddr;

use parking_lot::Mutex;

use crate::clock;
use crate::domain::fairness::rate::{KEYS_MAX, Rate, RateLimiter, TooFast, WhenFull};
use crate::domain::network::networks::accountable;
use crate::http::problem::Problem;

/// What an address may use up at once, in failures.
pub(crate) const BURST: u32 = 100;
const RATE: Rate = Rate { burst: BURST as f64, per_second: 1.0 };
/// What a wrong password costs, in failures: it is cheaper to try again than a 256-bit secret.
const PASSWORD: f64 = 5.0;
const CREDENTIAL: f64 = 1.0;

/// What each address has used up. Time is monotonic, so a stepping clock locks nobody out.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    credentials: Allowance,
    sign_in: Allowance,
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

/// What addresses have used up.
#[derive(Debug)]
struct Allowance(Mutex<RateLimiter<IpAddr>>);

impl Default for Allowance {
    fn default() -> Self {
        Self(Mutex::new(RateLimiter::new(RATE, KEYS_MAX, WhenFull::Forget)))
    }
}

impl Allowance {
    /// Refuses an address whose next failure would be more than its allowance.
    fn admit(&self, address: Option<IpAddr>, cost: f64) -> Result<(), Problem> {
        // Local callers are the operator.
        let Some(address) = address else { return Ok(()) };
        self.0.lock().peek(accountable(address), cost, clock::monotonic()).map_err(throttled)
    }

    fn failed(&self, address: Option<IpAddr>, cost: f64) -> Result<(), Problem> {
        let Some(address) = address else { return Ok(()) };
        self.0.lock().take(accountable(address), cost, clock::monotonic()).map_err(throttled)
    }

    fn tidy(&self) {
        self.0.lock().tidy(clock::monotonic());
    }
}

fn throttled(TooFast(wait): TooFast) -> Problem {
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
        for number in 0..(u32::try_from(KEYS_MAX).unwrap() + 10) {
            assert_eq!(throttle.wrong_password(Some(IpAddr::from(number.to_be_bytes()))), Ok(()));
        }
        for allowance in [&throttle.credentials, &throttle.sign_in] {
            assert!(allowance.0.lock().remembered() <= KEYS_MAX);
        }
    }
}
