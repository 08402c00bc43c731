//! Enrollment secrets: shared passwords for rollouts, perhaps capped, perhaps expiring.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::host::tag::Tag;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::label::Label;
use crate::domain::network::networks::Networks;

/// An enrollment secret's row: a shared password that lets many machines into one tenant.
#[derive(Debug, Clone)]
pub struct EnrollmentSecret {
    /// The public half.
    pub id: CredentialId,
    /// What is kept of the secret half.
    pub hash: CredentialHash,
    /// The tenant that it lets into.
    pub tenant: TenantId,
    /// What a person calls it.
    pub name: Label,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end of its life; `None`: it has none.
    pub expires_at: Option<Timestamp>,
    /// How many hosts it lets in at most; `None`: any number.
    pub max_uses: Option<u32>,
    /// How many hosts it has let in.
    pub uses: u32,
    /// When it last let one in.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked, for good.
    pub revoked_at: Option<Timestamp>,
    /// What its hosts are tagged with when they come.
    pub tags: BTreeSet<Tag>,
    /// From elsewhere it is as if it did not exist; none: it lets in from anywhere.
    pub from: Networks,
}

/// How an enrollment secret stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretState {
    /// It lets machines in.
    Open,
    /// Somebody has revoked it.
    Revoked,
    /// Its life is over.
    Expired,
    /// It has let in as many hosts as it may.
    Exhausted,
}

impl EnrollmentSecret {
    /// How it stands at a moment: revoked before expired before exhausted.
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

/// Most networks that one names.
pub const FROM_MAX: usize = 32;
/// Allowed caps.
pub const MAX_USES: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Shortest and longest life of a secret that expires, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=5 * 365 * 86_400;
