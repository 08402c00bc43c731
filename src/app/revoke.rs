//! Revocation of an identity: every unexpired certificate and the SPIFFE id, in one transaction.

use jiff::Timestamp;

use super::caller::Caller;
use super::timeline::timeline;
use super::{App, Unavailable, entropy};
use crate::domain::deny::Identity;
use crate::domain::enrollment::{Revocation, RevocationReason, SVID_LIFETIME_MAX};
use crate::domain::ids::HostId;
use crate::domain::spiffe::AgentId;
use crate::store::{Change, ReadError, Verdict, View};

/// What a revocation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    pub identity: Identity,
    pub host: HostId,
    pub since: Timestamp,
    /// How many certificates this call revoked; zero when the identity was revoked before.
    pub certificates: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    #[error("there is no agent '{0}' in this tenant")]
    NotFound(AgentId),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Revokes an identity. When this returns, it is on disk, on the deny list, and its streams have been
    /// told to end. Repeating it is harmless.
    pub async fn revoke(&self, caller: &Caller, identity: Identity) -> Result<Revoked, RevokeError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        let decided = self.store.write(move |view, now| decide(view, now, &caller, identity, salt)).await;
        decided.map_err(Unavailable::from)?
    }
}

fn decide(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    identity: Identity,
    salt: [u8; 16],
) -> Result<Verdict<Revoked, RevokeError>, ReadError> {
    let Some(host) = view.host_of(&identity)? else {
        return Ok(Verdict::refuse(RevokeError::NotFound(identity.agent)));
    };
    if let Some(since) = view.identity_denied(&identity)? {
        let revoked = Revoked { identity, host: host.id, since, certificates: 0 };
        return Ok(Verdict::accept(revoked, Vec::new()));
    }
    let mut changes = revocations(view, host.id, now, RevocationReason::Revoked)?;
    let certificates = changes.len();
    changes.push(timeline(host.id, now, "revoked", [("by", caller.to_string())]));
    changes.push(Change::DenyIdentity { identity: identity.clone(), since: now });
    let mut event = caller.event("agent.revoke", Some(identity.tenant), host.id);
    event.detail.insert("agent_id", identity.agent.to_string());
    event.detail.insert("certificates", certificates.to_string());
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    changes.push(Change::Audit(event));
    Ok(Verdict::accept(Revoked { identity, host: host.id, since: now, certificates }, changes))
}

/// Revokes every unexpired certificate of a host, not just the newest.
pub(super) fn revocations(
    view: &View<'_>,
    host: HostId,
    now: Timestamp,
    reason: RevocationReason,
) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    view.enrollments_of(host, None, |enrollment| {
        if now.duration_since(enrollment.issued_at) > SVID_LIFETIME_MAX {
            return std::ops::ControlFlow::Break(());
        }
        if enrollment.live(now) {
            changes.push(Change::RevokeEnrollment { enrollment, revocation: Revocation { at: now, reason } });
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(changes)
}
