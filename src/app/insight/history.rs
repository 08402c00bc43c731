//! Events that agents report into the history of their hosts.
//!
//! A report is data: it is kept and shown, and nothing is decided by it. What it may cost is bounded per host, in
//! rate and in rows, and it never displaces what the server itself has written into the history.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::app::Unavailable;
use crate::clock;
use crate::domain::fairness::rate::{KEYS_MAX, Rate, RateLimiter, TooFast, WhenFull};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::insight::timeline::Reported;
use crate::store::{Change, Store, Verdict};

/// What a host may report, in events. An agent that was cut off brings what it kept, and one with the shortest lifetime
/// of an SVID reports a rotation every seven seconds.
const RATE: Rate = Rate { burst: 128.0, per_second: 0.5 };

/// Whose certificate vouches for a report.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// Whose timeline it goes into.
    pub host: HostId,
    /// Who reports: the host's own, by its certificate.
    pub identity: AgentRef,
    /// The certificate's, which must be on record and not revoked.
    pub serial: Serial,
}

/// Why a report has left no trace.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The host has used up its rate; to be tried again later.
    #[error("this host reports more than is taken; report less often")]
    TooMuch,
    /// One report of a host is taken at a time.
    #[error("this host is reporting already; report one thing after the other")]
    Busy,
    /// The certificate is not on record or revoked, its identity is denied, or the host is out of service or
    /// gone.
    #[error("the identity that reports is revoked or unknown")]
    NotAdmitted,
    /// The store or the machine could not answer; not the agent's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Takes reports.
#[derive(Debug)]
pub struct History {
    store: Store,
    pace: Mutex<RateLimiter<HostId>>,
    reporting: Mutex<HashSet<HostId>>,
}

/// The one report of a host that is being taken.
#[derive(Debug)]
pub struct ReportSlot<'a> {
    history: &'a History,
    reporter: Reporter,
}

impl History {
    /// Takes reports into this store. Who has reported how much is known in memory alone.
    pub fn new(store: Store) -> Self {
        let pace = Mutex::new(RateLimiter::new(RATE, KEYS_MAX, WhenFull::Forget));
        Self { store, pace, reporting: Mutex::default() }
    }

    /// A history that no disk keeps, for tests of rooms above.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self::new(Store::in_memory(std::sync::Arc::new(crate::clock::SystemClock)))
    }

    /// Lets a host begin to report. One report at a time, so that what is held for it until it is whole is
    /// bounded too.
    pub fn begin(&self, reporter: Reporter) -> Result<ReportSlot<'_>, ReportError> {
        // An empty report costs something too.
        self.count(&reporter)?;
        if !self.reporting.lock().insert(reporter.host) {
            return Err(ReportError::Busy);
        }
        Ok(ReportSlot { history: self, reporter })
    }

    fn count(&self, reporter: &Reporter) -> Result<(), ReportError> {
        self.pace
            .lock()
            .take(reporter.host, 1.0, clock::monotonic())
            .map_err(|TooFast(_)| ReportError::TooMuch)
    }
}

impl ReportSlot<'_> {
    /// Counts one more event, before anything is held for it. The first was counted at the beginning.
    pub fn count_another(&self) -> Result<(), ReportError> {
        self.history.count(&self.reporter)
    }

    /// Writes the events down, all of them or none. They are on disk when this returns.
    pub async fn keep(self, events: Vec<Reported>) -> Result<(), ReportError> {
        if events.is_empty() {
            return Ok(());
        }
        let Reporter { host, identity, serial } = self.reporter.clone();
        let written = self.history.store.write(move |view, _| {
            // What was true when the report began may have changed, and this order of things is the last word.
            let own = view.tenant(identity.tenant);
            let known = own.host(host)?.filter(|host| host.decommissioned_at.is_none());
            let recorded = own.enrollment(serial)?.is_some_and(|enrollment| enrollment.revocation.is_none());
            let (Some(known), true, None) = (known, recorded, view.identity_denied(&identity)?) else {
                return Ok(Verdict::refuse(ReportError::NotAdmitted));
            };
            let change = Change::ReportedEvents { host, tenant: known.tenant, events };
            Ok(Verdict::accept((), vec![change]))
        });
        written.await.map_err(Unavailable::from)?
    }
}

