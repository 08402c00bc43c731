//! Join tokens: single use, expiring, for one tenant, perhaps for one agent id.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::host::tag::Tag;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::label::Label;
use crate::domain::vocabulary::vocabulary;

/// A join token's row: it lets one machine in, once.
#[derive(Debug, Clone)]
pub struct JoinToken {
    /// The public half.
    pub id: CredentialId,
    /// What is kept of the secret half.
    pub hash: CredentialHash,
    /// The tenant that it lets into.
    pub tenant: TenantId,
    /// The agent that it lets in; `None`: a new one, named by its host's id.
    pub agent: Option<AgentId>,
    /// What a person calls it.
    pub name: Option<Label>,
    /// When it was minted.
    pub created_at: Timestamp,
    /// From when on it lets nobody in.
    pub expires_at: Timestamp,
    /// When it let a machine in.
    pub used_at: Option<Timestamp>,
    /// When somebody took it back.
    pub voided_at: Option<Timestamp>,
    /// What its host is tagged with when it comes.
    pub tags: BTreeSet<Tag>,
}

vocabulary! {
    wire pub enum JoinTokenState {
        Open = "open",
        Used = "used",
        Expired = "expired",
        Voided = "voided",
    }
}

impl JoinToken {
    /// What happened first decides: a used token stays "used" after its expiry.
    pub fn state(&self, now: Timestamp) -> JoinTokenState {
        if self.voided_at.is_some() {
            JoinTokenState::Voided
        } else if self.used_at.is_some() {
            JoinTokenState::Used
        } else if now >= self.expires_at {
            JoinTokenState::Expired
        } else {
            JoinTokenState::Open
        }
    }
}

/// Shortest and longest life of a join token, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=30 * 86_400;
/// Life of a join token when nothing else is asked for, in seconds.
pub const TTL_SECONDS_DEFAULT: i64 = 3_600;
