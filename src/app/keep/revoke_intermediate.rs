//! An intermediate is revoked: a new one issues at once, agents are asked to rotate, and then the root's list says so.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::keep::agent_ca::{RenewAgentCaError, SignedRequest};
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::ca::hierarchy::{self, CertificateSummary, DamagedCertificate, IntermediateRequest};
use crate::ca::revocation;
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::deny::Denial;
use crate::domain::identity::hierarchy::{Hierarchy, RootTask};
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::serial::Serial;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{Change, ReadError, Verdict, View};

/// How long agents in session have to rotate before relying parties are told to refuse what they hold.
pub const TIME_TO_ROTATE: Duration = Duration::from_secs(600);

/// When the root's list that names the intermediate is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publishing {
    /// When the agents in session have rotated, after ten minutes at the latest.
    WhenRotated,
    /// First of all.
    Now,
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedIntermediate {
    /// What issues now.
    pub issuing: CertificateSummary,
    /// What never does again.
    pub revoked: CertificateSummary,
    /// When relying parties are told at the latest; none: they have been.
    pub publish_by: Option<Timestamp>,
}

/// A list that waits, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingPublication {
    /// When it is published at the latest.
    pub publish_by: Timestamp,
    /// It waits for agents that show SVIDs made before this.
    pub made_before: Timestamp,
}

