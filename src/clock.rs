//! Time: the only place that asks the system for it, which clippy's `disallowed-methods` holds everybody else to.
//!
//! What is shown, stored or compared with something that was comes from a [`Clock`], so that tests can set it. How
//! long something takes and when to try again is asked of the monotonic clock, which nobody sets.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + Debug {
    /// Now, in whole milliseconds, the finest unit that is stored or shown.
    fn now(&self) -> Timestamp;

    /// How long this process has run, by the monotonic clock, which nobody sets.
    fn running(&self) -> SignedDuration {
        static BEGUN: OnceLock<Instant> = OnceLock::new();
        let ran = BEGUN.get_or_init(monotonic).elapsed();
        SignedDuration::try_from(ran).unwrap_or(SignedDuration::MAX)
    }

    /// How long the machine has run, awake or asleep (`CLOCK_BOOTTIME`), which nobody sets either.
    fn since_boot(&self) -> Duration {
        Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
    }
}

/// Now by the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "asked for here alone")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Now on the runtime's timer, by which its sleeps and deadlines are measured.
#[expect(clippy::disallowed_methods, reason = "asked for here alone")]
pub fn timer() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "asked for here alone")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}
