//! Words from closed sets, so that the document lists every one of them: what goes over the wire, made from what the use cases answer.

use crate::api::words::{IssuedVia, PermissionName, SeverityName};
use crate::domain::enroll::enrollment::Via;
use crate::domain::insight::finding::Severity;
use crate::domain::people::permission::Permission;

impl From<Severity> for SeverityName {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Critical => Self::Critical,
            Severity::Soon => Self::Soon,
            Severity::Tidy => Self::Tidy,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_on_the_wire_are_those_of_the_domain() {
        for permission in Permission::ALL {
            assert_eq!(serde_json::json!(PermissionName::from(permission)), permission.as_str());
            assert_eq!(Permission::from(PermissionName::from(permission)), permission);
        }
    }
}
