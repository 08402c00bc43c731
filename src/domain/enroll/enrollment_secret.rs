//! Enrollment secrets: shared passwords for rollouts, perhaps capped, perhaps expiring.

use jiff::Timestamp;

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::label::Label;

#[derive(Debug, Clone)]
pub struct EnrollmentSecret {
    pub id: CredentialId,
    pub hash: CredentialHash,
    pub tenant: TenantId,
    pub name: Label,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    Open,
    Revoked,
    Expired,
    Exhausted,
}

impl EnrollmentSecret {
    pub fn state(&self, now: Timestamp) -> SecretState {
        if self.revoked_at.is_some() {
            SecretState::Revoked
        } else if self.expires_at.is_some_and(|at| now >= at) {
            SecretState::Expired
        } else if self.max_uses.is_some_and(|max| self.uses >= max) {
            SecretState::Exhausted
        } else {
            SecretState::Open
        }
    }
}

/// Allowed caps.
pub const MAX_USES: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Shortest and longest life of a secret that expires, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=5 * 365 * 86_400;
