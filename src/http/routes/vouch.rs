//! Vouching for agents, for relying parties that have no agent beside them: asked with the certificate in a body, or by a
//! proxy that passes it on in a header.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::vouch::{VouchBody, VouchedAnswer};
use crate::app::issue::vouch::{LiveAgent, VouchError};
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{AgentVouch, Allowed, Nothing, Params};
use crate::http::openapi::describe::Input;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;
use crate::http::reply::NoContent;
use crate::vouch::certificate_header::CertificateHeader;
use crate::vouch::identity_headers::identity_headers;
use crate::vouch::narrowed::Narrowed;
use crate::vouch::refusal::NotVouched;

/// The usual header of a client's certificate.
const HEADER: CertificateHeader = CertificateHeader::ClientCert;

/// The parameters of a proxy's question, as the document shows them.
#[derive(Debug, Deserialize, JsonSchema)]
#[expect(dead_code, reason = "describes what `Narrowed` reads, which takes a parameter more than once")]
pub(crate) struct ForwardAuthParams {
    /// The tenant whose agents are let in, for callers who see all of them; `default` when left out.
    tenant: Option<String>,
    /// What the host must have; given several times, all of them.
    tag: Option<String>,
    /// The header in which the proxy passes its client's certificate on: `X-Client-Cert` (taken when nothing is said),
    /// `X-SSL-Client-Cert`, `X-Forwarded-Tls-Client-Cert` or `X-Forwarded-Client-Cert`.
    header: Option<String>,
}

/// The question of a proxy.
#[derive(Debug)]
pub(crate) struct Question(Narrowed);

impl FromRequestParts<Shared> for Question {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        Narrowed::parse(query, HEADER).map(Self).map_err(|error| NotVouched::from(error).into())
    }
}

impl Input for Question {
    fn describe(operation: &mut Operation) {
        operation.query::<ForwardAuthParams>();
        operation.forbids_only();
    }
}

pub(crate) async fn vouch(
    Allowed { caller, .. }: Allowed<AgentVouch>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<VouchBody>,
) -> Result<axum::Json<VouchedAnswer>, Problem> {
    let vouched = shared.app.vouch(&caller, &body.certificate, body.tenant.as_deref(), &[]);
    Ok(axum::Json(vouched?.into()))
}

/// `204` with who it is in headers, or `403`: what proxies take for yes and no.
pub(crate) async fn forward_auth(
    Allowed { caller, .. }: Allowed<AgentVouch>,
    State(shared): State<Shared>,
    Question(narrowed): Question,
    headers: HeaderMap,
) -> Result<(HeaderMap, NoContent), Problem> {
    let values = |name: &'static str| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let certificate = narrowed.header.value(values).map_err(NotVouched::from)?;
    let vouched = shared.app.vouch(&caller, certificate, narrowed.tenant.as_deref(), &narrowed.tags);
    let vouched = vouched.map_err(refused_by_proxy)?;
    let mut told = HeaderMap::new();
    for (name, value) in identity_headers(&vouched.id, vouched.serial) {
        if let Ok(value) = HeaderValue::try_from(value) {
            told.insert(name, value);
        }
    }
    Ok((told, NoContent))
}

/// Proxies take 403 for a no and other statuses for a fault of theirs, also where the server is at fault.
fn refused_by_proxy(error: VouchError) -> NotVouched {
    match error {
        VouchError::Refused(refusal) => refusal,
        VouchError::Unavailable(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "nobody can be vouched for");
            NotVouched::Unknowing("the registry can't be read; the server's log says why".into())
        }
    }
}

impl From<LiveAgent> for VouchedAnswer {
    fn from(LiveAgent { id, host, serial, not_after, tags }: LiveAgent) -> Self {
        Self {
            spiffe_id: id.to_string(),
            agent_id: id.agent.to_string(),
            host_id: host.to_string(),
            tenant_id: id.tenant.to_string(),
            serial: serial.to_string(),
            not_after,
            tags: tags.into_iter().map(|tag| tag.to_string()).collect(),
        }
    }
}

impl From<NotVouched> for Problem {
    fn from(refusal: NotVouched) -> Self {
        // Proxies understand 403, whatever the code's own status.
        Self { status: StatusCode::FORBIDDEN, ..Self::new(refusal.code(), refusal.to_string()) }
    }
}

impl From<VouchError> for Problem {
    fn from(error: VouchError) -> Self {
        match error {
            VouchError::Refused(refusal) => refusal.into(),
            VouchError::Unavailable(error) => error.into(),
        }
    }
}
