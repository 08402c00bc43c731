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
    /// What the server's log calls the request; also in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// How many there are, where another number was expected (`set_changed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<usize>,
}
