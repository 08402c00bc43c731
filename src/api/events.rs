//! Server-sent events.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What a server-sent event is about. `resync`: events were lost, so everything may have changed. `heartbeat`: nothing
/// has happened; it comes at the beginning and every 15 seconds, so a stream without one for longer is dead.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema, Deserialize)]
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
