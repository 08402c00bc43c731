//! Errors on the wire: RFC 9457 problems with a stable `code`, and the one map from errors to them.

use std::error::Error;
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
use crate::app::issue::hosts::batch::BatchError;
use crate::app::issue::issuing::IssuingError;
use crate::app::issue::revoke::RevokeError;
use crate::app::issue::rotate::error::RotateError;
use crate::app::issue::secrets::SecretError;
use crate::app::issue::tokens::TokenError;
use crate::app::keep::agent_ca::{DescribeError, InitAgentCaError, RenewAgentCaError};
use crate::app::keep::backup::BackupError;
use crate::app::keep::recovery::RecoveryError;
use crate::app::keep::replicas::ReplicaBehind;
use crate::app::keep::restore::declare::DeclareError;
use crate::app::keep::root::change::RootChangeRefused;
use crate::app::keep::root::errands::ErrandRefused;
use crate::app::webhooks::manage::WebhookError;
use crate::domain::code::Code;
use crate::error_chain::chain;
use crate::request_id::RequestId;

/// An error as clients see it. Nothing internal has a way in here: texts are written for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: Code,
    pub detail: String,
    /// Seconds after which it is worth trying again.
    pub retry_after: Option<u64>,
    /// How many there are, where another number was expected.
    pub found: Option<usize>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(code.status()).expect("the table of codes has statuses of HTTP");
        Self { status, code, detail: detail.into(), retry_after: None, found: None }
    }

    /// The same, and after how many seconds it is worth trying again.
    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    pub fn not_found(detail: &str) -> Self {
        Self::new(Code::NotFound, detail)
    }

    pub fn method_not_allowed() -> Self {
        Self::new(Code::MethodNotAllowed, "This address does not take that method.")
    }

    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated, "Sign in or send an API token.")
    }

    pub fn permission_denied() -> Self {
        Self::new(Code::PermissionDenied, "You are not allowed to do this.")
    }

    pub fn throttled(seconds: u64) -> Self {
        let detail = "Too many failed attempts from this address. Wait and try again.";
        Self::new(Code::Throttled, detail).retry_after(seconds.max(1))
    }

    pub fn ca_unavailable() -> Self {
        let detail = "The agent CA cannot issue certificates right now. The server's log says why.";
        Self::new(Code::CaUnavailable, detail).retry_after(30)
    }

    /// Somebody who may change things changes too many.
    pub fn too_many_changes(wait: Duration) -> Self {
        let detail = "You are changing more than is taken in this time. Wait and try again.";
        Self::new(Code::Throttled, detail).retry_after(wait.as_secs() + 1)
    }

    /// Says nothing about whoever asks: others have come before them.
    pub fn busy_hashing() -> Self {
        Self::busy("The server is checking as many passwords as it can.").retry_after(2)
    }

    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable, "The server cannot do this right now. Its log says why.").retry_after(5)
    }

    /// Too many want the same at this moment.
    pub fn busy(detail: &str) -> Self {
        Self::new(Code::Busy, detail).retry_after(5)
    }

    /// More is asked for than can be answered in time.
    pub fn overloaded() -> Self {
        Self::busy("More is asked of the server than it can answer in time.").retry_after(2)
    }

    pub fn replica_behind(behind: &ReplicaBehind) -> Self {
        let detail = format!("It is done and in force, but the replica {} does not have it yet.", behind.url);
        Self::new(Code::ReplicaBehind, detail)
    }

    pub fn internal() -> Self {
        Self::new(Code::Internal, "The server failed. Its log says why.")
    }

    /// The answer, with a body that is there at once.
    pub fn into_bytes_response(self) -> Response<Full<Bytes>> {
        let document = ProblemDocument {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            code: self.code.as_str().to_owned(),
            detail: self.detail,
            request_id: RequestId::current().map(|request| request.to_string()),
            found: self.found,
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
        if matches!(error, Unavailable::Busy) {
            // Nothing is wrong, and a line for each would make it worse.
            return Self::overloaded();
        }
        tracing::error!(error = &error as &dyn Error, "a request could not be served");
        Self::unavailable()
    }
}

