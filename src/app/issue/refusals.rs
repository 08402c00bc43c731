//! Refusals in the audit trail: recorded with their true reason, and so that nobody can fill the disk by being
//! refused.
//!
//! The first of a kind is recorded at once. Those that repeat it are counted, and the count is recorded as one more
//! refusal when the window is over, and when the server stops. What a stranger can vary at will (an address, an id
//! that nobody has) makes only so many kinds; beyond that they share one for each action and cause.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::app::{App, Unavailable};
use crate::clock;
use crate::domain::fairness::rate::{Bucket, Rate};
use crate::domain::insight::audit::{AuditEvent, Outcome};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::network::networks::accountable;
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::store::{Change, WebhookChange};

/// Refusals of new kinds that are recorded.
const RATE: Rate = Rate { burst: 200.0, per_second: 5.0 };

/// For how long repeats are counted before the count is recorded.
const WINDOW: Duration = Duration::from_mins(10);
/// Kinds of refusals of strangers that are told apart at a time.
const STRANGERS_MAX: usize = 64;
/// The same of callers who proved something.
const PROVEN_MAX: usize = 1_024;

/// Whom a refusal met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ProofLevel {
    /// Somebody who proved nothing.
    Stranger,
    /// Somebody who proved an identity, a credential or a session.
    Somebody,
}

/// What makes a refusal a repeat of another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cause {
    met: ProofLevel,
    action: AuditAction,
    reason: AuditReason,
    actor: String,
    /// What else tells causes apart; none: whatever found no place of its own.
    by: Option<String>,
}

/// Refusals of one cause since the last one that was recorded.
#[derive(Debug)]
struct Fold {
    event: AuditEvent,
    repeats: u64,
    since: Timestamp,
    opened: Instant,
}

/// Decides which refusals are recorded and counts those that are not.
#[derive(Debug, Default)]
pub(crate) struct RefusalLog {
    folds: Mutex<Folds>,
    /// The key of [`Self::digest`], this process's alone.
    digests: RandomState,
}

#[derive(Debug, Default)]
struct Folds {
    by_cause: HashMap<Cause, Fold>,
    /// For refusals of callers who proved something: an identity, a credential, a session.
    proven: Allowance,
    /// For everybody else's, so that strangers can't crowd out what matters.
    strangers: Allowance,
}

#[derive(Debug, Default)]
struct Allowance {
    recorded: Bucket,
    /// Kinds that are told apart now.
    kinds: usize,
}

impl Folds {
    const fn allowance(&mut self, met: ProofLevel) -> &mut Allowance {
        match met {
            ProofLevel::Stranger => &mut self.strangers,
            ProofLevel::Somebody => &mut self.proven,
        }
    }
}

impl RefusalLog {
    /// Stands for a text that must not be kept, such as a password that was typed in the wrong field.
    pub(crate) fn digest(&self, text: &str) -> u64 {
        self.digests.hash_one(text)
    }

    /// Whether this refusal is to be recorded now; otherwise it is counted.
    fn is_news(&self, mut cause: Cause, event: &AuditEvent, at: Timestamp, now: Instant) -> bool {
        let mut folds = self.folds.lock();
        if let Some(fold) = folds.by_cause.get_mut(&cause) {
            fold.repeats += 1;
            return false;
        }
        let most = match cause.met {
            ProofLevel::Stranger => STRANGERS_MAX,
            ProofLevel::Somebody => PROVEN_MAX,
        };
        if folds.allowance(cause.met).kinds >= most {
            cause = Cause { by: None, actor: String::new(), ..cause };
            if let Some(fold) = folds.by_cause.get_mut(&cause) {
                fold.repeats += 1;
                return false;
            }
        }
        let allowance = folds.allowance(cause.met);
        allowance.kinds += usize::from(cause.by.is_some());
        let news = allowance.recorded.take(RATE, 1.0, now).is_ok();
        let repeats = u64::from(!news);
        folds.by_cause.insert(cause, Fold { event: event.clone(), repeats, since: at, opened: now });
        news
    }

    /// What was counted in windows that are over, or in all of them. Where nothing was, the cause is forgotten.
    fn take(&self, all: bool, at: Timestamp, now: Instant) -> Vec<(Cause, AuditEvent, u64)> {
        let mut counted = Vec::new();
        let mut folds = self.folds.lock();
        let mut quiet = [0, 0];
        folds.by_cause.retain(|cause, fold| {
            if !all && now.duration_since(fold.opened) < WINDOW {
                return true;
            }
            if fold.repeats == 0 {
                quiet[usize::from(cause.met == ProofLevel::Somebody)] += usize::from(cause.by.is_some());
                return false;
            }
            let mut event = fold.event.clone();
            event.detail.insert("repeats", fold.repeats.to_string());
            event.detail.insert("since", fold.since.to_string());
            counted.push((cause.clone(), event, fold.repeats));
            *fold = Fold { event: fold.event.clone(), repeats: 0, since: at, opened: now };
            true
        });
        folds.strangers.kinds -= quiet[0];
        folds.proven.kinds -= quiet[1];
        counted
    }

    /// Counts again what was taken and could not be recorded.
    fn put_back(&self, taken: Vec<(Cause, u64)>) {
        let mut folds = self.folds.lock();
        for (cause, repeats) in taken {
            if let Some(fold) = folds.by_cause.get_mut(&cause) {
                fold.repeats += repeats;
            }
        }
    }
}

