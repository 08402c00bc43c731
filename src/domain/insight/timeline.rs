//! A host's history, as people read it: what the server knows to have happened, and what the agent reports.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::domain::host::FACT_CHARS_MAX;
use crate::domain::octets::decoded;
use crate::domain::vocabulary::vocabulary;

/// One entry of a host's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// A [`TimelineKind`] of this version or of another one; of an agent's report, a word of its own.
    pub kind: String,
    /// What else is worth knowing.
    pub detail: BTreeMap<String, String>,
}

vocabulary! {
    /// What the server itself writes into the history of a host.
    pub enum TimelineKind {
        Decommissioned = "decommissioned",
        Enrolled = "enrolled",
        /// The machine of a decommissioned host tried to come back.
        EnrollmentRefused = "enrollment_refused",
        PossibleClone = "possible_clone",
        ReEnabled = "re_enabled",
        /// Rotated with a certificate that had expired.
        Recovered = "recovered",
        Revoked = "revoked",
        Rotated = "rotated",
    }
}

vocabulary! {
    /// Who says so. What an agent reports is data, and nothing is decided by it.
    #[schemars(rename = "EventSource")]
    wire pub enum Source {
        Server = "server",
        Agent = "agent",
    }
}

/// An entry, its place, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Its place.
    pub key: EventKey,
    /// Who says so.
    pub source: Source,
    /// What is said.
    pub event: HostEvent,
}

/// Reported entries kept of one host; the oldest make room for new ones.
pub const REPORTED_KEPT: usize = 256;

/// Longest kind of a reported event, and longest name in its detail, in bytes.
const WORD_BYTES_MAX: usize = 64;
/// Longest value in the detail of a reported event, in characters. As long as a fact.
pub const VALUE_CHARS_MAX: usize = FACT_CHARS_MAX;
/// Most names in the detail of a reported event.
pub const DETAIL_MAX: usize = 8;
/// How far back a report can reach. An agent that was cut off for longer tells about it as of then.
const REACHES_BACK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// An event that an agent reports, within bounds. Built only here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported(HostEvent);

/// What is wrong with a reported event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEvent {
    /// The kind is no word.
    #[error("a kind is 1 to {WORD_BYTES_MAX} of a-z, 0-9 and _, and starts with a letter")]
    Kind,
    /// A name in the detail is no word.
    #[error("a name in the detail is 1 to {WORD_BYTES_MAX} of a-z, 0-9 and _, and starts with a letter")]
    Name,
    /// A value in the detail is too long or not printable.
    #[error(
        "a value in the detail has at most {VALUE_CHARS_MAX} characters, none of them a control character"
    )]
    Value,
    /// The detail has too many names.
    #[error("the detail has at most {DETAIL_MAX} names")]
    TooMuchDetail,
}

impl Reported {
    /// Checks what an agent sent. `at` is bent into the time that a report can speak of: no later than `now`,
    /// and no earlier than a week before it.
    pub fn new(
        kind: String,
        at: Option<Timestamp>,
        detail: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Self, NotAnEvent> {
        if !is_word(&kind) {
            return Err(NotAnEvent::Kind);
        }
        if detail.len() > DETAIL_MAX {
            return Err(NotAnEvent::TooMuchDetail);
        }
        if !detail.keys().all(|name| is_word(name)) {
            return Err(NotAnEvent::Name);
        }
        let sound = |value: &String| {
            value.chars().take(VALUE_CHARS_MAX + 1).count() <= VALUE_CHARS_MAX
                && !value.chars().any(char::is_control)
        };
        if !detail.values().all(sound) {
            return Err(NotAnEvent::Value);
        }
        let earliest = now.saturating_sub(REACHES_BACK).unwrap_or(now);
        Ok(Self(HostEvent { at: at.unwrap_or(now).clamp(earliest, now), kind, detail }))
    }

    /// Hands it over to be stored.
    pub fn into_event(self) -> HostEvent {
        self.0
    }
}

fn is_word(text: &str) -> bool {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    text.len() <= WORD_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(legal)
}

/// The place of an entry in its host's timeline: Unix milliseconds, then a number that keeps entries of the
/// same millisecond apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey(pub [u8; 12]);

impl EventKey {
    /// The places of one millisecond, first to last. What agents report has the upper half of the numbers, so
    /// no two entries of a host share a place.
    pub fn places(at: Timestamp, source: Source) -> impl Iterator<Item = Self> {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
        let numbers = match source {
            Source::Server => 0..=u32::MAX / 2,
            Source::Agent => u32::MAX / 2 + 1..=u32::MAX,
        };
        numbers.map(move |number: u32| {
            let mut key = [0; 12];
            key[..8].copy_from_slice(&millis.to_be_bytes());
            key[8..].copy_from_slice(&number.to_be_bytes());
            Self(key)
        })
    }
}

impl std::fmt::Display for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The text is no place in a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnEventKey;

impl std::str::FromStr for EventKey {
    type Err = NotAnEventKey;

