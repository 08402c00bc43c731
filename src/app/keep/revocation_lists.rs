//! The revocation lists of all issuers, and what stands on them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::MutexGuard;

use crate::app::issue::issuing::IssuingError;
use crate::app::{App, Unavailable};
pub use crate::ca::authority::IssuerList;
use crate::ca::crl::{CrlSignError, ListOrder, ListedReason, RevokedEntry, number_at};
use crate::ca::hierarchy;
use crate::ca::revocation::{self, RefusedIssuers};
use crate::clock;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;

/// How long revocation lists are good at the least, and of how many lifetimes of an SVID at the least: no relying party
/// refuses an agent whose certificate is still good because the server is away. Fresh ones are made with each change, and
/// each hour without one.
const LIST_LIFETIME_MIN: SignedDuration = SignedDuration::from_hours(48);
const LIST_SVID_LIFETIMES: i32 = 2;

/// How long after its revocation an intermediate's last SVIDs may still be recorded, which were signed before.
const RECORDED_AFTERWARDS: SignedDuration = SignedDuration::from_mins(10);

/// The longest that lists wait for their second. Where the clock was set back, they are made without one of their own: the
/// lists of before are wrong then, whatever programs take them for.
const SECOND_AWAITED: Duration = Duration::from_secs(1);

/// The revocation lists of all issuers, each by its own issuer (RFC 5280 6.3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationLists {
    /// Of the intermediates that have not expired, the issuing one's first.
    pub intermediates: Vec<IssuerList>,
    /// Of the roots. A store of before 0.2.0 has none until its intermediate is renewed.
    pub roots: Vec<IssuerList>,
    /// Whether every root has one.
    pub complete: bool,
}

