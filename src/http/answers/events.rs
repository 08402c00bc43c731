//! Server-sent events: what goes over the wire, made from what the use cases answer.

use crate::api::events::{LiveEvent, LiveKind};
use crate::app::insight::events::EventKind;
use crate::domain::people::permission::Permission;

impl LiveEvent {
    /// An event about what `subject` names; which id that is depends on the kind.
    pub(crate) fn about(kind: LiveKind, subject: Option<String>) -> Self {
        let mut event = Self { kind, host_id: None, secret_id: None, agent_id: None };
        match kind {
            LiveKind::Host | LiveKind::Timeline | LiveKind::Enrollment => event.host_id = subject,
            LiveKind::Secret => event.secret_id = subject,
            LiveKind::Revocation | LiveKind::Resync | LiveKind::Heartbeat => event.agent_id = subject,
        }
        event
    }
}

impl LiveKind {
    pub(crate) const fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Host => Self::Host,
            EventKind::Timeline => Self::Timeline,
            EventKind::Enrollment => Self::Enrollment,
            EventKind::Secret => Self::Secret,
            EventKind::Revocation => Self::Revocation,
            EventKind::Resync => Self::Resync,
        }
    }

    /// What a listener may read, or need not be told of. `None`: everybody who listens is told.
    pub(crate) const fn needs(self) -> Option<Permission> {
        match self {
            Self::Host | Self::Timeline | Self::Enrollment | Self::Revocation => Some(Permission::AgentRead),
            Self::Secret => Some(Permission::SecretWrite),
            Self::Resync | Self::Heartbeat => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Host => EventKind::Host.as_str(),
            Self::Timeline => EventKind::Timeline.as_str(),
            Self::Enrollment => EventKind::Enrollment.as_str(),
            Self::Secret => EventKind::Secret.as_str(),
            Self::Revocation => EventKind::Revocation.as_str(),
            Self::Resync => EventKind::Resync.as_str(),
            Self::Heartbeat => "heartbeat",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_on_the_wire_are_those_of_the_use_cases() {
        let kinds = [
            LiveKind::Timeline,
            LiveKind::Host,
            LiveKind::Enrollment,
            LiveKind::Secret,
            LiveKind::Revocation,
            LiveKind::Resync,
            LiveKind::Heartbeat,
        ];
        for kind in kinds {
            assert_eq!(serde_json::json!(kind), kind.as_str());
        }
    }
}
