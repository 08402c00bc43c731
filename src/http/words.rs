//! The words of requests and answers that come from closed sets, so that the document lists every one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::insight::events::EventKind;
use crate::domain::enroll::enrollment::Via;
use crate::domain::insight::finding::Severity;
use crate::domain::people::permission::Permission;

/// Whether a host reported lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostStatus {
    Online,
    Offline,
}

/// How urgent a finding is.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeverityName {
    Critical,
    Soon,
    Tidy,
}

impl From<Severity> for SeverityName {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::Soon => Self::Soon,
            Severity::Tidy => Self::Tidy,
        }
    }
}

/// What let a host in.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialWord {
    Token,
    Secret,
}

/// How a certificate came to be.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IssuedVia {
    Token,
    Secret,
    Rotation,
}

impl From<Via> for IssuedVia {
    fn from(via: Via) -> Self {
        match via {
            Via::Token(_) => Self::Token,
            Via::Secret(_) => Self::Secret,
            Via::Rotation { .. } => Self::Rotation,
        }
    }
}

/// What a server-sent event is about. `resync`: events were lost, so everything may have changed. `heartbeat`: nothing
/// has happened; it comes at the beginning and every 15 seconds, so a stream without one for longer is dead.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LiveKind {
    Host,
    Timeline,
    Enrollment,
    Secret,
    Revocation,
    Resync,
    Heartbeat,
}

impl LiveKind {
    pub(crate) const fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Host => Self::Host,
            EventKind::Timeline => Self::Timeline,
            EventKind::Enrollment => Self::Enrollment,
            EventKind::Secret => Self::Secret,
            EventKind::Revocation => Self::Revocation,
            EventKind::Resync => Self::Resync,
        }
    }

    /// What a listener may read, or need not be told of. `None`: everybody who listens is told.
    pub(crate) const fn needs(self) -> Option<Permission> {
        match self {
            Self::Host | Self::Timeline | Self::Enrollment | Self::Revocation => Some(Permission::AgentRead),
            Self::Secret => Some(Permission::SecretWrite),
            Self::Resync | Self::Heartbeat => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Host => EventKind::Host.as_str(),
            Self::Timeline => EventKind::Timeline.as_str(),
            Self::Enrollment => EventKind::Enrollment.as_str(),
            Self::Secret => EventKind::Secret.as_str(),
            Self::Revocation => EventKind::Revocation.as_str(),
            Self::Resync => EventKind::Resync.as_str(),
            Self::Heartbeat => "heartbeat",
        }
    }
}

/// A permission by its name.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(crate) enum PermissionName {
    #[serde(rename = "agent.read")]
    AgentRead,
    #[serde(rename = "agent.write")]
    AgentWrite,
    #[serde(rename = "audit.read")]
    AuditRead,
    #[serde(rename = "host.write")]
    HostWrite,
    #[serde(rename = "secret.write")]
    SecretWrite,
    #[serde(rename = "user.write")]
    UserWrite,
    #[serde(rename = "token.write")]
    TokenWrite,
    #[serde(rename = "tenant.write")]
    TenantWrite,
}

impl From<PermissionName> for Permission {
    fn from(name: PermissionName) -> Self {
        match name {
            PermissionName::AgentRead => Self::AgentRead,
            PermissionName::AgentWrite => Self::AgentWrite,
            PermissionName::AuditRead => Self::AuditRead,
            PermissionName::HostWrite => Self::HostWrite,
            PermissionName::SecretWrite => Self::SecretWrite,
            PermissionName::UserWrite => Self::UserWrite,
            PermissionName::TokenWrite => Self::TokenWrite,
            PermissionName::TenantWrite => Self::TenantWrite,
        }
    }
}

impl From<Permission> for PermissionName {
    fn from(permission: Permission) -> Self {
        match permission {
            Permission::AgentRead => Self::AgentRead,
            Permission::AgentWrite => Self::AgentWrite,
            Permission::AuditRead => Self::AuditRead,
            Permission::HostWrite => Self::HostWrite,
            Permission::SecretWrite => Self::SecretWrite,
            Permission::UserWrite => Self::UserWrite,
            Permission::TokenWrite => Self::TokenWrite,
            Permission::TenantWrite => Self::TenantWrite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_wire_are_those_of_the_domain() {
        for permission in Permission::ALL {
            assert_eq!(serde_json::json!(PermissionName::from(permission)), permission.as_str());
            assert_eq!(Permission::from(PermissionName::from(permission)), permission);
        }
        let kinds = [
            LiveKind::Timeline,
            LiveKind::Host,
            LiveKind::Enrollment,
            LiveKind::Secret,
            LiveKind::Revocation,
            LiveKind::Resync,
            LiveKind::Heartbeat,
        ];
        for kind in kinds {
            assert_eq!(serde_json::json!(kind), kind.as_str());
        }
    }
}
