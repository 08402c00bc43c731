//! Time, the only place that asks the system for it.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + Debug {
    /// Now, in whole milliseconds, the finest unit that is stored or shown.
    fn now(&self) -> Timestamp;

    /// How long this process has run, by the monotonic clock, which nobody sets.
    fn running(&self) -> SignedDuration {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        let ran = BEGUN.get_or_init(Instant::now).elapsed();
        SignedDuration::try_from(ran).unwrap_or(SignedDuration::MAX)
    }
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
