//! Another root: prepared, activated, and the one before retired, each with who is not ready for it.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::app::access::caller::Caller;
use crate::app::keep::agent_ca::{CertificateSummary, RenewAgentCaError};
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::ca::hierarchy::{self, CaRole, DamagedCertificate};
use crate::ca::root::change::{self, RetiringIssuers, RootChangeError};
pub use crate::ca::root::change::{MadeRoot, key_fingerprint};
use crate::domain::enroll::enrollment::{SVID_LIFETIME_MAX, past_not_after};
use crate::domain::identity::hierarchy::{BundleDigest, Hierarchy, RootTask};
use crate::domain::insight::audit_action::AuditAction;

/// Agents that were seen within this are waited for.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long relying parties that fetch once a day need at the most.
const FETCHED_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// Whether those who are not ready are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Nobody is left behind.
    ForEverybody,
    /// Whoever is not ready is refused until it is.
    Not,
}

/// A root that is public and issues nothing yet.
#[derive(Debug, Clone)]
pub struct PreparedRoot {
    /// The root.
    pub root: CertificateSummary,
    /// What will issue.
    pub intermediate: CertificateSummary,
}

/// Agents by whether they know the roots as they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BundleCensus {
    /// Seen within a week.
    pub seen: usize,
    /// Those of them that have not reported the bundle as it is.
    pub without: usize,
}

/// How far another root is, and who is not ready.
#[derive(Debug, Clone)]
pub struct RootChangeStanding {
    /// Since when it is public.
    pub prepared_at: Timestamp,
    /// Since when it issues.
    pub activated_at: Option<Timestamp>,
    /// When the one before may go at the earliest.
    pub retire_from: Option<Timestamp>,
    /// Who knows both roots.
    pub agents: BundleCensus,
}

/// A root took over, or is gone.
#[derive(Debug, Clone)]
pub struct ChangedRoot {
    /// The root that issues.
    pub root: CertificateSummary,
    /// Its intermediate that does.
    pub issuing: CertificateSummary,
    /// Agents of the last week, and those that were not waited for.
    pub agents: BundleCensus,
    /// Certificates below the root that is gone, which had not expired.
    pub lost: usize,
}

/// Why a root did not take over, or go.
#[derive(Debug, thiserror::Error)]
pub enum RootChangeRefused {
    /// It is not its turn, or the agent CA does not take it.
    #[error(transparent)]
    Refused(#[from] RenewAgentCaError),
    /// Some would refuse those whose certificates the new root signs.
    #[error(
        "of {seen} agents that were seen in the last week, {without} have not reported that they know the new root; they will with \
         their next rotation. Relying parties that fetch files are not counted"
    )]
    AgentsWithout {
        /// In the last week.
        seen: usize,
        /// Of those.
        without: usize,
    },
    /// Certificates of the old root may still be out.
    #[error(
        "the new root issues since {activated_at}; the one before can go from {from} on, when its last certificates have expired and \
         whoever fetches once a day has done so"
    )]
    TooEarly {
        /// When the new one took over.
        activated_at: Timestamp,
        /// When.
        from: Timestamp,
    },
    /// They are on record.
    #[error(
        "{count} certificates that the root before has signed have not expired; the last of them ends at {last}. Relying parties that \
         fetch files are not counted"
    )]
    CertificatesOut {
        /// How many.
        count: usize,
        /// The end of the last one.
        last: Timestamp,
    },
}

impl From<Unavailable> for RootChangeRefused {
    fn from(error: Unavailable) -> Self {
        Self::Refused(error.into())
    }
}

