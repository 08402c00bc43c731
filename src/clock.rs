//! Time, the only place that asks the system for it.

use std::fmt::Debug;

use jiff::Timestamp;

/// Where the time comes from. Tests bring their own.
pub trait Clock: Send + Sync + Debug {
    /// Now, in whole milliseconds, the finest unit that is stored or shown.
    fn now(&self) -> Timestamp;
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
