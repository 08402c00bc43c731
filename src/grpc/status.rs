//! The one map from refusals to gRPC statuses.

use tonic::Status;

/// Why an agent's request or session is not served, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AgentRefusal {
    #[error("this endpoint is for enrolled agents")]
    NoIdentity,
    #[error("this agent's identity is revoked")]
    Revoked,
    #[error("the certificate has expired; connect with a new one")]
    Expired,
    #[error("too many messages; report no more often than the server asks")]
    TooFast,
    #[error("a report has at most 64 events and 64 KiB of text")]
    ReportTooLong,
    #[error("the request took too long")]
    TooSlow,
    #[error("an agent has at most two watches of trust open; end one first")]
    TooManyWatches,
    #[error("the server is stopping")]
    Stopping,
}

impl From<AgentRefusal> for Status {
    fn from(refused: AgentRefusal) -> Self {
        let text = refused.to_string();
        match refused {
            AgentRefusal::NoIdentity | AgentRefusal::Expired => Self::unauthenticated(text),
            AgentRefusal::Revoked => Self::permission_denied(text),
            AgentRefusal::TooFast | AgentRefusal::ReportTooLong | AgentRefusal::TooManyWatches => {
                Self::resource_exhausted(text)
            }
            AgentRefusal::TooSlow => Self::deadline_exceeded(text),
            AgentRefusal::Stopping => Self::unavailable(text),
        }
    }
}