/// What tells causes apart when the caller of [`App::record_refusal`] does not say: on what, and for a stranger from
/// where. A whole IPv6 network of one client counts as one place.
fn told_apart_by(event: &AuditEvent, met: ProofLevel) -> String {
    match met {
        ProofLevel::Somebody => event.target.clone(),
        ProofLevel::Stranger => format!("{} {}", event.target, place_of(event)),
    }
}

/// The network that a refusal came from.
pub(crate) fn place_of(event: &AuditEvent) -> String {
    event
        .source
        .parse::<IpAddr>()
        .map_or_else(|_| event.source.clone(), |address| accountable(address).to_string())
}

impl App {
    /// Records that something was refused and why, or counts it where it was recorded lately.
    pub(crate) async fn record_refusal(
        &self,
        event: AuditEvent,
        met: ProofLevel,
        reason: AuditReason,
    ) -> Result<(), Unavailable> {
        let by = told_apart_by(&event, met);
        self.record_refusal_by(event, met, reason, by).await
    }

    /// The same where the caller says what tells refusals apart besides actor, action and reason.
    pub(crate) async fn record_refusal_by(
        &self,
        mut event: AuditEvent,
        met: ProofLevel,
        reason: AuditReason,
        by: String,
    ) -> Result<(), Unavailable> {
        event.outcome = Outcome::Refused;
        event.reason = Some(reason);
        self.counts.refused(event.kind());
        let cause = Cause { met, action: event.action, reason, actor: event.actor.clone(), by: Some(by) };
        let told = self.told_of_refusal(&event, reason);
        let recorded = self.refusals.is_news(cause, &event, self.clock.now(), clock::monotonic());
        let changes: Vec<_> = told.into_iter().chain(recorded.then_some(Change::Audit(event))).collect();
        if changes.is_empty() {
            return Ok(());
        }
        self.record(changes).await
    }

    /// What webhooks are told of a refused enrollment: one a minute for each cause and network.
    fn told_of_refusal(&self, event: &AuditEvent, reason: AuditReason) -> Option<Change> {
        if event.action != AuditAction::AgentEnroll {
            return None;
        }
        let network = accountable(event.source.parse().ok()?);
        self.refusals_told.lock().take((reason, network), 1.0, clock::monotonic()).ok()?;
        let detail = [("reason", reason.to_string()), ("source", event.source.clone())];
        let told = WebhookEvent::of_all(WebhookEventKind::EnrollmentRefused, self.clock.now(), &detail);
        Some(Change::Webhook(WebhookChange::Tell(WebhookEvent { tenant: event.tenant, ..told })))
    }

    /// Records how often refusals were repeated in windows that are over; in all of them when the server stops.
    pub async fn record_repeated_refusals(&self, all: bool) -> Result<(), Unavailable> {
        let taken = self.refusals.take(all, self.clock.now(), clock::monotonic());
        if taken.is_empty() {
            return Ok(());
        }
        let (events, counts): (Vec<_>, Vec<_>) =
            taken.into_iter().map(|(cause, event, repeats)| (Change::Audit(event), (cause, repeats))).unzip();
        self.record(events).await.inspect_err(|_| self.refusals.put_back(counts))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn event() -> AuditEvent {
        AuditEvent {
            actor: "anonymous".to_owned(),
            source: "192.0.2.1".to_owned(),
            tenant: None,
            action: AuditAction::AgentEnroll,
            target: String::new(),
            outcome: Outcome::Refused,
            reason: Some(AuditReason::UnknownCredential),
            detail: BTreeMap::new(),
            names: BTreeMap::new(),
            host: None,
        }
    }

    fn cause(by: u32) -> Cause {
        Cause {
            met: ProofLevel::Stranger,
            action: AuditAction::AgentEnroll,
            reason: AuditReason::UnknownCredential,
            actor: "anonymous".to_owned(),
            by: Some(by.to_string()),
        }
    }

    #[test]
    fn repeats_are_counted_and_told_once_a_window() {
        let log = RefusalLog::default();
        let (at, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        assert!(log.is_news(cause(1), &event(), at, start));
        assert!((0..500).all(|_| !log.is_news(cause(1), &event(), at, start)));
        assert!(log.is_news(cause(2), &event(), at, start), "another cause");
        assert!(log.take(false, at, start).is_empty(), "the window is open");
        let told = log.take(false, at, start + WINDOW);
        let [(_, event_told, 500)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(event_told.detail["repeats"], "500");
        assert!(!log.is_news(cause(1), &event(), at, start + WINDOW), "goes on in the next window");
        assert!(log.is_news(cause(2), &event(), at, start + WINDOW), "was quiet, and is news again");
        log.put_back(told.into_iter().map(|(cause, _, repeats)| (cause, repeats)).collect());
        let told: Vec<_> = log.take(true, at, start + WINDOW).into_iter().map(|(_, _, n)| n).collect();
        assert_eq!(told, [501]);
    }

    #[test]
    fn a_stranger_who_varies_everything_makes_few_records() {
        let log = RefusalLog::default();
        let (at, start) = (Timestamp::UNIX_EPOCH, Instant::now());
        let news = (0..100_000).filter(|n| log.is_news(cause(*n), &event(), at, start)).count();
        assert_eq!(news, STRANGERS_MAX + 1);
        assert_eq!(log.folds.lock().by_cause.len(), STRANGERS_MAX + 1);
        let told = log.take(false, at, start + WINDOW);
        let [(_, _, rest)] = told.as_slice() else { panic!("{told:?}") };
        assert_eq!(*rest, 100_000 - news as u64, "and nothing is lost");
    }
}
