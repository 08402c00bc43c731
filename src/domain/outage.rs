//! Times in which the server did not serve, and what it forgives because of them.

use jiff::{SignedDuration, Timestamp};

/// From the last sign of life to the return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    pub from: Timestamp,
    pub until: Timestamp,
}

/// How long after its return the server lets those come back who expired because it was away.
pub const AMNESTY: SignedDuration = SignedDuration::from_hours(24);

impl Outage {
    /// Whether an SVID that ran out at `not_after` did so because nobody was there to rotate it. An outage
    /// that covers the end of a lifetime overlaps the window in which rotation was due.
    pub fn excuses(&self, not_after: Timestamp, now: Timestamp) -> bool {
        self.from <= not_after && not_after <= self.until && self.until <= now && now <= self.until + AMNESTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expiry_during_the_outage_is_excused_and_only_for_a_day() {
        let at = |hour: i64| Timestamp::from_second(1_790_000_000 + hour * 3_600).unwrap();
        let outage = Outage { from: at(0), until: at(10) };
        let cases = [
            (5, 11, true),
            (0, 11, true),
            (10, 11, true),
            (5, 34, true),
            (5, 35, false),
            (-1, 11, false),
            (11, 12, false),
        ];
        for (not_after, now, excused) in cases {
            assert_eq!(
                outage.excuses(at(not_after), at(now)),
                excused,
                "expired at {not_after} h, back at {now} h"
            );
        }
    }
}