/// Failing to issue for want of a CA is the operator's matter; the caller may come back.
impl From<IssuingError> for Problem {
    fn from(error: IssuingError) -> Self {
        tracing::error!(error = &error as &dyn Error, "no certificate could be issued");
        Self::ca_unavailable()
    }
}

impl From<EnrollError> for Problem {
    fn from(error: EnrollError) -> Self {
        let code = match error {
            EnrollError::Unauthorized(_) => Code::Unauthorized,
            EnrollError::TokenUsed => Code::TokenUsed,
            EnrollError::TokenExpired => Code::TokenExpired,
            EnrollError::TokenVoided => Code::TokenVoided,
            EnrollError::SecretExhausted => Code::SecretExhausted,
            EnrollError::IdentityRevoked => return identity_revoked(),
            EnrollError::HostDecommissioned(_) => Code::HostDecommissioned,
            EnrollError::BadCsr(_) | EnrollError::KeyTaken => Code::BadCsr,
            EnrollError::Issuing(error) => return error.into(),
            EnrollError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

fn identity_revoked() -> Problem {
    let detail = "This identity, or this certificate of it, is revoked. If the host is to come back, an \
                  administrator re-enables it and it enrolls again with a token that names its agent id.";
    Problem::new(Code::IdentityRevoked, detail)
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::IdentityRevoked => identity_revoked(),
            RotateError::TooOften => Self::new(error.code(), error.to_string()).retry_after(60),
            RotateError::Issuing(error) => error.into(),
            RotateError::Unavailable(error) => error.into(),
            error => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<DescribeError> for Problem {
    fn from(error: DescribeError) -> Self {
        match error {
            DescribeError::Unavailable(error) => error.into(),
            DescribeError::Damaged(error) => {
                tracing::error!(error = &error as &dyn Error, "the agent CA cannot be described");
                Self::internal()
            }
        }
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::InvalidTtl => Code::InvalidTtl,
            TokenError::Reserved(_) => Code::InvalidAgentId,
            TokenError::TooMany(_) => Code::TooMany,
            TokenError::TagsOfAHost => Code::PermissionDenied,
            TokenError::NoTenant | TokenError::NotFound => Code::NotFound,
            TokenError::AlreadyUsed => {
                return Self {
                    status: StatusCode::CONFLICT,
                    ..Self::new(Code::TokenUsed, error.to_string())
                };
            }
            TokenError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        let code = match error {
            SecretError::InvalidMaxUses => Code::InvalidMaxUses,
            SecretError::InvalidTtl => Code::InvalidTtl,
            SecretError::NoTenant | SecretError::NotFound => Code::NotFound,
            SecretError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        match error {
            RevokeError::NotFound(_) => Self::not_found(&error.to_string()),
            RevokeError::Unavailable(error) => error.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        let code = match error {
            UserError::Taken => Code::UsernameTaken,
            UserError::InvalidUsername(_) => Code::InvalidUsername,
            UserError::InvalidPassword(_) => Code::InvalidPassword,
            UserError::MoreThanCaller => Code::PermissionDenied,
            UserError::NotFound | UserError::NoTenant => Code::NotFound,
            UserError::LastAdmin => Code::LastAdmin,
            UserError::Busy => return Self::busy_hashing(),
            UserError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        let code = match error {
            AccountError::WrongPassword => Code::WrongPassword,
            AccountError::InvalidPassword(_) => Code::InvalidPassword,
            AccountError::NoSession => Code::NotFound,
            AccountError::SignedOut => return Self::unauthenticated(),
            AccountError::Busy => return Self::busy_hashing(),
            AccountError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<ApiTokenError> for Problem {
    fn from(error: ApiTokenError) -> Self {
        let code = match error {
            ApiTokenError::NoPermissions => Code::InvalidPermissions,
            ApiTokenError::MoreThanMaker(_) => Code::PermissionDenied,
            ApiTokenError::InvalidTtl => Code::InvalidTtl,
            ApiTokenError::TooManyGenerations => Code::TooMany,
            ApiTokenError::NoTenant | ApiTokenError::NotFound => Code::NotFound,
            ApiTokenError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let code = match error {
            WebhookError::Inside => Code::InvalidUrl,
            WebhookError::NoEvents => Code::InvalidEvents,
            WebhookError::BadCa => Code::InvalidCa,
            WebhookError::TooMany => Code::TooMany,
            WebhookError::NoTenant | WebhookError::NotFound => Code::NotFound,
            WebhookError::NotAllowed => Code::PermissionDenied,
            WebhookError::NoEnvelope => Code::NoEnvelope,
            WebhookError::Envelope(error) => {
                tracing::error!(
                    error = &error as &dyn Error,
                    "the key of a webhook could not be sealed or unsealed"
                );
                return Self::internal();
            }
            WebhookError::Unavailable(error) => return error.into(),
        };
        Self::new(code, error.to_string())
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Taken => Self::new(Code::TenantTaken, error.to_string()),
            TenantError::Unavailable(error) => error.into(),
        }
    }
}

impl From<SignInError> for Problem {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => Self::new(Code::Unauthenticated, error.to_string()),
            SignInError::Busy => Self::busy_hashing(),
            SignInError::Unavailable(error) => error.into(),
        }
    }
}

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        let detail = error.to_string();
        match error {
            BatchError::SetChanged { found } => {
                Self { found: Some(found), ..Self::new(Code::SetChanged, detail) }
            }
            BatchError::TooMany => Self::new(Code::TooMany, detail),
            BatchError::Tags { .. } => Self::new(Code::InvalidTag, detail),
            BatchError::Unavailable(error) => error.into(),
        }
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        match error {
            HostError::NotFound => Self::not_found(&error.to_string()),
            HostError::Unavailable(error) => error.into(),
        }
    }
}

/// Only the local operator, who may read the log, gets to see these.
impl From<BackupError> for Problem {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Unavailable(error) => error.into(),
            BackupError::NoEnvelope => Self::new(Code::NoEnvelope, with_causes(&error)),
            _ => Self::new(Code::BackupFailed, with_causes(&error)),
        }
    }
}

impl From<RecoveryError> for Problem {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Unavailable(error) => error.into(),
            RecoveryError::NoEnvelope => Self::new(Code::NoEnvelope, with_causes(&error)),
            RecoveryError::Unknown => Self::not_found(&error.to_string()),
            _ => Self::new(Code::NotSealed, with_causes(&error)),
        }
    }
}

impl From<InitAgentCaError> for Problem {
    fn from(error: InitAgentCaError) -> Self {
        match error {
            InitAgentCaError::Unavailable(error) => error.into(),
            _ => Self::new(Code::NotCreated, with_causes(&error)),
        }
    }
}

impl From<RenewAgentCaError> for Problem {
    fn from(error: RenewAgentCaError) -> Self {
        match error {
            RenewAgentCaError::Unavailable(error) => error.into(),
            RenewAgentCaError::NoEnvelope => Self::new(Code::NoEnvelope, with_causes(&error)),
            RenewAgentCaError::NoneWaiting => Self::not_found("No intermediate waits to issue."),
            _ => Self::new(Code::NotRenewed, with_causes(&error)),
        }
    }
}

impl From<ErrandRefused> for Problem {
    fn from(error: ErrandRefused) -> Self {
        match error {
            ErrandRefused::Refused(error) => error.into(),
            _ => Self::new(Code::NotRenewed, with_causes(&error)),
        }
    }
}

impl From<RootChangeRefused> for Problem {
    fn from(error: RootChangeRefused) -> Self {
        match error {
            RootChangeRefused::Refused(error) => error.into(),
            _ => Self::new(Code::NotRenewed, with_causes(&error)),
        }
    }
}

impl From<DeclareError> for Problem {
    fn from(error: DeclareError) -> Self {
        match error {
            DeclareError::Unavailable(error) => error.into(),
            _ => Self::new(Code::NotDeclared, with_causes(&error)),
        }
    }
}

/// An error with its causes, for the local operator.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    chain(error) + "."
}