    fn from_str(text: &str) -> Result<Self, NotAnEventKey> {
        decoded(&data_encoding::HEXLOWER, text).map(Self).ok_or(NotAnEventKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    fn reported(kind: &str, detail: &[(&str, &str)]) -> Result<Reported, NotAnEvent> {
        let detail = detail.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Reported::new(kind.to_owned(), None, detail, now())
    }

    #[test]
    fn reported_events_are_within_bounds() {
        let (longest, long) = ("ä".repeat(VALUE_CHARS_MAX), "ä".repeat(VALUE_CHARS_MAX + 1));
        let word = "a".repeat(WORD_BYTES_MAX);
        let names: Vec<_> = (0..=DETAIL_MAX).map(|number| format!("name{number}")).collect();
        let detail: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        for (kind, detail) in [
            ("agent_started", &[][..]),
            (&word, &[("version", "0.1.0")]),
            ("a", &[("why", "'; DROP TABLE hosts; <b>%s{{7*7}}$(reboot)")]),
            ("a", &[("why", &longest)]),
            ("a", &detail[1..]),
        ] {
            assert!(reported(kind, detail).is_ok(), "{kind} {detail:?}");
        }
        let too_long = "a".repeat(WORD_BYTES_MAX + 1);
        for (kind, detail, expected) in [
            ("", &[][..], NotAnEvent::Kind),
            (&too_long, &[], NotAnEvent::Kind),
            ("Revoked", &[], NotAnEvent::Kind),
            ("a b", &[], NotAnEvent::Kind),
            ("1a", &[], NotAnEvent::Kind),
            ("a\n", &[], NotAnEvent::Kind),
            ("a", &[("", "")], NotAnEvent::Name),
            ("a", &[("Ä", "")], NotAnEvent::Name),
            ("a", &[("why", "a\u{1b}[31m")], NotAnEvent::Value),
            ("a", &[("why", "a\u{0}")], NotAnEvent::Value),
            ("a", &[("why", "a\u{85}")], NotAnEvent::Value),
            ("a", &[("why", &long)], NotAnEvent::Value),
            ("a", &detail, NotAnEvent::TooMuchDetail),
        ] {
            assert_eq!(reported(kind, detail), Err(expected), "{kind} {detail:?}");
        }
    }

    #[test]
    fn reports_speak_of_the_week_that_has_passed() {
        let at = |at: Timestamp| {
            let reported = Reported::new("a".to_owned(), Some(at), BTreeMap::new(), now());
            reported.unwrap().into_event().at
        };
        let (hour, week) = (SignedDuration::from_hours(1), SignedDuration::from_hours(168));
        assert_eq!(at(now() - hour), now() - hour);
        assert_eq!(at(now() + hour), now());
        assert_eq!((at(Timestamp::MAX), at(Timestamp::MIN)), (now(), now() - week));
        assert_eq!(reported("a", &[]).unwrap().into_event().at, now());
    }

    #[test]
    fn no_two_entries_share_a_place() {
        let of = |source| EventKey::places(now(), source).take(3).collect::<Vec<_>>();
        let places = [of(Source::Server), of(Source::Agent)].concat();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        assert!(
            EventKey::places(now() + SignedDuration::from_millis(1), Source::Server).next()
                > places.last().copied()
        );
    }
}
