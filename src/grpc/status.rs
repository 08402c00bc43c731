//! The one map from refusals to gRPC statuses.

use tonic::Status;

/// Why an agent's request or session is not served, or not any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
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
    #[error("the report took too long")]
    TooSlow,
    #[error("the server is stopping")]
    Stopping,
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NoIdentity | Refused::Expired => Self::unauthenticated(text),
            Refused::Revoked => Self::permission_denied(text),
            Refused::TooFast | Refused::ReportTooLong => Self::resource_exhausted(text),
            Refused::TooSlow => Self::deadline_exceeded(text),
            Refused::Stopping => Self::unavailable(text),
        }
    }
}
