//! Server-sent events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::insight::live_kind::LiveKind;

/// The `data` of a server-sent event: that something changed, and what.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct LiveEvent {
    pub(crate) kind: LiveKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<String>,
}
