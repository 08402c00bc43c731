//! An intermediate is revoked: a new one issues at once, agents are asked to rotate, and then the root's list says so.

use std::error::Error;
use std::time::Duration;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::keep::agent_ca::{RenewAgentCaError, SignedRequest};
use crate::app::{App, Unavailable};
use crate::ca::authority::Authority;
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::ca::hierarchy::{self, CertificateSummary, DamagedCertificate, IntermediateRequest, RenewError};
use crate::ca::revocation;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::serial::Serial;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{Change, ReadError, View};

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
    pub fn request_revocation(
        &self,
        intermediate: &str,
        settings: &EnvelopeSettings,
    ) -> Result<IntermediateRequest, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let revoked = revocation::find(&hierarchy, intermediate, self.clock.now())?;
        let envelope = Envelope::find(settings)?.ok_or(RenewAgentCaError::NoEnvelope)?;
        let crl_base = self.policy.crl_url.clone();
        Ok(hierarchy::request(&hierarchy, &envelope, Some(revoked), crl_base).map_err(RenewError::from)?)
    }

    /// Takes over what the root has signed for such a request. From now on the intermediate issues nothing, and agents that hold
    /// what it signed are asked to rotate.
    pub async fn revoke_intermediate(
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
        let envelope = Envelope::find(settings)?.ok_or(RenewAgentCaError::NoEnvelope)?;
        let publish_by = match publishing {
            Publishing::WhenRotated => Some(now.checked_add(TIME_TO_ROTATE).unwrap_or(now)),
            Publishing::Now => None,
        };
        let SignedRequest { signed, sealed_key } = signed;
        let after = revocation::accept(&before, signed, sealed_key, revoked, publish_by, &envelope, now)?;
        // What could not be used must not be stored.
        let authority = Authority::open(&after, &envelope, now).map_err(RenewAgentCaError::Unusable)?;
        let mut summaries = hierarchy::describe(&after)?;
        let issuing = summaries.pop().ok_or(DamagedCertificate)?;
        let revoked = revoked.to_string();
        let revoked = summaries.into_iter().find(|it| it.serial == revoked).ok_or(DamagedCertificate)?;
        let publish_by = after.waiting_lists.iter().map(|waiting| waiting.publish_by).min();
        let mut event = caller.event(AuditAction::AgentCaRevokeIntermediate, None, &after.trust_domain);
        event.detail.insert("intermediate", issuing.fingerprint.clone());
        event.detail.insert("revoked", revoked.fingerprint.clone());
        event.detail.insert("publish_by", publish_by.unwrap_or(now).to_string());
        let also = withdrawn_with_an_intermediate;
        self.replace_hierarchy_with(Some(before), after, event, RenewAgentCaError::Changed, also).await?;
        self.set_authority(authority);
        self.jwt.withdraw_signer();
        // Tokens are missing until the server makes keys by itself; nothing else is wrong then.
        if let Err(error) = self.replace_jwt_keys(settings).await {
            tracing::warn!(error = &error as &dyn Error, "no new key of JWT-SVIDs could be made");
        }
        Ok(RevokedIntermediate { issuing, revoked, publish_by })
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
        &self,
        caller: &Caller,
        intermediate: &str,
    ) -> Result<RevokedIntermediate, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        let mut revoked = revocation::find_waiting(&hierarchy, intermediate)?;
        if let Some(revocation) = &mut revoked.revocation {
            revocation.published = true;
        }
        let now = self.clock.now();
        let issues = |it: &CertificateSummary| {
            it.revocation.is_none() && it.issuing_from.is_some_and(|from| from <= now)
        };
        let issuing = hierarchy::describe(&hierarchy)?.into_iter().rfind(issues).ok_or(DamagedCertificate)?;
        let event = caller.event(AuditAction::AgentCaPublishList, None, &hierarchy.trust_domain);
        self.publish_lists(event).await?;
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
fn withdrawn_with_an_intermediate(view: &View<'_>, _now: Timestamp) -> Result<Vec<Change>, ReadError> {
    let keys = view.jwt_keys()?.keys;
    Ok(if keys.is_empty() { Vec::new() } else { vec![Change::PutJwtKeys(JwtKeys::default())] })
}
