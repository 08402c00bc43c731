//! Why nobody is vouched for, and the code of each reason.

use std::borrow::Cow;

use super::certificate_header::HeaderRefusal;
use super::issuers::ChainRefusal;
use super::narrowed::NotNarrowed;
use super::presented::Unreadable;
use crate::domain::code::Code;

/// Why a certificate is not vouched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotVouched {
    /// The question's parameters make no sense.
    #[error(transparent)]
    Question(#[from] NotNarrowed),
    /// It is not said which certificate is meant.
    #[error(transparent)]
    Header(#[from] HeaderRefusal),
    /// What is shown is no certificate.
    #[error("what is shown as a certificate can't be read: {0}")]
    Unreadable(#[from] Unreadable),
    /// It is not one that this agent CA issued to an agent.
    #[error("the certificate is not one of this agent CA: {0}")]
    BadChain(#[from] ChainRefusal),
    /// An agent was asked about a tenant by its name.
    #[error("agents know tenants by their ids: 'own' or an id is wanted")]
    TenantName,
    /// It is an agent's of a tenant that is not asked for.
    #[error("the certificate is an agent's of another tenant")]
    OtherTenant,
    /// The host lacks a tag that is asked for, or nobody here knows its tags.
    #[error("{0}")]
    MissingTag(&'static str),
    /// It has run out.
    #[error("the certificate has expired")]
    Expired,
    /// The certificate or its identity is on the deny-list.
    #[error("the certificate or its identity is revoked")]
    Revoked,
    /// Nothing that was recorded is like it.
    #[error("the certificate is not on record")]
    Unrecorded,
    /// Whoever decides has not heard enough, or not for too long.
    #[error("{0}")]
    Unknowing(Cow<'static, str>),
}

impl NotVouched {
    /// The word on the wire.
    pub const fn code(&self) -> Code {
        match self {
            Self::Question(_) | Self::Header(_) | Self::TenantName => Code::BadRequest,
            Self::Unreadable(_) | Self::BadChain(_) => Code::BadChain,
            Self::OtherTenant => Code::OtherTenant,
            Self::MissingTag(_) => Code::MissingTag,
            Self::Expired => Code::SvidExpired,
            Self::Revoked => Code::IdentityRevoked,
            Self::Unrecorded => Code::UnknownSerial,
            Self::Unknowing(_) => Code::Unavailable,
        }
    }
}
