//! When to rotate: by the certificate's life, by the server's wish, and how soon after a refusal.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::agent::enroll::requests::ServerRefusal;
use crate::agent::identity::Identity;
use crate::agent::run::backoff::{after_refusals, jittered};
use crate::agent::state_file::AgentState;
use crate::domain::code::Code;
use crate::domain::identity::rotation::{check_interval, due_at, jitter};
use crate::domain::identity::serial::Serial;

/// Shortest time between two suspicions. A revoked agent should learn it soon.
pub(crate) const SUSPICION_GAP_MIN: Duration = Duration::from_secs(5);

/// How often the time between suspicions doubles while the server keeps accepting an identity that can't open a
/// session. Then something else is in the way, and more certificates don't help.
pub(crate) const ACQUITTALS_MAX: u32 = 6;

/// Shortest wait of the loop, so that no arithmetic can make it spin.
pub(crate) const WAIT_MIN: Duration = Duration::from_millis(20);

/// When to rotate.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    pub(crate) issued_at: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) due: Timestamp,
    /// When to rotate because the server asks for it, however long the certificate still lives.
    pub(crate) asked: Option<Instant>,
    /// To be tried at once, to learn whether the identity still counts.
    pub(crate) suspected: bool,
    /// How long to wait after an attempt that failed.
    pub(crate) retry: Duration,
    /// How often in a row the server has refused for good.
    pub(crate) refusals: u32,
    pub(crate) last_attempt: Option<Instant>,
}

impl Schedule {
    pub(crate) fn new(issued_at: Timestamp, not_after: Timestamp, serial: Serial) -> Self {
        Self {
            issued_at,
            not_after,
            due: due_at(issued_at, not_after, jitter(serial)),
            asked: None,
            suspected: false,
            retry: check_interval(issued_at, not_after).unsigned_abs(),
            refusals: 0,
            last_attempt: None,
        }
    }

    /// How often to look, and how long to wait after a failed attempt: a minute, less when the lifetime is short.
    pub(crate) fn gap(&self) -> Duration {
        check_interval(self.issued_at, self.not_after).unsigned_abs()
    }

    fn wanted(&self, server_now: Timestamp, now: Instant) -> bool {
        self.asked.is_some_and(|asked| now >= asked) || server_now >= self.due
    }

    /// How long after the last attempt the next one is due; zero when it is.
    pub(crate) fn until_retry(&self, now: Instant) -> Duration {
        let since = self.last_attempt.map(|last| now.saturating_duration_since(last));
        since.map_or(Duration::ZERO, |since| self.retry.saturating_sub(since))
    }

    /// How long to wait before the next attempt. Zero means now.
    pub(crate) fn wait(&self, server_now: Timestamp, now: Instant) -> Duration {
        if self.suspected {
            return Duration::ZERO;
        }
        if self.wanted(server_now, now) {
            return self.until_retry(now);
        }
        let until_due = self.due.duration_since(server_now).max(SignedDuration::ZERO).unsigned_abs();
        let until_asked = self.asked.map(|asked| asked.saturating_duration_since(now));
        until_asked.map_or(until_due, |until_asked| until_asked.max(self.until_retry(now)).min(until_due))
    }

    /// After an attempt that failed: soon again, because the cause may pass; ever more rarely when the server has
    /// refused for good, because then somebody must do something first.
    pub(crate) fn failed(&mut self, attempt: FailedAttempt, permille: u16) {
        self.refusals = if attempt == FailedAttempt::Refused { self.refusals.saturating_add(1) } else { 0 };
        self.retry = match attempt {
            FailedAttempt::Passing => jittered(self.gap(), permille),
            FailedAttempt::Busy => jittered(self.gap().min(BUSY_RETRY), permille),
            FailedAttempt::Refused => after_refusals(self.gap(), self.refusals, permille),
        };
    }
}

/// How long to wait for a server that has more to do than it can in time. It says so at once, which costs it little, and
/// everybody may be waiting for a certificate at the same moment.
const BUSY_RETRY: Duration = Duration::from_secs(4);

/// Why an attempt brought no certificate, as far as the next one depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedAttempt {
    /// It may go better next time.
    Passing,
    /// The server has too much to do.
    Busy,
    /// The server has refused for good.
    Refused,
}

impl FailedAttempt {
    pub(crate) fn of(refusal: Option<&ServerRefusal>) -> Self {
        match refusal {
            Some(refusal) if refusal.code == Code::Busy.as_str() => Self::Busy,
            Some(refusal) if !refusal.is_temporary() => Self::Refused,
            _ => Self::Passing,
        }
    }
}

/// How long after a suspicion the next one counts, after so many that proved wrong since the last session.
pub(crate) fn suspicion_gap(gap: Duration, acquittals: u32) -> Duration {
    match acquittals {
        0 => gap.min(SUSPICION_GAP_MIN),
        wrong => gap * (1 << wrong.min(ACQUITTALS_MAX)),
    }
}

pub(crate) fn schedule(identity: &Identity, notes: &AgentState) -> Schedule {
    Schedule::new(identity.issued_at(notes), identity.svid.not_after, identity.svid.serial)
}