impl From<RootChangeError> for RootChangeRefused {
    fn from(error: RootChangeError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<DamagedCertificate> for RootChangeRefused {
    fn from(error: DamagedCertificate) -> Self {
        Self::Refused(error.into())
    }
}

impl App {
    /// Takes over another root, which was made elsewhere: it is in bundle, lists and trust updates from now on.
    pub async fn prepare_root(
        self: &Arc<Self>,
        caller: &Caller,
        made: MadeRoot,
        sealed_key: Vec<u8>,
        settings: &EnvelopeSettings,
    ) -> Result<PreparedRoot, RenewAgentCaError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move {
            let _one_at_a_time = app.hierarchy_changes.lock().await;
            let before = app.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
            let now = app.clock.now();
            let prepare = move |before: &Hierarchy, envelope: &Envelope| {
                Ok(change::prepare(before, made, sealed_key, envelope, now)?)
            };
            let (after, authority) = app.opened_anew(&before, prepare, settings).await?;
            let mut summaries = hierarchy::describe(&after)?;
            let intermediate = summaries.pop().ok_or(DamagedCertificate)?;
            let root = summaries.into_iter().rfind(|it| it.role == CaRole::Root).ok_or(DamagedCertificate)?;
            let mut event = caller.event(AuditAction::AgentCaPrepareRoot, None, &after.trust_domain);
            event.detail.insert("root", root.fingerprint.clone());
            event.detail.insert("intermediate", intermediate.fingerprint.clone());
            app.replace_hierarchy(Some(before), after, event, RenewAgentCaError::Changed).await?;
            app.set_authority(authority);
            Ok(PreparedRoot { root, intermediate })
        })
        .await
    }

    /// How far another root is; none: there is no other one.
    pub fn root_change(&self) -> Result<Option<RootChangeStanding>, Unavailable> {
        let Some(hierarchy) = self.hierarchy()? else { return Ok(None) };
        let Some(change) = hierarchy.root_change else { return Ok(None) };
        Ok(Some(RootChangeStanding {
            prepared_at: change.prepared_at,
            activated_at: change.activated_at,
            retire_from: change.activated_at.map(|activated_at| self.retires_from(&hierarchy, activated_at)),
            agents: self.bundle_census(&hierarchy)?,
        }))
    }

    /// What a root was asked for elsewhere and has not come back, and since when.
    pub fn root_request_is_open(&self) -> Result<Option<(RootTask, Timestamp)>, Unavailable> {
        let open = self.hierarchy()?.and_then(|hierarchy| hierarchy.open_request);
        Ok(open.map(|open| (open.task, open.made_at)))
    }

    fn bundle_census(&self, hierarchy: &Hierarchy) -> Result<BundleCensus, Unavailable> {
        self.fleet.wait_until_whole()?;
        let digest = BundleDigest::of(&hierarchy.roots);
        let since = self.clock.now().saturating_sub(SEEN_WITHIN).unwrap_or(Timestamp::MIN);
        let (seen, without) = self.fleet.knows_bundle(since, digest);
        Ok(BundleCensus { seen, without })
    }

    fn retires_from(&self, hierarchy: &Hierarchy, activated_at: Timestamp) -> Timestamp {
        let all = hierarchy.svid_lifetimes.iter().map(|known| known.lifetime);
        let longest = all.max().unwrap_or_default().max(self.policy.svid_ttl).min(SVID_LIFETIME_MAX);
        let out = longest + self.policy.rotation_grace + FETCHED_WITHIN;
        activated_at.saturating_add(out).unwrap_or(activated_at)
    }

