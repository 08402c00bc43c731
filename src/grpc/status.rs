//! The one map from refusals to gRPC statuses, with their codes in a trailer.

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as GrpcCode, Status};

use crate::domain::code::Code;

/// The trailer that has a refusal's code, which is the one that HTTP gives for the same.
pub(crate) const CODE_TRAILER: &str = "muster-code";

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

impl AgentRefusal {
    const fn code(self) -> Code {
        match self {
            Self::NoIdentity => Code::Unauthenticated,
            Self::Revoked => Code::IdentityRevoked,
            Self::Expired => Code::SvidExpired,
            Self::TooFast | Self::TooManyWatches => Code::Throttled,
            Self::ReportTooLong => Code::PayloadTooLarge,
            Self::TooSlow => Code::Timeout,
            Self::Stopping => Code::Unavailable,
        }
    }
}

impl From<AgentRefusal> for Status {
    fn from(refused: AgentRefusal) -> Self {
        status(refused.code(), refused.to_string())
    }
}

/// A refusal as gRPC has it: the status follows from the code's HTTP status.
pub(crate) fn status(code: Code, text: impl Into<String>) -> Status {
    let grpc = match code.status() {
        400 => GrpcCode::InvalidArgument,
        401 => GrpcCode::Unauthenticated,
        403 => GrpcCode::PermissionDenied,
        408 => GrpcCode::DeadlineExceeded,
        413 | 429 => GrpcCode::ResourceExhausted,
        503 => GrpcCode::Unavailable,
        _ => GrpcCode::Internal,
    };
    let mut trailers = MetadataMap::new();
    trailers.insert(CODE_TRAILER, MetadataValue::from_static(code.as_str()));
    Status::with_metadata(grpc, text, trailers)
}
