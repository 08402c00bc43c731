//! The agent CA, for whoever wants to verify agents.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use data_encoding::{BASE64, BASE64URL_NOPAD};

use super::Shared;
use super::extract::{AgentRead, Allowed, Nothing, Params};
use super::problem::Problem;
use super::wire::{AgentCaAnswer, BundleAnswer, BundleKeyItem, CaCertificate};
use crate::app::agent_ca::{BundleKey, CertificateSummary};

fn missing() -> Problem {
    Problem::not_found("There is no agent CA yet. Create it with 'muster agent-ca init'.")
}

pub(super) async fn bundle(State(shared): State<Shared>) -> Result<Response, Problem> {
    let bundle = shared.app.trust_bundle()?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], bundle).into_response())
}

/// The CRL, DER (RFC 5280 5).
pub(super) async fn crl(State(shared): State<Shared>) -> Result<Response, Problem> {
    let list = shared.app.revocation_list().await?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], list).into_response())
}

/// The trust bundle as SPIFFE implementations fetch it.
pub(super) async fn spiffe_bundle(State(shared): State<Shared>) -> Result<axum::Json<BundleAnswer>, Problem> {
    let keys = shared.app.bundle_keys()?.ok_or_else(missing)?;
    let key = |key: BundleKey| BundleKeyItem {
        r#use: "x509-svid",
        kty: "EC",
        crv: "P-256",
        x: BASE64URL_NOPAD.encode(&key.x),
        y: BASE64URL_NOPAD.encode(&key.y),
        x5c: vec![BASE64.encode(&key.certificate)],
    };
    Ok(axum::Json(BundleAnswer {
        keys: keys.into_iter().map(key).collect(),
        spiffe_sequence: 1,
        spiffe_refresh_hint: 300,
    }))
}

impl From<CertificateSummary> for CaCertificate {
    fn from(summary: CertificateSummary) -> Self {
        Self {
            role: summary.role.as_str(),
            subject: summary.subject,
            serial: summary.serial,
            not_before: summary.not_before,
            not_after: summary.not_after,
            sha256: summary.fingerprint,
        }
    }
}

pub(super) async fn show(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<AgentCaAnswer>, Problem> {
    let (trust_domain, summaries) = shared.app.agent_ca()?.ok_or_else(missing)?;
    let server_pin = shared.facts.server_pin();
    Ok(axum::Json(AgentCaAnswer {
        trust_domain: trust_domain.to_string(),
        certificates: summaries.into_iter().map(CaCertificate::from).collect(),
        server_pin,
    }))
}