    /// Lets the prepared root issue, once every agent of the last week knows it.
    pub async fn activate_root(
        self: &Arc<Self>,
        caller: &Caller,
        waiting: Waiting,
        settings: &EnvelopeSettings,
    ) -> Result<ChangedRoot, RootChangeRefused> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move {
            let _one_at_a_time = app.hierarchy_changes.lock().await;
            let before = app.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
            let now = app.clock.now();
            change::activatable(&before, now)?;
            let counted = before.clone();
            let agents = app.query_long(move |app| app.bundle_census(&counted)).await?;
            if waiting == Waiting::ForEverybody && agents.without > 0 {
                let BundleCensus { seen, without } = agents;
                return Err(RootChangeRefused::AgentsWithout { seen, without });
            }
            let action = AuditAction::AgentCaActivateRoot;
            let change = move |before: &Hierarchy| change::activate(before, now);
            app.change_root(&caller, before, change, (action, agents, 0), settings).await
        })
        .await
    }

    /// Takes the root away that does not issue any more, once nothing of it is out.
    pub async fn retire_root(
        self: &Arc<Self>,
        caller: &Caller,
        waiting: Waiting,
        settings: &EnvelopeSettings,
    ) -> Result<ChangedRoot, RootChangeRefused> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move {
            let _one_at_a_time = app.hierarchy_changes.lock().await;
            let before = app.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
            let now = app.clock.now();
            let activated_at = change::retirable(&before)?;
            let from = app.retires_from(&before, activated_at);
            let counted = before.clone();
            let out = app.query_long(move |app| app.certificates_out(&counted, now)).await?;
            if waiting == Waiting::ForEverybody {
                if now < from {
                    return Err(RootChangeRefused::TooEarly { activated_at, from });
                }
                if let Some(last) = out.iter().max() {
                    return Err(RootChangeRefused::CertificatesOut { count: out.len(), last: *last });
                }
            }
            let counted = before.clone();
            let agents = app.query_long(move |app| app.bundle_census(&counted)).await?;
            let action = AuditAction::AgentCaRetireRoot;
            app.change_root(&caller, before, change::retire, (action, agents, out.len()), settings).await
        })
        .await
    }

    /// The ends of certificates below a root that is about to go, which let somebody in.
    fn certificates_out(&self, hierarchy: &Hierarchy, now: Timestamp) -> Result<Vec<Timestamp>, Unavailable> {
        let issuers = RetiringIssuers::of(hierarchy).map_err(|_| DamagedCertificate);
        // What can't be read has signed nothing that could be verified.
        let Ok(issuers) = issuers else { return Ok(Vec::new()) };
        let from = now.saturating_sub(SVID_LIFETIME_MAX * 2).ok();
        let mut found = Vec::new();
        let denied: HashSet<_> = self.query(|view| {
            view.certificates(from, |der| {
                found.extend(issuers.have_signed(der).filter(|(_, end)| !past_not_after(*end, now)));
                ControlFlow::Continue(())
            })?;
            let denied = view.revoked_serials(now)?;
            Ok(denied.into_iter().map(|(serial, ..)| serial).collect())
        })?;
        Ok(found.into_iter().filter(|(serial, _)| !denied.contains(serial)).map(|(_, end)| end).collect())
    }

    async fn change_root(
        &self,
        caller: &Caller,
        before: Hierarchy,
        change: impl FnOnce(&Hierarchy) -> Result<Hierarchy, RootChangeError> + Send + 'static,
        (action, agents, lost): (AuditAction, BundleCensus, usize),
        settings: EnvelopeSettings,
    ) -> Result<ChangedRoot, RootChangeRefused> {
        let change = move |before: &Hierarchy, _: &Envelope| Ok(change(before)?);
        let (after, authority) = self.opened_anew(&before, change, settings).await?;
        let issuing = hierarchy::issuing(&after, self.clock.now())?;
        let root = hierarchy::describe(&after)?;
        let root = root.into_iter().rfind(|it| it.role == CaRole::Root).ok_or(DamagedCertificate)?;
        let mut event = caller.event(action, None, &after.trust_domain);
        event.detail.insert("root", root.fingerprint.clone());
        event.detail.insert("agents", agents.seen.to_string());
        event.detail.insert("agents_without_bundle", agents.without.to_string());
        if lost > 0 {
            event.detail.insert("certificates_lost", lost.to_string());
        }
        self.replace_hierarchy(Some(before), after, event, RenewAgentCaError::Changed).await?;
        self.set_authority(authority);
        Ok(ChangedRoot { root, issuing, agents, lost })
    }
}
