//! The row of the credential that an enrollment shows: found, checked, used up.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use crate::app::issue::enroll::EnrollError;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::enrollment::Via;
use crate::domain::enroll::enrollment_secret::{EnrollmentSecret, SecretState};
use crate::domain::enroll::join_token::{JoinToken, JoinTokenState};
use crate::domain::host::tag::Tag;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::withdrawal::Suspended;
use crate::store::{Change, View};

/// The row that a presented credential was found to be.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    Token(JoinToken),
    Secret(EnrollmentSecret),
}

impl Row {
    pub(crate) const fn tenant(&self) -> TenantId {
        match self {
            Self::Token(token) => token.tenant,
            Self::Secret(secret) => secret.tenant,
        }
    }

    pub(crate) const fn via(&self) -> Via {
        match self {
            Self::Token(token) => Via::Token { id: token.id },
            Self::Secret(secret) => Via::Secret { id: secret.id },
        }
    }

    /// The agent id of the host to enroll: the one named, or the host's own id.
    pub(crate) fn agent_for(&self, host: HostId) -> AgentId {
        let named = match self {
            Self::Token(token) => token.agent.clone(),
            Self::Secret(_) => None,
        };
        named.unwrap_or_else(|| host.to_string().parse().expect("a UUID is a valid agent id"))
    }

    /// What its host is tagged with.
    pub(crate) const fn tags(&self) -> &BTreeSet<Tag> {
        match self {
            Self::Token(token) => &token.tags,
            Self::Secret(secret) => &secret.tags,
        }
    }

    /// Withdrawn credentials are refused even to a retry.
    pub(crate) fn withdrawn(&self) -> Option<EnrollError> {
        match self {
            Self::Token(token) if token.voided_at.is_some() => Some(EnrollError::TokenVoided),
            Self::Secret(secret) if secret.revoked_at.is_some() => {
                Some(EnrollError::Unauthorized(AuditReason::Revoked))
            }
            _ => None,
        }
    }

    /// Why this credential admits nobody now, if so.
    pub(crate) fn refusal(&self, now: Timestamp) -> Option<EnrollError> {
        match self {
            Self::Token(token) => match token.state(now) {
                JoinTokenState::Open => None,
                JoinTokenState::Used => Some(EnrollError::TokenUsed),
                JoinTokenState::Expired => Some(EnrollError::TokenExpired),
                JoinTokenState::Voided => Some(EnrollError::TokenVoided),
            },
            Self::Secret(secret) => match secret.state(now) {
                SecretState::Open => None,
                SecretState::Revoked => Some(EnrollError::Unauthorized(AuditReason::Revoked)),
                SecretState::Expired => Some(EnrollError::Unauthorized(AuditReason::Expired)),
                SecretState::Exhausted => Some(EnrollError::Unauthorized(AuditReason::Exhausted)),
            },
        }
    }

    pub(crate) fn consumed(self, now: Timestamp) -> Change {
        match self {
            Self::Token(token) => Change::PutJoinToken(JoinToken { used_at: Some(now), ..token }),
            Self::Secret(secret) => Change::PutEnrollmentSecret(EnrollmentSecret {
                uses: secret.uses.saturating_add(1),
                last_used_at: Some(now),
                ..secret
            }),
        }
    }
}

/// Finds the row whose secret the caller has proved to know.
pub(crate) fn find_row(
    view: &View<'_>,
    credential: &Credential,
    peer: Option<IpAddr>,
) -> Result<Row, EnrollError> {
    let (row, hash) = match credential.kind() {
        CredentialKind::JoinToken => {
            let token = view
                .any_tenant()
                .join_token(credential.id())?
                .ok_or(EnrollError::Unauthorized(AuditReason::UnknownCredential))?;
            let hash = token.hash.clone();
            (Row::Token(token), hash)
        }
        CredentialKind::EnrollmentSecret => {
            let secret = view
                .any_tenant()
                .enrollment_secret(credential.id())?
                .ok_or(EnrollError::Unauthorized(AuditReason::UnknownCredential))?;
            let hash = secret.hash.clone();
            (Row::Secret(secret), hash)
        }
        CredentialKind::ApiToken => return Err(EnrollError::Unauthorized(AuditReason::UnknownCredential)),
    };
    if !hash.matches(credential) {
        return Err(EnrollError::Unauthorized(AuditReason::WrongSecret));
    }
    if let Row::Secret(secret) = &row
        && !secret.from.is_empty()
        && !peer.is_some_and(|peer| secret.from.contain(peer))
    {
        return Err(EnrollError::Unauthorized(AuditReason::OtherNetwork));
    }
    if let Row::Secret(secret) = &row
        && view.suspended(Suspended::Secret(secret.id))?.is_some()
    {
        return Err(EnrollError::Unauthorized(AuditReason::Suspended));
    }
    Ok(row)
}
