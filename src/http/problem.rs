//! Errors on the wire: RFC 9457 problems with a stable `code`, and the one map from errors to them.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use http_body_util::Full;

use crate::api::problem::ProblemDocument;
use crate::app::Unavailable;
use crate::app::access::account::AccountError;
use crate::app::access::api_tokens::ApiTokenError;
use crate::app::access::sessions::SignInError;
use crate::app::access::tenants::TenantError;
use crate::app::access::users::UserError;
use crate::app::issue::enroll::EnrollError;
use crate::app::issue::hosts::HostError;
use crate::app::issue::issuing::IssuingError;
use crate::app::issue::revoke::RevokeError;
use crate::app::issue::rotate::RotateError;
use crate::app::issue::secrets::SecretError;
use crate::app::issue::tokens::TokenError;
use crate::app::keep::agent_ca::{DescribeError, InitAgentCaError, RenewAgentCaError};
use crate::app::keep::backup::BackupError;
use crate::domain::code::Code;
use crate::error_chain::chain;

/// What is said of a tenant that is not there, or not for this caller. A constant, because the command line has
/// another hint for it than for what else is not found.
pub const NO_TENANT: &str = "There is no such tenant.";

/// An error as clients see it. Nothing internal has a way in here: texts are written for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: Code,
    pub detail: String,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::BadRequest, detail)
    }

    pub fn unprocessable(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail)
    }

    pub fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            Code::MethodNotAllowed,
            "This address does not take that method.",
        )
    }

    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "Sign in or send an API token.")
    }

    pub fn permission_denied() -> Self {
        Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, "You are not allowed to do this.")
    }

    pub fn throttled(seconds: u64) -> Self {
        let detail = "Too many failed attempts from this address. Wait and try again.";
        Self {
            retry_after: Some(seconds.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Throttled, detail)
        }
    }

    pub fn ca_unavailable() -> Self {
        let detail = "The agent CA cannot issue certificates right now. The server's log says why.";
        Self {
            retry_after: Some(30),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::CaUnavailable, detail)
        }
    }

    /// Somebody who may change things changes too many.
    pub fn too_many_changes(wait: Duration) -> Self {
        let detail = "You are changing more than is taken in this time. Wait and try again.";
        Self {
            retry_after: Some(wait.as_secs() + 1),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Throttled, detail)
        }
    }

    /// Says nothing about whoever asks: others have come before them.
    pub fn busy_hashing() -> Self {
        let detail = "The server is checking as many passwords as it can.";
        Self { retry_after: Some(2), ..Self::busy(detail) }
    }

    pub fn unavailable() -> Self {
        let detail = "The server cannot do this right now. Its log says why.";
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, detail) }
    }

    /// Too many want the same at this moment.
    pub fn busy(detail: &str) -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Busy, detail) }
    }

    pub fn internal() -> Self {
        let detail = "The server failed. Its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal, detail)
    }

    /// The answer, with a body that is there at once.
    pub fn into_bytes_response(self) -> Response<Full<Bytes>> {
        let document = ProblemDocument {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.as_str().to_owned(),
            detail: self.detail,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status;
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED && self.code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.into_bytes_response().map(axum::body::Body::new)
    }
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a request could not be served");
        Self::unavailable()
    }
}

/// Failing to issue for want of a CA is the operator's matter; the caller may come back.
impl From<IssuingError> for Problem {
    fn from(error: IssuingError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "no certificate could be issued");
        Self::ca_unavailable()
    }
}

impl From<EnrollError> for Problem {
    fn from(error: EnrollError) -> Self {
        let unauthorized = |code, detail: &str| Self::new(StatusCode::UNAUTHORIZED, code, detail);
        let bad_csr = |detail: String| Self::new(StatusCode::BAD_REQUEST, Code::BadCsr, detail);
        match error {
            EnrollError::Unauthorized(_) => {
                unauthorized(Code::Unauthorized, "This token or secret does not admit anyone.")
            }
            EnrollError::TokenUsed => {
                unauthorized(Code::TokenUsed, "This join token has been used. Ask for a new one.")
            }
            EnrollError::TokenExpired => {
                unauthorized(Code::TokenExpired, "This join token has expired. Ask for a new one.")
            }
            EnrollError::TokenVoided => {
                unauthorized(Code::TokenVoided, "This join token was voided. Ask for a new one.")
            }
            EnrollError::SecretExhausted => Self::new(
                StatusCode::FORBIDDEN,
                Code::SecretExhausted,
                "This enrollment secret has admitted as many hosts as it may.",
            ),
            EnrollError::IdentityRevoked => identity_revoked(),
            EnrollError::HostDecommissioned(_) => Self::new(
                StatusCode::FORBIDDEN,
                Code::HostDecommissioned,
                "This machine was decommissioned. If it is to come back, an administrator re-enables its host, or \
                 gives it a join token.",
            ),
            EnrollError::BadCsr(error) => bad_csr(error.to_string()),
            error @ EnrollError::KeyTaken => bad_csr(error.to_string()),
            EnrollError::Issuing(error) => error.into(),
            EnrollError::Unavailable(error) => error.into(),
        }
    }
}

