//! Server-sent events: what goes over the wire, made from what the use cases answer.

use crate::api::events::LiveEvent;
use crate::domain::insight::live_kind::LiveKind;
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
    /// What a listener may read, or need not be told of. `None`: everybody who listens is told.
    pub(crate) const fn needs(self) -> Option<Permission> {
        match self {
            Self::Host | Self::Timeline | Self::Enrollment | Self::Revocation => Some(Permission::AgentRead),
            Self::Secret => Some(Permission::SecretWrite),
            Self::Resync | Self::Heartbeat => None,
        }
    }
}
