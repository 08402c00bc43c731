//! Problems (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The document itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ProblemDocument {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub code: String,
    pub detail: String,
}