fn identity_revoked() -> Problem {
    let detail = "This identity, or this certificate of it, is revoked. If the host is to come back, an \
                  administrator re-enables it and it enrolls again with a token that names its agent id.";
    Problem::new(StatusCode::FORBIDDEN, Code::IdentityRevoked, detail)
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        let unauthorized =
            |code, error: &RotateError| Self::new(StatusCode::UNAUTHORIZED, code, error.to_string());
        match error {
            RotateError::BadChain(_) => unauthorized(Code::BadChain, &error),
            RotateError::BadProof(_) => unauthorized(Code::BadProof, &error),
            RotateError::UnknownSerial => unauthorized(Code::UnknownSerial, &error),
            RotateError::SvidExpired => unauthorized(Code::SvidExpired, &error),
            RotateError::IdentityRevoked => identity_revoked(),
            RotateError::TooOften => {
                let detail = "This identity rotates too often. Wait and try again.";
                Self {
                    retry_after: Some(60),
                    ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::Throttled, detail)
                }
            }
            RotateError::BadCsr(_) | RotateError::KeyReused => {
                Self::new(StatusCode::BAD_REQUEST, Code::BadCsr, error.to_string())
            }
            RotateError::Issuing(error) => error.into(),
            RotateError::Unavailable(error) => error.into(),
        }
    }
}

impl From<DescribeError> for Problem {
    fn from(error: DescribeError) -> Self {
        match error {
            DescribeError::Unavailable(error) => error.into(),
            DescribeError::Damaged(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the agent CA cannot be described");
                Self::internal()
            }
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::InvalidTtl => Self::unprocessable(Code::InvalidTtl, error.to_string()),
            TokenError::TooMany(_) => Self::unprocessable(Code::TooMany, error.to_string()),
            TokenError::NoTenant => Self::not_found(NO_TENANT),
            TokenError::NotFound => Self::not_found("There is no such join token."),
            TokenError::AlreadyUsed => Self::new(StatusCode::CONFLICT, Code::TokenUsed, error.to_string()),
            TokenError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::InvalidMaxUses => Self::unprocessable(Code::InvalidMaxUses, error.to_string()),
            SecretError::InvalidTtl => Self::unprocessable(Code::InvalidTtl, error.to_string()),
            SecretError::NoTenant => Self::not_found(NO_TENANT),
            SecretError::NotFound => Self::not_found("There is no such enrollment secret."),
            SecretError::Unavailable(error) => error.into(),
        }
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound(agent) => {
                Self::not_found(&format!("There is no agent '{agent}' in this tenant."))
            }
            RevokeError::Unavailable(error) => error.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Taken => Self::new(StatusCode::CONFLICT, Code::UsernameTaken, error.to_string()),
            UserError::InvalidUsername(detail) => Self::unprocessable(Code::InvalidUsername, detail),
            UserError::InvalidPassword(error) => {
                Self::unprocessable(Code::InvalidPassword, error.to_string())
            }
            UserError::MoreThanCaller => {
                let detail = "You may not do all that somebody of this role may, so you may neither create nor \
                              change them.";
                Self { detail: detail.to_owned(), ..Self::permission_denied() }
            }
            UserError::NotFound => Self::not_found("There is no such user."),
            UserError::NoTenant => Self::not_found(NO_TENANT),
            UserError::LastAdmin => Self::new(StatusCode::CONFLICT, Code::LastAdmin, error.to_string()),
            UserError::Busy => Self::busy_hashing(),
            UserError::Unavailable(error) => error.into(),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::WrongPassword => Self::unprocessable(Code::WrongPassword, error.to_string()),
            AccountError::InvalidPassword(error) => {
                Self::unprocessable(Code::InvalidPassword, error.to_string())
            }
            AccountError::NoSession => Self::not_found("You have no such session."),
            AccountError::SignedOut => Self::unauthenticated(),
            AccountError::Busy => Self::busy_hashing(),
            AccountError::Unavailable(error) => error.into(),
        }
    }
}

impl From<ApiTokenError> for Problem {
    fn from(error: ApiTokenError) -> Self {
        match error {
            ApiTokenError::NoPermissions => Self::unprocessable(Code::InvalidPermissions, error.to_string()),
            ApiTokenError::MoreThanMaker(_) => {
                Self::new(StatusCode::FORBIDDEN, Code::PermissionDenied, error.to_string())
            }
            ApiTokenError::InvalidTtl => Self::unprocessable(Code::InvalidTtl, error.to_string()),
            ApiTokenError::TooManyGenerations => Self::unprocessable(Code::TooMany, error.to_string()),
            ApiTokenError::NoTenant => Self::not_found(NO_TENANT),
            ApiTokenError::NotFound => Self::not_found("There is no such API token."),
            ApiTokenError::Unavailable(error) => error.into(),
        }
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Taken => Self::new(StatusCode::CONFLICT, Code::TenantTaken, error.to_string()),
            TenantError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => {
                Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "Wrong username or password.")
            }
            SignInError::Busy => Self::busy_hashing(),
            SignInError::Unavailable(error) => error.into(),
        }
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotFound => Self::not_found("There is no such host."),
            HostError::Unavailable(error) => error.into(),
        }
    }
}

/// Only the local operator, who may read the log, gets to see these.
impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Unavailable(error) => error.into(),
            error @ BackupError::NoEnvelope => Self::unprocessable(Code::NoEnvelope, with_causes(&error)),
            error => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, Code::BackupFailed, with_causes(&error))
            }
        }
    }
}

impl From<InitAgentCaError> for Problem {
    fn from(error: InitAgentCaError) -> Self {
        match error {
            InitAgentCaError::Unavailable(error) => error.into(),
            error => Self::unprocessable(Code::NotCreated, with_causes(&error)),
        }
    }
}

impl From<RenewAgentCaError> for Problem {
    fn from(error: RenewAgentCaError) -> Self {
        match error {
            RenewAgentCaError::Unavailable(error) => error.into(),
            error @ RenewAgentCaError::NoEnvelope => {
                Self::unprocessable(Code::NoEnvelope, with_causes(&error))
            }
            error => Self::unprocessable(Code::NotRenewed, with_causes(&error)),
        }
    }
}

/// An error with its causes, for the local operator.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    chain(error) + "."
}
