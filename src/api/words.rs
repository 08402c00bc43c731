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