/// Why there is no revocation list.
#[derive(Debug, thiserror::Error)]
pub enum CrlError {
    /// There is no unsealed key to sign it with, or signing failed.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    /// Between the commit of another agent CA and its taking over. It is told when that is done.
    #[error("the agent CA is being replaced")]
    Changing,
    /// A list could not be signed.
    #[error(transparent)]
    Signing(#[from] CrlSignError),
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A certificate whose issuer was revoked: relying parties refuse it, and our own doors still take it from its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedSvid {
    /// Its number.
    pub serial: Serial,
    /// Its last second.
    pub not_after: Timestamp,
    /// When its issuer was revoked.
    pub since: Timestamp,
}

/// What intermediates have signed that relying parties refuse, as far as the record was read.
#[derive(Debug, Default)]
pub(crate) struct RefusedSvids {
    by: RefusedIssuers,
    /// Everything before is read.
    read_to: Option<Timestamp>,
    found: Arc<Vec<RefusedSvid>>,
}

impl App {
    /// The list of every issuer with all unexpired revocations. It is a walk over all of them, so it is not for requests,
    /// and holds up no enrollment.
    pub async fn revocation_lists(self: &Arc<Self>) -> Result<RevocationLists, CrlError> {
        let moment = self.next_lists().await;
        let at = *moment;
        let signed = self.query_long(move |app| app.sign_revocation_lists(at)).await;
        drop(moment);
        signed
    }

    /// The moment of the next lists (RFC 5280 5.1.2.4, `thisUpdate`), in a later second than those before: it is written in
    /// whole seconds, and OpenSSL, which finds two lists of an issuer in a folder, takes the one that is newer by one.
    /// To be held until they are signed.
    ///
    /// The lists of a process that has just ended count as before: this one begins with the second in which it opened the store.
    pub(crate) async fn next_lists(&self) -> MutexGuard<'_, Timestamp> {
        let mut newest = self.lists_made.lock().await;
        let at = newest.as_second().saturating_add(1);
        let given_up = clock::timer() + SECOND_AWAITED;
        while self.clock.now().as_second() < at && clock::timer() < given_up {
            let left = Timestamp::from_second(at).unwrap_or(*newest).duration_since(self.clock.now());
            let left = Duration::try_from(left).unwrap_or_default();
            tokio::time::sleep_until((clock::timer() + left).min(given_up)).await;
        }
        *newest = self.clock.now();
        newest
    }

    fn sign_revocation_lists(&self, at: Timestamp) -> Result<RevocationLists, CrlError> {
        let authority = self.authority().ok_or(IssuingError::NoAuthority)?;
        let hierarchy = self.hierarchy()?.ok_or(IssuingError::NoAuthority)?;
        // A bundle must not name an intermediate whose list is not there.
        if !authority.is_of(&hierarchy) {
            return Err(CrlError::Changing);
        }
        let revoked = self.listed(&hierarchy, at)?;
        let longest = hierarchy.longest_svid_lifetime(at).max(self.policy.svid_ttl);
        let lifetime = (longest * LIST_SVID_LIFETIMES).max(LIST_LIFETIME_MIN);
        let next_update = at.saturating_add(lifetime).unwrap_or(at);
        let order = ListOrder { revoked: &revoked, number: self.next_list_number(at), at, next_update };
        let intermediates = authority.lists(&order)?;
        let roots = hierarchy::root_lists(&hierarchy);
        let complete = roots.len() == hierarchy.roots.len();
        Ok(RevocationLists { intermediates, roots, complete })
    }

    /// The number of a list that is made at a time: more than any before, also where the clock was set back (RFC 5280 5.2.3).
    pub(crate) fn next_list_number(&self, at: Timestamp) -> u64 {
        let next = |last: u64| number_at(at).max(last.saturating_add(1));
        let last =
            self.list_number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        next(last.unwrap_or_else(|last| last))
    }

    /// What every intermediate's list has: each denied serial that has not expired, and each that an intermediate has signed
    /// which relying parties refuse.
    pub(crate) fn listed(
        &self,
        hierarchy: &Hierarchy,
        at: Timestamp,
    ) -> Result<Vec<RevokedEntry>, Unavailable> {
        let denied = self.query(|view| view.revoked_serials(at))?;
        let intermediates = revocation::serials(hierarchy);
        let mut listed: Vec<RevokedEntry> = denied
            .into_iter()
            .filter(|(serial, ..)| !intermediates.contains(serial))
            .map(|(serial, since, reason)| (serial, since, ListedReason::Revoked(reason)))
            .collect();
        let refused = self.refused_svids(hierarchy)?;
        if !refused.is_empty() {
            let denied: std::collections::HashSet<Serial> =
                listed.iter().map(|(serial, ..)| *serial).collect();
            let unexpired = refused.iter().filter(|svid| !past_not_after(svid.not_after, at));
            let others = unexpired.filter(|svid| !denied.contains(&svid.serial));
            listed.extend(others.map(|svid| (svid.serial, svid.since, ListedReason::CaCompromise)));
        }
        Ok(listed)
    }

    /// The certificates on record that intermediates have signed which relying parties refuse. They are none of the denied:
    /// their agents rotate. The record is read once, and its end again until nothing more can come.
    pub fn refused_svids(&self, hierarchy: &Hierarchy) -> Result<Arc<Vec<RefusedSvid>>, Unavailable> {
        let by = RefusedIssuers::of(hierarchy);
        let mut known = self.refused.lock();
        if known.by != by {
            *known = RefusedSvids { by, ..RefusedSvids::default() };
        }
        let Some(newest) = known.by.newest() else { return Ok(Arc::clone(&known.found)) };
        let last = newest.saturating_add(RECORDED_AFTERWARDS).unwrap_or(newest);
        if known.read_to.is_some_and(|read_to| read_to > last) {
            return Ok(Arc::clone(&known.found));
        }
        let now = self.clock.now();
        let from = known.read_to.map(|to| to.saturating_sub(RECORDED_AFTERWARDS).unwrap_or(to));
        let mut found: Vec<RefusedSvid> = known.found.to_vec();
        if let Some(from) = from {
            found.retain(|svid| svid.serial.made_at() < from);
        }
        self.query(|view| {
            view.certificates(from, |der| {
                let signed = known.by.have_signed(der);
                found.extend(signed.map(|(serial, not_after, since)| RefusedSvid {
                    serial,
                    not_after,
                    since,
                }));
                ControlFlow::Continue(())
            })
        })?;
        known.found = Arc::new(found);
        known.read_to = Some(now);
        Ok(Arc::clone(&known.found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Policy;
    use crate::app::access::caller::{Caller, LocalVia};
    use crate::ca::envelope::{Envelope, EnvelopeSettings};
    use crate::ca::parse::revocation_list;
    use crate::clock::{Clock, SystemClock};

    /// A change right after another one, and after a start.
    #[tokio::test]
    async fn each_list_of_an_issuer_is_newer_by_a_second() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            Arc::new(App::open(directory.path(), Arc::new(SystemClock), Policy::default(), |_| {}).unwrap())
        };
        let mut app = open();
        let settings =
            EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
        let (envelope, _) = Envelope::find_or_create(&settings, SystemClock.now()).unwrap();
        let caller = Caller::Local { uid: 0, via: LocalVia::Process };
        app.init_agent_ca(&caller, &"muster".parse().unwrap(), &envelope, |_| Ok(())).await.unwrap();
        app.unseal(&envelope).unwrap();
        let mut seconds = Vec::new();
        for is_first_of_process in [false, false, true] {
            if is_first_of_process {
                drop(app);
                app = open();
                app.unseal(&envelope).unwrap();
            }
            let list = app.revocation_lists().await.unwrap().intermediates.remove(0).der;
            let list = revocation_list::read(&list, &app.hierarchy().unwrap().unwrap()).unwrap();
            seconds.push(list.issued_at);
        }
        assert!(seconds.is_sorted_by(|before, after| before < after), "{seconds:?}");
        // After a rest nobody waits.
        tokio::time::sleep(SECOND_AWAITED).await;
        let begun = clock::timer();
        let _ = app.next_lists().await;
        assert!(begun.elapsed() < SECOND_AWAITED / 2);
    }
}
