//! What a page hears of as it happens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a server-sent event is about. `resync`: events were lost, so everything may have changed. `heartbeat`: nothing
/// has happened; it comes at the beginning and every 15 seconds, so a stream without one for longer is dead.
#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveKind {
    Host,
    // A host's agent has reported something for its timeline.
    Timeline,
    Enrollment,
    Secret,
    Revocation,
    Resync,
    Heartbeat,
}
