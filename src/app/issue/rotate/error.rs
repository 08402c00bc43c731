//! Why an SVID was not renewed, as callers and records are told it.

use crate::app::Unavailable;
use crate::app::issue::issuing::IssuingError;
use crate::ca::parse::csr::CsrError;
use crate::ca::parse::presented::{ChainError, ProofError};
use crate::domain::code::Code;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::insight::audit_reason::AuditReason;
use crate::store::ReadError;

/// Why an SVID was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// It proves nothing, so its sender is told no more than that. [`ChainError`] is for logs.
    #[error("the certificate chain is not one that this server issued")]
    BadChain(#[from] ChainError),
    /// The chain is ours, but its sender did not prove to hold its key for this request.
    #[error("the proof is not a signature by the current key over the new request")]
    BadProof(#[from] ProofError),
    /// The chain is ours and the record is not there, or contradicts it: the store may be an older copy.
    #[error("the certificate is not in the registry; enroll again with a join token")]
    UnknownSerial,
    /// It is out of grace, and no outage of the server excuses it; or it is not the host's newest.
    #[error("the certificate has expired; enroll again with a join token that names this agent id")]
    SvidExpired,
    /// The certificate or its identity was revoked, be it because this rotation gave a clone away.
    #[error("this identity is revoked")]
    IdentityRevoked,
    /// The new request is no proof that its sender holds a key that is good enough.
    #[error(transparent)]
    BadCsr(#[from] CsrError),
    /// By this host at any time, or by another one in a certificate that may still be in force.
    #[error("the new key was used before; rotation needs a new key")]
    KeyReused,
    /// A host that rotates without need fills the registry.
    #[error("This identity rotates too often. Wait and try again.")]
    TooOften,
    /// The right is proved, and no certificate could be made.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    /// The store or the machine could not answer; not the agent's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for RotateError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl RotateError {
    /// Whether the caller showed nothing that only a rightful caller has. Only such failures are throttled.
    pub const fn proved_nothing(&self) -> bool {
        matches!(self, Self::BadChain(_) | Self::BadProof(_))
    }

    /// What it is called wherever it is told.
    pub const fn code(&self) -> Code {
        match self {
            Self::BadChain(_) => Code::BadChain,
            Self::BadProof(_) => Code::BadProof,
            Self::UnknownSerial => Code::UnknownSerial,
            Self::SvidExpired => Code::SvidExpired,
            Self::IdentityRevoked => Code::IdentityRevoked,
            Self::TooOften => Code::Throttled,
            Self::BadCsr(_) | Self::KeyReused => Code::BadCsr,
            Self::Issuing(_) => Code::CaUnavailable,
            Self::Unavailable(error) => error.code(),
        }
    }

    pub(crate) const fn reason(&self) -> Option<AuditReason> {
        Some(match self {
            Self::BadChain(_) => AuditReason::BadChain,
            Self::BadProof(_) => AuditReason::BadProof,
            Self::UnknownSerial => AuditReason::UnknownSerial,
            Self::SvidExpired => AuditReason::SvidExpired,
            Self::IdentityRevoked => AuditReason::IdentityRevoked,
            Self::BadCsr(_) => AuditReason::BadCsr,
            Self::KeyReused => AuditReason::KeyReused,
            Self::TooOften => AuditReason::TooOften,
            Self::Issuing(_) | Self::Unavailable(_) => return None,
        })
    }
}

/// A refusal, with the SVID that was presented once its chain has been verified.
#[derive(Debug)]
pub struct RotateRefusal {
    /// Why nothing was renewed.
    pub error: RotateError,
    /// Who it says the sender is, for the audit record; `None`: nothing has been verified.
    pub presented: Option<Box<(SpiffeId, Serial)>>,
}

impl<E: Into<RotateError>> From<E> for RotateRefusal {
    fn from(error: E) -> Self {
        Self { error: error.into(), presented: None }
    }
}
