//! When an SVID is due for rotation. Arithmetic only; the loops that wait live in the agent.

use jiff::{SignedDuration, Timestamp};

use crate::domain::identity::serial::Serial;

/// Share of the lifetime after which a certificate is due, before jitter, in thousandths.
const DUE_PERMILLE: i64 = 667;
/// Width of the window over which a fleet spreads its rotations, in thousandths of the lifetime.
const SPREAD_PERMILLE: i64 = 60;

/// The moment to rotate: about two thirds into the lifetime, moved by `jitter` (0..=999) so that agents
/// enrolled together don't come back together.
pub fn due_at(issued_at: Timestamp, not_after: Timestamp, jitter: u16) -> Timestamp {
    let lifetime = lifetime(issued_at, not_after).as_secs().saturating_mul(1000);
    let shift = SPREAD_PERMILLE * (i64::from(jitter.min(999)) - 500) / 1000;
    issued_at + SignedDuration::from_millis(lifetime / 1000 * (DUE_PERMILLE + shift))
}

/// Spreads a fleet's rotations. Taken from the serial, whose end is random, so that everybody who looks at the
/// certificate computes the same moment.
pub fn jitter(serial: Serial) -> u16 {
    let [.., high, low] = *serial.as_bytes();
    u16::from_be_bytes([high, low]) % 1000
}

/// How often to look whether rotation is due, and how long to wait after a failed one: a minute, less
/// when the lifetime is short.
pub fn check_interval(issued_at: Timestamp, not_after: Timestamp) -> SignedDuration {
    let share = lifetime(issued_at, not_after) / 30;
    share.clamp(SignedDuration::from_millis(200), SignedDuration::from_secs(60))
}

fn lifetime(issued_at: Timestamp, not_after: Timestamp) -> SignedDuration {
    not_after.duration_since(issued_at).max(SignedDuration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rotation_is_due_around_two_thirds() {
        let issued = Timestamp::from_second(1_790_000_000).unwrap();
        for lifetime in [10, 60, 86_400, 7 * 86_400] {
            let not_after = issued + SignedDuration::from_secs(lifetime);
            for jitter in [0, 500, 999, u16::MAX] {
                let share =
                    due_at(issued, not_after, jitter).duration_since(issued).as_secs_f64() / lifetime as f64;
                assert!((0.63..0.70).contains(&share), "{lifetime} s, jitter {jitter}: {share}");
            }
        }
    }

    #[test]
    fn jitter_is_the_serials_and_within_bounds() {
        let at = Timestamp::UNIX_EPOCH;
        let jitters: BTreeSet<u16> = (0..=255).map(|n| jitter(Serial::new(at, [n; 10]))).collect();
        assert!(jitters.iter().all(|jitter| *jitter < 1000) && jitters.len() > 100);
    }

    #[test]
    fn short_lives_are_checked_often() {
        let issued = Timestamp::UNIX_EPOCH;
        let check = |secs| check_interval(issued, issued + SignedDuration::from_secs(secs)).as_secs();
        assert_eq!((check(60), check(86_400)), (2, 60));
    }
}
