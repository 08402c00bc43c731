//! Keys of old intermediates are destroyed: until the last SVID that they signed has expired they sign revocation lists, and after
//! that they could only be stolen.

use std::error::Error;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Unavailable};
use crate::ca::crl::CrlSignError;
use crate::ca::hierarchy;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;

/// What was asked for when another intermediate took over may have been signed by the old one this much later.
const SIGNED_AFTERWARDS: SignedDuration = SignedDuration::from_mins(1);

/// Why an old key is still there. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum OldKeyError {
    /// The key's last list could not be signed.
    #[error("the last revocation list of an old intermediate could not be signed")]
    List(#[from] CrlSignError),
    /// A certificate that is stored can't be read.
    #[error(transparent)]
    Damaged(#[from] hierarchy::DamagedCertificate),
    /// Somebody renewed it, say.
    #[error("the agent CA was changed by somebody else at the same time")]
    Changed,
    /// The store or the machine could not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Destroys the key of each old intermediate whose last SVID has expired beyond doubt, after it has signed a list that is good
    /// until its own end. What is denied later stands on the other intermediates' lists. When that end has come, too, the list is
    /// dropped, and nobody is told of the intermediate any more. Goes by what the clock was noted to have shown.
    pub async fn destroy_old_keys(self: &Arc<Self>) -> Result<(), OldKeyError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let (Some(before), Some(authority)) = (self.hierarchy()?, self.authority()) else { return Ok(()) };
        let now = self.clock.now();
        let marks = self.query(|view| view.clock_marks())?;
        let all = before.svid_lifetimes.iter().map(|known| known.lifetime);
        let longest = all.max().unwrap_or_default().max(self.policy.svid_ttl);
        let ends = last_svids_end(&before, longest)?;
        let past = |end| marks.surely_past(end, longest, SignedDuration::ZERO, now);
        let due: Vec<usize> = ends
            .into_iter()
            // A last list ends with its issuer. Where only a clock that may be wrong says that this one has, it is waited for.
            .filter(|due| past(due.svids) && (due.intermediate > now || past(due.intermediate)))
            .map(|due| due.place)
            .collect();
        let summaries = hierarchy::describe(&before)?;
        let (_, intermediates) = summaries.split_at(before.roots.len());
        let has_last_list = |place: &usize| before.intermediates[*place].last_list.is_some();
        let over: Vec<usize> = (0..intermediates.len())
            .filter(|place| has_last_list(place) && past(intermediates[*place].not_after))
            .collect();
        if due.is_empty() && over.is_empty() {
            return Ok(());
        }
        let moment = self.next_lists().await;
        let (listing, at) = (before.clone(), *moment);
        let revoked = self.query_long(move |app| app.listed(&listing, at)).await?;
        let (mut after, mut authority) = (before.clone(), (*authority).clone());
        let mut event =
            AuditEvent::by_muster("server", AuditAction::AgentCaDestroyKey, None, &after.trust_domain);
        let named = |places: &[usize]| {
            let named: Vec<_> = places.iter().map(|place| &intermediates[*place].fingerprint[..]).collect();
            (!named.is_empty()).then(|| named.join(" "))
        };
        event.detail.extend(named(&due).map(|destroyed| ("intermediates", destroyed)));
        event.detail.extend(named(&over).map(|over| ("over", over)));
        for place in due {
            let intermediate = &mut after.intermediates[place];
            intermediate.sealed_key = None;
            let number = self.next_list_number(at);
            intermediate.last_list = authority.last_list(&intermediate.certificate, &revoked, number, at)?;
            authority =
                authority.without_key_of(&intermediate.certificate, intermediate.last_list.as_deref());
        }
        for place in over {
            let intermediate = &mut after.intermediates[place];
            intermediate.last_list = None;
            authority = authority.without_key_of(&intermediate.certificate, None);
        }
        self.replace_hierarchy(Some(before), after, event, OldKeyError::Changed).await?;
        self.set_authority(authority);
        drop(moment);
        Ok(())
    }

    /// The same for housekeeping, which has nobody to tell.
    pub async fn destroy_old_keys_or_log(self: &Arc<Self>) {
        if let Err(error) = self.destroy_old_keys().await {
            let error = &error as &dyn Error;
            tracing::warn!(error, "the key of an old intermediate was not destroyed; it will be tried again");
        }
    }
}

/// The key of an intermediate that issues no more.
struct OldKey {
    /// Of the intermediate, among all of them.
    place: usize,
    /// When the last SVID that it signed has expired.
    svids: Timestamp,
    /// Its own end.
    intermediate: Timestamp,
}

