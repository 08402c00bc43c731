//! The questions of relying parties over HTTP: in a body, or from a proxy in a header.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, Limited};
use serde::Serialize;
use tokio::time::timeout;

use crate::agent::relying_party::ext_authz::ExtAuthz;
use crate::agent::relying_party::proto::authorization_server::AuthorizationServer;
use crate::agent::relying_party::voucher::Voucher;
use crate::api::problem::ProblemDocument;
use crate::api::vouch::{VouchBody, VouchedByAgentAnswer};
use crate::domain::code::Code;
use crate::vouch::identity_headers::identity_headers;
use crate::vouch::issuers::VerifiedSvid;
use crate::vouch::narrowed::Narrowed;
use crate::vouch::refusal::NotVouched;

/// Largest body: a certificate with its chain has a tenth of it.
const BODY_MAX: usize = 64 * 1024;
/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// Largest message of Envoy's, which may hold a request's headers beside the certificate.
const CHECK_BYTES_MAX: usize = 256 * 1024;

/// Whole seconds since the server last confirmed what the agent knows.
pub(crate) const TRUST_AGE: HeaderName = HeaderName::from_static("x-muster-trust-age");

/// Everything that relying parties on this machine may ask.
pub(crate) fn router(voucher: Voucher) -> Router {
    let check = AuthorizationServer::new(ExtAuthz::new(voucher.clone()));
    let check = check.max_decoding_message_size(CHECK_BYTES_MAX);
    Router::new()
        .route("/v1/vouch", post(vouch))
        .route("/v1/forward-auth", get(forward_auth))
        .route_service("/envoy.service.auth.v3.Authorization/{method}", check)
        .fallback(async || {
            problem(StatusCode::NOT_FOUND, Code::NotFound, "There is nothing at this address.")
        })
        .method_not_allowed_fallback(async || {
            let text = "This address does not take that method.";
            problem(StatusCode::METHOD_NOT_ALLOWED, Code::MethodNotAllowed, text)
        })
        .with_state(voucher)
}

async fn vouch(State(voucher): State<Voucher>, request: Request<Body>) -> Response {
    if request.uri().query().is_some() {
        let text =
            "This address takes no parameters: the tenant is named in the body, and agents know no tags.";
        return problem(StatusCode::BAD_REQUEST, Code::BadRequest, text);
    }
    let answer = match read(request.into_body()).await {
        Ok(body) => voucher.ask(&body.certificate, body.tenant.as_deref(), &[]),
        Err(refusal) => return *refusal,
    };
    let answer = match answer {
        Ok(verified) => axum::Json(VouchedByAgentAnswer::from(&*verified)).into_response(),
        Err(refusal) => refused(&refusal),
    };
    with_age(&voucher, answer)
}

async fn forward_auth(State(voucher): State<Voucher>, uri: Uri, headers: HeaderMap) -> Response {
    let answer = match forwarded(&voucher, &uri, &headers) {
        Ok(verified) => {
            let mut answer = StatusCode::NO_CONTENT.into_response();
            for (name, value) in identity_headers(&verified.svid.spiffe_id, verified.svid.serial) {
                if let Ok(value) = HeaderValue::try_from(value) {
                    answer.headers_mut().insert(name, value);
                }
            }
            answer
        }
        Err(refusal) => refused(&refusal),
    };
    with_age(&voucher, answer)
}

fn forwarded(
    voucher: &Voucher,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<std::sync::Arc<VerifiedSvid>, NotVouched> {
    let narrowed = Narrowed::parse(uri.query().unwrap_or_default(), voucher.usual_header())?;
    let values = |name: &'static str| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let certificate = narrowed.header.value(values)?;
    voucher.ask(certificate, narrowed.tenant.as_deref(), &narrowed.tags)
}

/// A body of the server's shape, whatever its media type says.
async fn read(body: Body) -> Result<VouchBody, Box<Response>> {
    let refused = |status, code, text: &str| Box::new(problem(status, code, text));
    let collected = timeout(BODY_WITHIN, Limited::new(body, BODY_MAX).collect()).await;
    let collected = collected.map_err(|_| {
        refused(StatusCode::REQUEST_TIMEOUT, Code::Timeout, "The body took too long to arrive.")
    })?;
    let collected = collected.map_err(|_| {
        let text = "The body is larger than 64 KiB, or broke off.";
        refused(StatusCode::PAYLOAD_TOO_LARGE, Code::PayloadTooLarge, text)
    })?;
    serde_json::from_slice(&collected.to_bytes()).map_err(|_| {
        let text = "The body is not JSON with 'certificate' and, if need be, 'tenant'.";
        refused(StatusCode::BAD_REQUEST, Code::BadRequest, text)
    })
}

fn refused(refusal: &NotVouched) -> Response {
    problem(StatusCode::FORBIDDEN, refusal.code(), &refusal.to_string())
}

fn with_age(voucher: &Voucher, mut answer: Response) -> Response {
    if let Some(age) = voucher.trust_age() {
        answer.headers_mut().insert(TRUST_AGE, age.into());
    }
    answer
}

/// A problem (RFC 9457), as the server's.
fn problem(status: StatusCode, code: Code, detail: &str) -> Response {
    let document = ProblemDocument {
        request_id: None,
        kind: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        code: code.as_str().to_owned(),
        detail: detail.to_owned(),
        found: None,
    };
    (status, [(header::CONTENT_TYPE, "application/problem+json")], json(&document)).into_response()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl From<&VerifiedSvid> for VouchedByAgentAnswer {
    fn from(VerifiedSvid { svid, .. }: &VerifiedSvid) -> Self {
        Self {
            spiffe_id: svid.spiffe_id.to_string(),
            agent_id: svid.spiffe_id.agent.to_string(),
            tenant_id: svid.spiffe_id.tenant.to_string(),
            serial: svid.serial.to_string(),
            not_after: svid.not_after,
        }
    }
}