impl Drop for ReportSlot<'_> {
    fn drop(&mut self) {
        let mut reporting = self.history.reporting.lock();
        reporting.remove(&self.reporter.host);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::domain::ids::TenantId;
    use crate::domain::insight::timeline::{HostEvent, REPORTED_KEPT, Source, TimelineKind};

    fn event(kind: &str, at: Timestamp) -> Reported {
        Reported::new(kind.to_owned(), Some(at), BTreeMap::new(), Timestamp::now()).unwrap()
    }

    #[tokio::test]
    async fn the_oldest_reports_go_and_what_the_server_wrote_stays() {
        let history = History::in_memory();
        let (host, other, tenant) =
            (HostId::from_bytes([1; 16]), HostId::from_bytes([2; 16]), TenantId::from_bytes([1; 16]));
        let begun = Timestamp::now() - SignedDuration::from_hours(1);
        let at = move |second: i64| begun + SignedDuration::from_secs(second);
        let written = history.store.write(move |_, _| {
            let own = |second| HostEvent {
                at: at(second),
                kind: TimelineKind::Rotated.to_string(),
                detail: BTreeMap::new(),
            };
            let report = |host, seconds: std::ops::Range<i64>| Change::ReportedEvents {
                host,
                tenant,
                events: seconds.map(|second| event(&format!("e{second}"), at(second))).collect(),
            };
            let changes = (0..300).map(|second| Change::HostEvent { host, event: own(second) }).chain([
                report(other, 0..2),
                report(host, 0..200),
                report(host, 200..300),
                report(host, 0..1),
            ]);
            Ok(Verdict::<(), Infallible>::accept((), changes.collect()))
        });
        let Ok(()) = written.await.unwrap();
        let entries = history.store.read(|view| view.any_tenant().host_events(host, None, 1000)).unwrap();
        assert!(entries.is_sorted_by(|a, b| a.key > b.key));
        let (own, told): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.source == Source::Server);
        assert_eq!(own.len(), 300);
        let kinds: Vec<_> = told.iter().rev().map(|entry| entry.event.kind.clone()).collect();
        let newest: Vec<_> = (300 - REPORTED_KEPT..300).map(|second| format!("e{second}")).collect();
        assert_eq!(kinds, newest);
        let others = history.store.read(|view| view.any_tenant().host_events(other, None, 1000)).unwrap();
        assert_eq!(others.len(), 2);
    }

    #[tokio::test]
    async fn reports_of_nobody_and_reports_beyond_the_pace_are_refused() {
        let history = History::in_memory();
        let reporter = |number| Reporter {
            host: HostId::from_bytes([number; 16]),
            identity: AgentRef { tenant: TenantId::from_bytes([1; 16]), agent: "web-1".parse().unwrap() },
            serial: Serial::from_bytes([1; 16]),
        };
        let turn = history.begin(reporter(1)).unwrap();
        assert!(matches!(history.begin(reporter(1)), Err(ReportError::Busy)));
        assert!(history.begin(reporter(2)).is_ok(), "another host");
        let refused = turn.keep(vec![event("a", Timestamp::now())]).await;
        assert!(matches!(refused, Err(ReportError::NotAdmitted)));
        let turn = history.begin(reporter(1)).unwrap();
        let counted = (0..1000).take_while(|_| turn.count_another().is_ok()).count();
        assert!((120..=130).contains(&counted), "{counted}");
        drop(turn);
        assert!(matches!(history.begin(reporter(1)), Err(ReportError::TooMuch)));
    }
}
