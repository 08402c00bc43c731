//! Figures for Prometheus, for loopback and API tokens only.

use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Shared;
use super::extract::{ClientAddress, Known};
use super::problem::Problem;
use crate::app::caller::Caller;

/// Proof that the caller is on this machine or holds an API token.
#[derive(Debug)]
pub(super) struct MayMeasure;

impl FromRequestParts<Shared> for MayMeasure {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, shared).await?;
        if address.is_none_or(|address| address.is_loopback()) {
            return Ok(Self);
        }
        match Known::from_request_parts(parts, shared).await {
            // The figures are the whole deployment's, so a token of one tenant does not see them.
            Ok(Known(caller @ (Caller::Token(_) | Caller::Local { .. }))) if caller.tenant().is_none() => {
                Ok(Self)
            }
            _ => Err(Problem::permission_denied()),
        }
    }
}

pub(super) async fn show(_: MayMeasure, State(shared): State<Shared>) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("muster");
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let (hosts, online) = shared.app.fleet().totals();
    let (serials, identities) = shared.app.denied();
    gauge("hosts", "Hosts that are not decommissioned", hosts);
    gauge("hosts_online", "Hosts that have reported lately", online);
    gauge("denied_serials", "Revoked certificates that have not expired", serials);
    gauge("denied_identities", "Revoked identities", identities);
    gauge("ready", "Whether enrollments can be taken", usize::from(shared.app.can_enroll()));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|_| Problem::internal())?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