/// The old keys that are still there.
fn last_svids_end(
    hierarchy: &Hierarchy,
    longest: SignedDuration,
) -> Result<Vec<OldKey>, hierarchy::DamagedCertificate> {
    let summaries = hierarchy::describe(hierarchy)?;
    let (_, summaries) = summaries.split_at(hierarchy.roots.len());
    let mut ends = Vec::new();
    for (place, intermediate) in hierarchy.intermediates.iter().enumerate() {
        // The newest one's key is what shows at a start whether the envelope is the right one.
        let is_newest = place + 1 == hierarchy.intermediates.len();
        if intermediate.sealed_key.is_none() || intermediate.held || is_newest {
            continue;
        }
        let later = summaries[place + 1..].iter().filter(|later| later.revocation.is_none());
        let taken_over = later.filter_map(|later| later.issuing_from).min();
        let revoked = intermediate.revocation.map(|revocation| revocation.at);
        let Some(stopped) = taken_over.into_iter().chain(revoked).min() else { continue };
        let last = stopped.saturating_add(longest + SIGNED_AFTERWARDS).unwrap_or(Timestamp::MAX);
        let intermediate = summaries[place].not_after;
        ends.push(OldKey { place, svids: last.min(intermediate), intermediate });
    }
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::app::Policy;
    use crate::app::access::caller::{Caller, LocalVia};
    use crate::app::keep::agent_ca::{Issuing, SignedRequest};
    use crate::app::trust::log::TrustBundle;
    use crate::ca::envelope::{Envelope, EnvelopeSettings};
    use crate::ca::parse::revocation_list;
    use crate::clock::Clock;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    /// The wall clock, and how long the server has run.
    #[derive(Debug)]
    struct BothClocks(Mutex<(Timestamp, SignedDuration)>);

    impl Clock for BothClocks {
        fn now(&self) -> Timestamp {
            self.0.lock().0
        }

        fn running(&self) -> SignedDuration {
            self.0.lock().1
        }
    }

    impl BothClocks {
        fn pass(&self, wall: SignedDuration, running: SignedDuration) {
            let mut both = self.0.lock();
            *both = (both.0 + wall, both.1 + running);
        }
    }

    #[tokio::test]
    async fn a_key_goes_when_its_last_svid_is_over_and_its_last_list_stays() {
        let directory = tempfile::tempdir().unwrap();
        let begins = Timestamp::from_second(1_790_000_000).unwrap();
        let clock = Arc::new(BothClocks(Mutex::new((begins, HOUR))));
        let policy = Policy { svid_ttl: HOUR * 24, ..Policy::default() };
        let clock_of_app = Arc::clone(&clock) as Arc<dyn Clock>;
        let app = Arc::new(App::open(directory.path(), clock_of_app, policy, |_| {}).unwrap());
        let settings =
            EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
        let (envelope, _) = Envelope::find_or_create(&settings, begins).unwrap();
        let caller = Caller::Local { uid: 0, via: LocalVia::Process };
        let mut root_key = String::new();
        let keep = |key: &str| {
            root_key = key.to_owned();
            Ok(())
        };
        app.init_agent_ca(&caller, &"muster".parse().unwrap(), &envelope, keep).await.unwrap();
        // SVIDs have lived for three days until now.
        let mut hierarchy = app.hierarchy().unwrap().unwrap();
        hierarchy.note_svid_lifetime(HOUR * 72, begins);
        let event = caller.event(AuditAction::AgentCaRenew, None, "test");
        let before = app.hierarchy().unwrap();
        app.replace_hierarchy(before, hierarchy, event, OldKeyError::Changed).await.unwrap();
        app.unseal(&envelope).unwrap();
        app.note_svid_lifetime().await.unwrap();

        let request = app.request_intermediate(&settings).await.unwrap();
        let key = hierarchy::read_root_key(root_key.as_bytes()).unwrap();
        let signed = hierarchy::sign(&request, &key, begins).unwrap();
        let signed = SignedRequest { signed, sealed_key: request.sealed_key };
        app.install_intermediate(&caller, signed, Issuing::Now, &settings).await.unwrap();

        let has_key = || app.hierarchy().unwrap().unwrap().intermediates[0].sealed_key.is_some();
        let look = async || {
            app.forget_expired().await.unwrap();
            app.destroy_old_keys().await.unwrap();
        };
        for _ in 0..72 {
            look().await;
            assert!(has_key(), "{}", clock.now());
            clock.pass(HOUR, HOUR);
        }
        // A clock that jumps makes nothing expire: the server runs for a lifetime before it believes that.
        clock.pass(HOUR * 1000, HOUR);
        look().await;
        assert!(has_key());
        clock.pass(-(HOUR * 1000), HOUR);
        for _ in 0..71 {
            look().await;
            assert!(has_key(), "{}", clock.now());
            clock.pass(HOUR, HOUR);
        }
        clock.pass(HOUR * 3, HOUR * 3);
        look().await;
        let after = app.hierarchy().unwrap().unwrap();
        assert!(!has_key() && after.intermediates[1].sealed_key.is_some());
        let last = after.intermediates[0].last_list.clone().unwrap();
        let read = revocation_list::read(&last, &after).unwrap();
        let ends = hierarchy::describe(&after).unwrap()[1].not_after;
        assert_eq!(read.next_update, ends);
        // It is kept and served, and survives a start.
        let served = || async { app.revocation_lists().await.unwrap().intermediates };
        assert_eq!(served().await[1].der, last);
        app.unseal(&envelope).unwrap();
        assert_eq!(served().await[1].der, last);
        assert!(app.authority().unwrap().has_key_of(&after.intermediates[1].certificate));
        // When it has expired beyond doubt, nobody is told of it any more, and its list is gone.
        let told = || TrustBundle::from(&app.hierarchy().unwrap().unwrap()).intermediates.len();
        clock.pass(HOUR * 24 * 366, HOUR);
        look().await;
        assert_eq!(told(), 2, "the clock may be wrong");
        for _ in 0..80 {
            clock.pass(HOUR, HOUR);
            look().await;
        }
        let over = app.hierarchy().unwrap().unwrap();
        assert_eq!((told(), over.intermediates[0].last_list.as_ref()), (1, None));
        assert_eq!(hierarchy::bundle_pem(&over).matches("BEGIN").count(), 2, "the root and the newest one");
        assert!(over.intermediates[1].sealed_key.is_some(), "the newest one's stays");
    }
}
