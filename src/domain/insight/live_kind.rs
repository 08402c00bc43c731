//! What a page hears of as it happens.

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What a server-sent event is about. `resync`: events were lost, so everything may have changed. `heartbeat`: nothing
    /// has happened; it comes at the beginning and every 15 seconds, so a stream without one for longer is dead.
    wire pub enum LiveKind {
        Host = "host",
        // A host's agent has reported something for its timeline.
        Timeline = "timeline",
        Enrollment = "enrollment",
        Secret = "secret",
        Revocation = "revocation",
        Resync = "resync",
        Heartbeat = "heartbeat",
    }
}
