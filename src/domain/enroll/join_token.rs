//! Join tokens: single use, expiring, for one tenant, perhaps for one agent id.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::label::Label;

#[derive(Debug, Clone)]
pub struct JoinToken {
    pub id: CredentialId,
    pub hash: CredentialHash,
    pub tenant: TenantId,
    pub agent: Option<AgentId>,
    pub name: Option<Label>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub used_at: Option<Timestamp>,
    pub voided_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinTokenState {
    Open,
    Used,
    Expired,
    Voided,
}

impl JoinTokenState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Voided => "voided",
        }
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
