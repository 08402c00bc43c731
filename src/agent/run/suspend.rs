//! Whether the machine has slept: then the wall clock has gone on, and the monotonic clock has not
//! (`CLOCK_MONOTONIC`, which does not count suspension). A clock that was set forward looks the same.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};

/// A shorter sleep breaks no connection, and clocks that are being disciplined drift.
const SLEEP_MIN: SignedDuration = SignedDuration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Wakefulness {
    wall: Timestamp,
    monotonic: Instant,
}

impl Wakefulness {
    pub(crate) const fn at(wall: Timestamp, monotonic: Instant) -> Self {
        Self { wall, monotonic }
    }

    /// Whether there was a sleep between the last look and now.
    pub(crate) fn slept_until(&mut self, wall: Timestamp, monotonic: Instant) -> bool {
        let awake = SignedDuration::try_from(monotonic.saturating_duration_since(self.monotonic));
        let passed = wall.duration_since(self.wall);
        *self = Self { wall, monotonic };
        awake.is_ok_and(|awake| passed.saturating_sub(awake) >= SLEEP_MIN)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sleep_is_time_that_only_the_wall_clock_counts() {
        let (wall, monotonic) = (Timestamp::now(), Instant::now());
        for (wall_ms, monotonic_ms, slept) in [
            (2_000, 2_000, false),
            (3_600_000, 3_600_000, false),
            (6_900, 2_000, false),
            (7_100, 2_000, true),
            (-60_000, 2_000, false),
        ] {
            let mut wakefulness = Wakefulness::at(wall, monotonic);
            let now = (
                wall + SignedDuration::from_millis(wall_ms),
                monotonic + Duration::from_millis(monotonic_ms),
            );
            assert_eq!(wakefulness.slept_until(now.0, now.1), slept, "{wall_ms} {monotonic_ms}");
            assert!(!wakefulness.slept_until(now.0, now.1), "told once");
        }
    }
}
