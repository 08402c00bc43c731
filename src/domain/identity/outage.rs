//! Times in which the server did not serve, and what it forgives because of them.

use jiff::{SignedDuration, Timestamp};

/// Signs of life that may be missed before that is an outage.
const MISSED: i32 = 3;

/// How often a serving server leaves a sign of life, where SVIDs live for so long: so often that an outage is noticed
/// that takes up less than the last third of such a life.
pub fn sign_of_life_every(svid_ttl: SignedDuration) -> SignedDuration {
    (svid_ttl / 15).clamp(SignedDuration::from_secs(1), SignedDuration::from_secs(10))
}

/// From the last sign of life to the return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last sign of life before it.
    pub from: Timestamp,
    /// When the server was back.
    pub until: Timestamp,
}

/// How long after its return the server lets those come back who expired because it was away.
pub const AMNESTY: SignedDuration = SignedDuration::from_hours(24);

impl Outage {
    /// What is between two signs of life, one of which is due `every` so often: nothing, or an outage.
    pub fn between(from: Timestamp, until: Timestamp, every: SignedDuration) -> Option<Self> {
        (until.duration_since(from) > every * MISSED).then_some(Self { from, until })
    }

    /// Whether an SVID that ran out at `not_after` did so because nobody was there to rotate it. An outage
    /// that covers the end of a lifetime overlaps the window in which rotation was due.
    pub fn excuses(&self, not_after: Timestamp, now: Timestamp) -> bool {
        // An SVID is good through its last second.
        let covered = self.from.as_second() <= not_after.as_second() && not_after <= self.until;
        covered && self.until <= now && now <= self.until + AMNESTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_an_outage_when_three_signs_of_life_are_missing() {
        let at = |second: i64| Timestamp::from_second(1_790_000_000 + second).unwrap();
        for (ttl, every) in [(10, 1), (20, 1), (60, 4), (150, 10), (86_400, 10)] {
            let found = sign_of_life_every(SignedDuration::from_secs(ttl));
            assert_eq!(found.as_secs(), every, "{ttl} s");
            assert!(found * MISSED <= SignedDuration::from_secs(ttl) / 3, "{ttl} s");
            assert_eq!(Outage::between(at(0), at(every * 3), found), None);
            let outage = Outage { from: at(0), until: at(every * 3 + 1) };
            assert_eq!(Outage::between(outage.from, outage.until, found), Some(outage));
            assert_eq!(Outage::between(outage.until, outage.from, found), None);
        }
    }

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
