//! Words from closed sets, so that the document lists every one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a host reported lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostStatus {
    Online,
    Offline,
}

/// How urgent a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeverityName {
    Critical,
    Soon,
    Tidy,
}

/// What let a host in.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CredentialWord {
    Token,
    Secret,
}

/// How a certificate came to be.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IssuedVia {
    Token,
    Secret,
    Rotation,
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