impl App {
    /// Makes the key of another intermediate, for the root to sign elsewhere together with the list that names the one which is to
    /// be revoked: the beginning of its serial or of its SHA-256. Nothing is stored.
    pub async fn request_revocation(
        &self,
        intermediate: &str,
        settings: &EnvelopeSettings,
    ) -> Result<IntermediateRequest, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let revoked = revocation::find(&hierarchy, intermediate, self.clock.now())?;
        self.request_from_root(hierarchy, RootTask::Revoke(revoked), settings).await
    }

    /// Takes over what the root has signed for such a request. From now on the intermediate issues nothing, and agents that hold
    /// what it signed are asked to rotate.
    pub async fn revoke_intermediate(
        self: &Arc<Self>,
        caller: &Caller,
        signed: SignedRequest,
        revoked: Serial,
        publishing: Publishing,
        settings: &EnvelopeSettings,
    ) -> Result<RevokedIntermediate, RenewAgentCaError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(move |app| async move {
            app.replace_revoked(&caller, signed, revoked, publishing, &settings).await
        })
        .await
    }

    async fn replace_revoked(
        &self,
        caller: &Caller,
        signed: SignedRequest,
        revoked: Serial,
        publishing: Publishing,
        settings: &EnvelopeSettings,
    ) -> Result<RevokedIntermediate, RenewAgentCaError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let before = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let now = self.clock.now();
        revocation::find(&before, &revoked.to_string(), now)?;
        let publish_by = match publishing {
            Publishing::WhenRotated => Some(now.checked_add(TIME_TO_ROTATE).unwrap_or(now)),
            Publishing::Now => None,
        };
        let SignedRequest { signed, sealed_key } = signed;
        let accept = move |before: &Hierarchy, envelope: &Envelope| {
            Ok(revocation::accept(before, signed, sealed_key, revoked, publish_by, envelope, now)?)
        };
        let (after, authority) = self.opened_anew(&before, accept, settings.clone()).await?;
        let issuing = hierarchy::issuing(&after, now)?;
        let summaries = hierarchy::describe(&after)?;
        let hex = revoked.to_string();
        let summary = summaries.into_iter().find(|it| it.serial == hex).ok_or(DamagedCertificate)?;
        let publish_by = after.waiting_lists.iter().map(|waiting| waiting.publish_by).min();
        let mut event = caller.event(AuditAction::AgentCaRevokeIntermediate, None, &after.trust_domain);
        event.detail.insert("intermediate", issuing.fingerprint.clone());
        event.detail.insert("revoked", summary.fingerprint.clone());
        event.detail.insert("publish_by", publish_by.unwrap_or(now).to_string());
        let (serial, not_after) = (revoked, summary.not_after);
        // Nobody shows the intermediate's own serial, but the journal keeps it: a store that is restored learns from it that the
        // intermediate was revoked.
        let also = move |view: &View<'_>, since| {
            let mut changes = withdrawn_with_an_intermediate(view)?;
            let reason = RevocationReason::Revoked;
            changes.push(Change::Deny(Denial::Serial { serial, not_after, since, reason }));
            Ok(changes)
        };
        // Nobody looks after keys meanwhile who has read them before they were withdrawn.
        let jwt_keys = self.jwt_key_changes.lock().await;
        self.replace_hierarchy_with(Some(before), after, event, RenewAgentCaError::Changed, also).await?;
        self.set_authority(authority);
        self.jwt.withdraw_signer();
        // Tokens are missing until the server makes keys by itself; nothing else is wrong then.
        if let Err(error) = self.replace_jwt_keys(settings, &jwt_keys).await {
            tracing::warn!(error = &error as &dyn Error, "no new key of JWT-SVIDs could be made");
        }
        Ok(RevokedIntermediate { issuing, revoked: summary, publish_by })
    }

    /// Revokes again what a store forgets that is older than the revocation: one that was restored, or put in the place of a newer
    /// one. The serials are denied by then, as the journal has them.
    pub async fn revoke_denied_intermediates(&self) -> Result<(), Unavailable> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let revoked = self.decide(|view, now| {
            let Some((before, after)) = denied_intermediates(view, |_| false, now)? else {
                return Ok(Verdict::accept(0, Vec::new()));
            };
            let known = revocation::unrevoked(&before).len();
            let revoked = known - revocation::unrevoked(&after).len();
            let action = AuditAction::AgentCaRevokeIntermediate;
            let mut event = AuditEvent::by_muster("server", action, None, &after.trust_domain);
            event.detail.insert("intermediates", revoked.to_string());
            let mut changes = withdrawn_with_an_intermediate(view)?;
            changes.extend([Change::PutHierarchy(after), Change::Audit(event)]);
            Ok(Verdict::<_, Unavailable>::accept(revoked, changes))
        });
        let revoked = revoked.await?;
        if revoked > 0 {
            tracing::error!(
                intermediates = revoked,
                "THE STORE IS OLDER THAN THE REVOCATION OF AN INTERMEDIATE, WHICH IS REVOKED AGAIN. The root's revocation list \
                 lacks it; make one that has it: muster agent-ca revoke-intermediate ID --now"
            );
        }
        Ok(())
    }

    /// The list that waits for agents to rotate, if there is one.
    pub fn waiting_publication(&self) -> Result<Option<WaitingPublication>, Unavailable> {
        let Some(hierarchy) = self.hierarchy()? else { return Ok(None) };
        let publish_by = hierarchy.waiting_lists.iter().map(|waiting| waiting.publish_by).min();
        let rotate = *self.rotation_asked.borrow();
        Ok(publish_by.map(|publish_by| WaitingPublication {
            publish_by,
            // Where nothing issues, nobody can rotate, and only the time is waited for.
            made_before: rotate.unwrap_or(Timestamp::MAX),
        }))
    }

    /// Ends the waiting of a revocation whose list has been signed: relying parties refuse whoever has not rotated.
    pub async fn publish_revocation(
        self: &Arc<Self>,
        caller: &Caller,
        intermediate: &str,
    ) -> Result<RevokedIntermediate, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let mut revoked = revocation::find_waiting(&hierarchy, intermediate)?;
        if let Some(revocation) = &mut revoked.revocation {
            revocation.published = true;
        }
        let issuing = hierarchy::issuing(&hierarchy, self.clock.now())?;
        let event = caller.event(AuditAction::AgentCaPublishList, None, &hierarchy.trust_domain);
        self.to_its_end(|app| async move { app.publish_lists(event).await }).await?;
        Ok(RevokedIntermediate { issuing, revoked, publish_by: None })
    }

    /// Publishes the list that waits: from now on relying parties refuse whoever has not rotated.
    pub async fn publish_waiting_list(&self) -> Result<(), RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let event =
            AuditEvent::by_muster("server", AuditAction::AgentCaPublishList, None, &hierarchy.trust_domain);
        self.publish_lists(event).await
    }

    async fn publish_lists(&self, event: AuditEvent) -> Result<(), RenewAgentCaError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let before = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        if before.waiting_lists.is_empty() {
            return Ok(());
        }
        let after = revocation::published(&before);
        self.replace_hierarchy(Some(before), after, event, RenewAgentCaError::Changed).await?;
        self.trust.send_replace(());
        Ok(())
    }
}

