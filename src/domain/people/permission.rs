//! What a caller may do. One table decides which role may do what.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A single right. Handlers name the one they need; API tokens carry a list of them.
#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PermissionName", description = "A permission by its name.")]
pub enum Permission {
    // Seeing hosts, enrollments, tokens and secrets.
    #[serde(rename = "agent.read")]
    AgentRead,
    // Join tokens, and revoking identities.
    #[serde(rename = "agent.write")]
    AgentWrite,
    // Seeing the audit trail.
    #[serde(rename = "audit.read")]
    AuditRead,
    // Decommissioning, re-enabling and deleting hosts.
    #[serde(rename = "host.write")]
    HostWrite,
    // Enrollment secrets.
    #[serde(rename = "secret.write")]
    SecretWrite,
    // People, as far as one may oneself.
    #[serde(rename = "user.write")]
    UserWrite,
    // API tokens.
    #[serde(rename = "token.write")]
    TokenWrite,
    // Tenants.
    #[serde(rename = "tenant.write")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_on_the_wire_are_called_as_on_disk() {
        for permission in Permission::ALL {
            assert_eq!(serde_json::json!(permission), permission.as_str());
            assert_eq!(serde_json::from_value::<Permission>(permission.as_str().into()).unwrap(), permission);
        }
    }
}
