//! The agent CA, for whoever wants to verify agents.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::extract::{AgentRead, Allowed};
use super::problem::Problem;
use super::wire::{AgentCaAnswer, CaCertificate};

fn missing() -> Problem {
    Problem::not_found("There is no agent CA yet. Create it with 'muster agent-ca init'.")
}

pub(super) async fn bundle(State(shared): State<Shared>) -> Result<Response, Problem> {
    let bundle = shared.app.trust_bundle()?.ok_or_else(missing)?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], bundle).into_response())
}

pub(super) async fn show(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
) -> Result<axum::Json<AgentCaAnswer>, Problem> {
    let (trust_domain, summaries) = shared.app.agent_ca()?.ok_or_else(missing)?;
    let certificates = summaries.into_iter().map(|summary| CaCertificate {
        role: summary.role.as_str(),
        subject: summary.subject,
        serial: summary.serial,
        not_before: summary.not_before,
        not_after: summary.not_after,
        sha256: summary.fingerprint,
    });
    let server_pin = shared.facts.server_pin();
    Ok(axum::Json(AgentCaAnswer {
        trust_domain: trust_domain.to_string(),
        certificates: certificates.collect(),
        server_pin,
    }))
}