/// What else goes in the same commit as an intermediate, because whoever has its key may have it, too: the signing keys of
/// JWT-SVIDs. New ones are made when the old ones are gone.
fn withdrawn_with_an_intermediate(view: &View<'_>) -> Result<Vec<Change>, ReadError> {
    let keys = view.jwt_keys()?.keys;
    Ok(if keys.is_empty() { Vec::new() } else { vec![Change::PutJwtKeys(JwtKeys::default())] })
}

/// The agent CA as it is and as it must be, where the serials of intermediates are denied that are not revoked, in the store or
/// `elsewhere`.
pub(crate) fn denied_intermediates(
    view: &View<'_>,
    elsewhere: impl Fn(Serial) -> bool,
    now: Timestamp,
) -> Result<Option<(Hierarchy, Hierarchy)>, ReadError> {
    let Some(before) = view.hierarchy()? else { return Ok(None) };
    let mut denied = Vec::new();
    for serial in revocation::unrevoked(&before) {
        if elsewhere(serial) || view.serial_denied(serial)? {
            denied.push(serial);
        }
    }
    let after = revocation::revoked_again(&before, &denied, now);
    Ok((!denied.is_empty()).then_some((before, after)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::SignedDuration;

    use super::*;
    use crate::app::Policy;
    use crate::app::access::caller::LocalVia;
    use crate::app::keep::revocation_lists::CrlError;
    use crate::clock::Clock;
    use crate::domain::identity::spiffe::TrustDomain;

    const BEGINS: i64 = 1_790_000_000;
    const CALLER: Caller = Caller::Local { uid: 0, via: LocalVia::Process };

    /// A clock that stands until it is set.
    #[derive(Debug)]
    struct SetClock(AtomicI64);

    impl Clock for SetClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
        }
    }

    struct Site {
        directory: tempfile::TempDir,
        clock: Arc<SetClock>,
        settings: EnvelopeSettings,
        root_key: String,
        app: Arc<App>,
    }

    fn policy() -> Policy {
        Policy { svid_ttl: SignedDuration::from_hours(72), ..Policy::default() }
    }

    impl Site {
        /// An agent CA that was made on a running server.
        async fn open() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let clock = Arc::new(SetClock(AtomicI64::new(BEGINS)));
            let of_app = Arc::clone(&clock) as Arc<dyn Clock>;
            let app = Arc::new(App::open(directory.path(), of_app, policy(), |_| {}).unwrap());
            let settings =
                EnvelopeSettings { data_dir: directory.path().to_owned(), ..EnvelopeSettings::default() };
            let (envelope, _) = Envelope::find_or_create(&settings, clock.now()).unwrap();
            let domain: TrustDomain = "muster".parse().unwrap();
            let made = hierarchy::init(&domain, &envelope, None, clock.now()).unwrap();
            app.install_agent_ca(&CALLER, made.hierarchy, &settings).await.unwrap();
            app.keep_jwt_keys(&settings).await.unwrap();
            Self { directory, clock, settings, root_key: made.root_key_pem.to_string(), app }
        }

        fn hierarchy(&self) -> Hierarchy {
            self.app.hierarchy().unwrap().unwrap()
        }

        /// What the root signs for the revocation of the first intermediate.
        async fn signed(&self) -> (SignedRequest, Serial) {
            let first = revocation::unrevoked(&self.hierarchy())[0];
            let request = self.app.request_revocation(&first.to_string(), &self.settings).await.unwrap();
            let key = hierarchy::read_root_key(self.root_key.as_bytes()).unwrap();
            let signed = hierarchy::sign(&request, &key, self.clock.now()).unwrap();
            (SignedRequest { signed, sealed_key: request.sealed_key }, first)
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_half_way_parts_nothing_in_memory_from_the_store() {
        let site = Site::open().await;
        let before = site.app.query(|view| view.jwt_keys()).unwrap();
        let (signed, first) = site.signed().await;
        let asked =
            site.app.revoke_intermediate(&CALLER, signed, first, Publishing::WhenRotated, &site.settings);
        assert!(tokio::time::timeout(Duration::ZERO, asked).await.is_err(), "the caller hangs up");
        let done = async {
            loop {
                let keys = site.app.query(|view| view.jwt_keys()).unwrap();
                let other = keys.keys.len() == 1 && keys != before && site.app.jwt.signs_with(&keys);
                if other && site.app.authority().unwrap().is_of(&site.hierarchy()) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done).await.unwrap();
        assert_eq!(site.hierarchy().intermediates.len(), 2);
        assert!(site.app.rotation_asked.borrow().is_some());
        // Whoever looked after the keys at the same time has nothing to complain of.
        let (signed, second) = site.signed().await;
        assert_ne!(first, second);
        let revoke = site.app.revoke_intermediate(&CALLER, signed, second, Publishing::Now, &site.settings);
        let (revoked, kept) = tokio::join!(revoke, async {
            for _ in 0..20 {
                site.app.keep_jwt_keys(&site.settings).await?;
                tokio::task::yield_now().await;
            }
            Ok::<_, crate::app::keep::jwt_keys::JwtKeysError>(())
        });
        revoked.unwrap();
        kept.unwrap();
    }

    #[tokio::test]
    async fn no_lists_are_made_while_store_and_authority_are_not_of_one_agent_ca() {
        let site = Site::open().await;
        site.app.revocation_lists().await.unwrap();
        let known = site.hierarchy().svid_lifetimes;
        assert_eq!(known.len(), 1, "what is issued before the next start is on record");
        assert_eq!(known[0].lifetime, policy().svid_ttl);

        let (before, mut after) = (site.hierarchy(), site.hierarchy());
        after.intermediates[0].issuing_from = Some(site.clock.now());
        let event = CALLER.event(AuditAction::AgentCaRenew, None, "test");
        let changed = RenewAgentCaError::Changed;
        site.app.replace_hierarchy(Some(before), after.clone(), event, changed).await.unwrap();
        assert!(matches!(site.app.revocation_lists().await, Err(CrlError::Changing)));
        site.app.unseal(&Envelope::find(&site.settings).unwrap().unwrap()).unwrap();
        site.app.revocation_lists().await.unwrap();
    }

    #[tokio::test]
    async fn the_numbers_of_lists_grow_through_a_clock_that_is_set_back_and_a_start() {
        let Site { directory, clock, app, .. } = Site::open().await;
        app.sign_of_life(true).await.unwrap();
        let first = app.next_list_number(clock.now());
        clock.0.store(BEGINS - 3600, Ordering::Relaxed);
        let second = app.next_list_number(clock.now());
        drop(app);
        let app = App::open(directory.path(), clock.clone(), policy(), |_| {}).unwrap();
        let third = app.next_list_number(clock.now());
        assert!(first < second && second < third, "{first} {second} {third}");
    }

    #[tokio::test]
    async fn what_is_forgotten_changes_no_list() {
        let site = Site::open().await;
        let mut changes = site.app.trust_changes();
        let serial = Serial::new(site.clock.now(), [7; 10]);
        let (not_after, since) = (site.clock.now(), site.clock.now());
        let denial = Denial::Serial { serial, not_after, since, reason: RevocationReason::Revoked };
        site.app.record(vec![Change::Deny(denial)]).await.unwrap();
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let forget =
            Change::ForgetExpired { keys: Vec::new(), certificates: Vec::new(), denied: vec![serial] };
        site.app.record(vec![forget]).await.unwrap();
        assert!(!changes.has_changed().unwrap());
    }
}
