//! What the wall clock has shown while the server ran.
//!
//! A wall clock that is ahead for a while must not make the server forget for good: what has run out by it may be
//! good again once it is right. So how long the server has run since it first saw a moment past is counted by the
//! monotonic clock, over restarts. The highest time ever seen would be no guard, because it is never below the
//! present one.

use jiff::{SignedDuration, Timestamp};

use crate::domain::enroll::enrollment::{SVID_LIFETIME_MAX, past_not_after};
use crate::domain::identity::serial::Serial;

/// Marks are this far apart, in time that the server has run.
const SPACING: SignedDuration = SignedDuration::from_hours(1);

/// How long a denial outlives the end of its certificate at least, by the wall clock.
pub const DENIALS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// What the wall clock showed when the server had run for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockMark {
    /// The wall clock.
    pub shown: Timestamp,
    /// For how long the server had run in all.
    pub ran: SignedDuration,
}

/// Marks in the order of both clocks, and how long the server has run in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClockMarks {
    /// In all, over every start.
    pub ran: SignedDuration,
    /// Bounded; the oldest lie furthest apart.
    pub marks: Vec<ClockMark>,
}

impl ClockMarks {
    /// Notes what the wall clock shows. Marks of a time that is ahead of it are void: what they saw past is not.
    pub fn note(&mut self, now: Timestamp, ran: SignedDuration) {
        self.ran = self.ran.max(ran);
        self.marks.retain(|mark| mark.shown <= now);
        if self.marks.last().is_none_or(|last| self.ran - last.ran >= SPACING) {
            self.marks.push(ClockMark { shown: now, ran: self.ran });
        }
        // Nothing asks for more than the longest lifetime, but for what the last mark before that has seen.
        let before = self.marks.partition_point(|mark| self.ran - mark.ran > SVID_LIFETIME_MAX);
        self.marks.drain(..before.saturating_sub(1));
    }

    /// Whether a certificate ran out longer than `kept` ago by the wall clock, and the server has run for the
    /// certificate's whole lifetime since it first saw that: then it has run out, however wrong the clock is.
    pub fn long_past(
        &self,
        serial: Serial,
        not_after: Timestamp,
        kept: SignedDuration,
        now: Timestamp,
    ) -> bool {
        self.surely_past(not_after, not_after.duration_since(serial.made_at()), kept, now)
    }

    /// The same of all certificates that lived for so long and ended by then.
    pub fn surely_past(
        &self,
        end: Timestamp,
        lifetime: SignedDuration,
        kept: SignedDuration,
        now: Timestamp,
    ) -> bool {
        if end >= now - kept {
            return false;
        }
        let lifetime = lifetime.clamp(SignedDuration::ZERO, SVID_LIFETIME_MAX);
        let first = self.marks.iter().find(|mark| past_not_after(end, mark.shown));
        first.is_some_and(|first| self.ran - first.ran >= lifetime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap() + HOUR * i32::try_from(hours).unwrap()
    }

    fn certificate() -> (Serial, Timestamp) {
        (Serial::new(at(0), [1; 10]), at(24))
    }

    #[test]
    fn a_clock_that_is_ahead_makes_nobody_forget_before_a_lifetime_has_been_run() {
        let (serial, not_after) = certificate();
        let past = |marks: &ClockMarks, now| marks.long_past(serial, not_after, DENIALS_KEPT, now);
        let mut marks = ClockMarks::default();
        marks.note(at(1), HOUR);
        let ahead = at(9_000);
        assert!(!past(&marks, ahead), "nobody has seen it past its end");
        for ran in 2..26 {
            marks.note(ahead, HOUR * ran);
            assert!(!past(&marks, ahead), "after {ran} h");
        }
        marks.note(ahead, HOUR * 26);
        assert!(past(&marks, ahead));
        assert!(!past(&marks, at(24 + 30 * 24)), "the wall clock has a say, too");
    }

    #[test]
    fn a_clock_that_comes_back_has_seen_nothing() {
        let (serial, not_after) = certificate();
        let mut marks = ClockMarks::default();
        let ahead = at(9_000);
        marks.note(ahead, HOUR);
        marks.note(at(2), HOUR * 2);
        marks.note(ahead, HOUR * 3);
        marks.note(ahead, HOUR * 26);
        assert!(!marks.long_past(serial, not_after, DENIALS_KEPT, ahead), "it counts from the second time");
        marks.note(ahead, HOUR * 27);
        assert!(marks.long_past(serial, not_after, DENIALS_KEPT, ahead));
    }

    #[test]
    fn marks_are_bounded_and_what_was_past_stays_past() {
        let (serial, not_after) = certificate();
        let mut marks = ClockMarks::default();
        for ran in 1..5_000 {
            marks.note(at(i64::from(ran)), HOUR * ran);
            assert!(marks.marks.len() < 200);
            let expected = ran > 24 + 30 * 24;
            assert_eq!(
                marks.long_past(serial, not_after, DENIALS_KEPT, at(i64::from(ran))),
                expected,
                "{ran} h"
            );
        }
    }
}
