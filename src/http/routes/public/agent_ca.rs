//! The agent CA, for whoever wants to verify agents.

use axum::extract::State;
use axum::http::HeaderMap;

use crate::api::authority::{AgentCaAnswer, BundleAnswer, CaCertificateItem};
use crate::app::keep::agent_ca::CertificateSummary;
use crate::http::Shared;
use crate::http::input::extract::{AgentRead, Allowed, Nothing, Params};
use crate::http::problem::Problem;
use crate::http::reply::{Cached, Crl, JsonOf, Media, Pem};

fn missing() -> Problem {
    Problem::not_found("There is no agent CA yet. Create it with 'muster agent-ca init'.")
}

pub(crate) async fn bundle(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Media<Cached<Pem>>, Problem> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.bundle.as_ref().ok_or_else(missing)?.answer(&headers)))
}

/// The CRL, DER (RFC 5280 5).
pub(crate) async fn crl(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Media<Cached<Crl>>, Problem> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.crl.as_ref().ok_or_else(Problem::ca_unavailable)?.answer(&headers)))
}

/// The trust bundle as SPIFFE implementations fetch it.
pub(crate) async fn spiffe_bundle(
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Media<Cached<JsonOf<BundleAnswer>>>, Problem> {
    let documents = shared.trust_documents().await;
    Ok(Media::new(documents.spiffe_bundle.as_ref().ok_or_else(missing)?.answer(&headers)))
}

impl From<CertificateSummary> for CaCertificateItem {
    fn from(summary: CertificateSummary) -> Self {
        Self {
            role: summary.role.as_str().into(),
            subject: summary.subject,
            serial: summary.serial,
            not_before: summary.not_before,
            not_after: summary.not_after,
            sha256: summary.fingerprint,
        }
    }
}

pub(crate) async fn show(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<AgentCaAnswer>, Problem> {
    let (trust_domain, summaries) = shared.app.agent_ca()?.ok_or_else(missing)?;
    Ok(axum::Json(AgentCaAnswer {
        trust_domain: trust_domain.to_string(),
        certificates: summaries.into_iter().map(CaCertificateItem::from).collect(),
        server_pin: shared.facts.server_pin().map(|pin| pin.to_string()),
    }))
}
