//! Enrollment secrets: created, listed, revoked.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::app::access::caller::Caller;
use crate::app::access::tenants::NO_TENANT;
use crate::app::decide::first_of;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::enrollment_secret::{EnrollmentSecret, MAX_USES, TTL_SECONDS};
use crate::domain::host::tag::{Tag, listed};
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::label::Label;
use crate::domain::network::networks::Networks;
use crate::store::{Change, Verdict, View};

/// What kind of secret is wanted.
#[derive(Debug)]
pub struct SecretOrder {
    /// What people call it; it need not be unique.
    pub name: Label,
    /// Hosts that it may let in, within [`MAX_USES`]; `None`: any number.
    pub max_uses: Option<i64>,
    /// Within [`TTL_SECONDS`]; `None`: it has no end until it is revoked.
    pub ttl_seconds: Option<i64>,
    /// What its hosts are tagged with.
    pub tags: BTreeSet<Tag>,
    /// Where they must come from; none: anywhere.
    pub from: Networks,
}

/// Why an enrollment secret was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A number out of [`MAX_USES`].
    #[error("max uses is a whole number from {} to {}", MAX_USES.start(), MAX_USES.end())]
    InvalidMaxUses,
    /// A lifetime out of [`TTL_SECONDS`].
    #[error("an enrollment secret that expires lives between {} seconds and 5 years", TTL_SECONDS.start())]
    InvalidTtl,
    /// There is none of this id.
    #[error("{NO_TENANT}")]
    NoTenant,
    /// It is not there, or is another tenant's.
    #[error("There is no such enrollment secret.")]
    NotFound,
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Creates an enrollment secret; its text is returned once and only its hash is kept.
    pub async fn create_secret(
        &self,
        caller: &Caller,
        tenant: TenantId,
        order: SecretOrder,
    ) -> Result<(EnrollmentSecret, Credential), SecretError> {
        let max_uses = match order.max_uses {
            None => None,
            Some(max) if MAX_USES.contains(&max) => u32::try_from(max).ok(),
            Some(_) => return Err(SecretError::InvalidMaxUses),
        };
        if order.ttl_seconds.is_some_and(|ttl| !TTL_SECONDS.contains(&ttl)) {
            return Err(SecretError::InvalidTtl);
        }
        let now = self.clock.now();
        let id = CredentialId::new(now, entropy()?);
        let credential = Credential::new(CredentialKind::EnrollmentSecret, id, Zeroizing::new(entropy()?));
        let secret = EnrollmentSecret {
            id,
            hash: credential.hash(),
            tenant,
            name: order.name,
            created_at: now,
            expires_at: order.ttl_seconds.map(|ttl| now + SignedDuration::from_secs(ttl)),
            max_uses,
            uses: 0,
            last_used_at: None,
            revoked_at: None,
            tags: order.tags,
            from: order.from,
        };
        let mut event = caller.event(AuditAction::EnrollmentSecretCreate, Some(tenant), id);
        event.detail.insert("name", secret.name.to_string());
        event.detail.extend(secret.max_uses.map(|max| ("max_uses", max.to_string())));
        if !secret.from.is_empty() {
            event.detail.insert("from", secret.from.to_string());
        }
        event.detail.extend(listed(&secret.tags).map(|tags| ("tags", tags)));
        let created = self.decide(move |view, _| {
            if !view.has_tenant(tenant)? {
                return Ok(Verdict::refuse(SecretError::NoTenant));
            }
            let changes = vec![Change::PutEnrollmentSecret(secret.clone()), Change::Audit(event)];
            Ok(Verdict::accept(secret, changes))
        });
        Ok((created.await?, credential))
    }

    /// A tenant's enrollment secrets, newest first; `revoked` narrows them to one side.
    pub async fn secrets(
        self: &Arc<Self>,
        tenant: TenantId,
        revoked: Option<bool>,
        before: Option<CredentialId>,
        limit: usize,
    ) -> Result<Vec<EnrollmentSecret>, Unavailable> {
        let wanted = move |secret: &EnrollmentSecret| {
            revoked.is_none_or(|revoked| secret.revoked_at.is_some() == revoked)
        };
        let walk = move |view: &View<'_>| {
            first_of(limit, wanted, |visit| view.tenant(tenant).enrollment_secrets(before, visit))
        };
        self.query_long(move |app| app.query(walk)).await
    }

    /// Revokes a secret: it admits nobody any more. There is no way back; repeating it is harmless.
    pub async fn revoke_secret(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<EnrollmentSecret, SecretError> {
        let mut event = caller.event(AuditAction::EnrollmentSecretRevoke, Some(tenant), id);
        self.decide(move |view, now| {
            let Some(secret) = view.tenant(tenant).enrollment_secret(id)? else {
                return Ok(Verdict::refuse(SecretError::NotFound));
            };
            if secret.revoked_at.is_some() {
                return Ok(Verdict::accept(secret, Vec::new()));
            }
            event.detail.insert("name", secret.name.to_string());
            let secret = EnrollmentSecret { revoked_at: Some(now), ..secret };
            let changes = vec![Change::PutEnrollmentSecret(secret.clone()), Change::Audit(event)];
            Ok(Verdict::accept(secret, changes))
        })
        .await
    }
}
