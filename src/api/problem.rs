//! Problems (RFC 9457).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The document itself.
// Members may be missing in one that is read (RFC 9457, 3.1): something other than Muster may be answering.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(!default)]
pub(crate) struct ProblemDocument {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub code: String,
    pub detail: String,
}
