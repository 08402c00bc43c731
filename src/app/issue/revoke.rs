//! Revocation of an identity: every certificate and the SPIFFE id, in one transaction.

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::insight::timeline::timeline;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::enrollment::{Enrollment, Revocation, RevocationReason};
use crate::domain::identity::clock_marks::DENIALS_KEPT;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::timeline::TimelineKind;
use crate::store::{Change, ReadError, Verdict, View};

/// What a revocation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Whom it took away.
    pub identity: AgentRef,
    /// The registry's row of its machine; it stays.
    pub host: HostId,
    /// Since when it is revoked: an earlier moment, where this call found nothing to do.
    pub since: Timestamp,
    /// How many certificates this call revoked; zero when the identity was revoked before.
    pub certificates: usize,
}

/// Why no identity was revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// No host of the tenant has this agent id; one that was deleted is not there any more.
    #[error("There is no agent '{0}' in this tenant.")]
    NotFound(AgentId),
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Whether an identity is revoked now.
    pub fn is_revoked(&self, tenant: TenantId, agent: &AgentId) -> Result<bool, Unavailable> {
        let identity = AgentRef { tenant, agent: agent.clone() };
        let denied = self.query(|view| view.identity_denied(&identity))?;
        Ok(denied.is_some())
    }

    /// Revokes an identity. When this returns, it is on disk, on the deny list, and its streams have been
    /// told to end. Repeating it is harmless.
    pub async fn revoke(&self, caller: &Caller, identity: AgentRef) -> Result<Revoked, RevokeError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        self.decide(move |view, now| decide(view, now, &caller, identity, salt)).await
    }
}

fn decide(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    identity: AgentRef,
    salt: [u8; 16],
) -> Result<Verdict<Revoked, RevokeError>, ReadError> {
    let Some(host) = view.host_of(&identity)? else {
        return Ok(Verdict::refuse(RevokeError::NotFound(identity.agent)));
    };
    let mut changes = revocations(view, host.id, now, RevocationReason::Revoked)?;
    let certificates = changes.len();
    if let Some(since) = view.identity_denied(&identity)?
        && changes.is_empty()
    {
        let revoked = Revoked { identity, host: host.id, since, certificates };
        return Ok(Verdict::accept(revoked, Vec::new()));
    }
    changes.push(timeline(host.id, now, TimelineKind::Revoked, [("by", caller.to_string())]));
    changes.push(Change::DenyIdentity { identity: identity.clone(), since: now });
    let mut event = caller.event(AuditAction::AgentRevoke, Some(identity.tenant), host.id);
    event.detail.insert("agent_id", identity.agent.to_string());
    event.detail.insert("certificates", certificates.to_string());
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    changes.push(Change::Audit(event));
    Ok(Verdict::accept(Revoked { identity, host: host.id, since: now, certificates }, changes))
}

/// Revokes every certificate of a host that is on record and not revoked: not just the newest, and whatever the
/// clock says of its expiry, because a clock can be ahead.
pub(crate) fn revocations(
    view: &View<'_>,
    host: HostId,
    now: Timestamp,
    reason: RevocationReason,
) -> Result<Vec<Change>, ReadError> {
    let marks = view.clock_marks()?;
    let revocation = Revocation { at: now, reason };
    let mut changes = Vec::new();
    view.any_tenant().enrollments_of(host, None, |enrollment| {
        let Enrollment { serial, not_after, .. } = enrollment;
        if enrollment.revocation.is_none() {
            // A host that is years old has thousands of these.
            changes.push(match marks.long_past(serial, not_after, DENIALS_KEPT, now) {
                true => Change::MarkRevoked { enrollment, revocation },
                false => Change::RevokeEnrollment { enrollment, revocation },
            });
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(changes)
}
