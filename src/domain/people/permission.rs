//! What a caller may do. One table decides which role may do what.

use std::fmt;
use std::str::FromStr;

/// A single right. Handlers name the one they need; API tokens carry a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Seeing hosts, enrollments, tokens and secrets.
    AgentRead,
    /// Join tokens, and revoking identities.
    AgentWrite,
    /// Seeing the audit trail.
    AuditRead,
    /// Decommissioning, re-enabling and deleting hosts.
    HostWrite,
    /// Enrollment secrets.
    SecretWrite,
    /// People, as far as one may oneself.
    UserWrite,
    /// API tokens.
    TokenWrite,
    /// Tenants.
    TenantWrite,
}

impl Permission {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 8] = [
        Self::AgentRead,
        Self::AgentWrite,
        Self::AuditRead,
        Self::HostWrite,
        Self::SecretWrite,
        Self::UserWrite,
        Self::TokenWrite,
        Self::TenantWrite,
    ];

    /// The word on the wire and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentRead => "agent.read",
            Self::AgentWrite => "agent.write",
            Self::AuditRead => "audit.read",
            Self::HostWrite => "host.write",
            Self::SecretWrite => "secret.write",
            Self::UserWrite => "user.write",
            Self::TokenWrite => "token.write",
            Self::TenantWrite => "tenant.write",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such permission")]
pub struct NotAPermission;

impl FromStr for Permission {
    type Err = NotAPermission;

    fn from_str(text: &str) -> Result<Self, NotAPermission> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or(NotAPermission)
    }
}
