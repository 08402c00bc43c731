//! Figures for Prometheus, for loopback and API tokens only.

use axum::extract::{FromRequestParts, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Shared;
use super::extract::{ClientAddress, Known};
use super::problem::Problem;
use crate::app::caller::Caller;
use crate::app::figures::Figures;
use crate::domain::audit::Outcome;

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

/// The labels of a counted audit record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuditLabels {
    action: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

pub(super) async fn show(_: MayMeasure, State(shared): State<Shared>) -> Result<Response, Problem> {
    let figures = shared.app.figures().await?;
    let certificate = shared.facts.certificate.as_ref().map(|certificate| certificate.current());
    let mut text = String::new();
    encode(&mut text, &registry(&figures, certificate.map(|certificate| certificate.not_after())))
        .map_err(|_| Problem::internal())?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// All figures, under the names that they have for good.
fn registry(figures: &Figures, certificate_until: Option<Timestamp>) -> Registry {
    let mut registry = Registry::with_prefix("muster");
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauge("hosts", "Hosts that are not decommissioned", number(figures.hosts));
    gauge("hosts_online", "Hosts that have reported lately", number(figures.online));
    gauge("possible_clones", "Hosts whose identity may be in use twice", number(figures.possible_clones));
    gauge("denied_serials", "Revoked certificates that may not have expired", number(figures.denied_serials));
    gauge("denied_identities", "Revoked identities", number(figures.denied_identities));
    gauge("ready", "Whether enrollments can be taken", i64::from(figures.ready));
    // When what must be renewed in time runs out; seconds since the epoch, to compare with time().
    let (root, intermediate) =
        figures.agent_ca.as_ref().map_or((None, None), |ca| (ca.root, ca.intermediate));
    for (name, help, until) in [
        ("agent_ca_root_not_after_seconds", "When the agent CA's root expires", root),
        ("agent_ca_intermediate_not_after_seconds", "When the agent CA's intermediate expires", intermediate),
        ("server_certificate_not_after_seconds", "When the server's certificate expires", certificate_until),
    ] {
        if let Some(until) = until {
            gauge(name, help, until.as_second());
        }
    }
    let audited = Family::<AuditLabels, Counter>::default();
    for (kind, count) in &figures.audited {
        let labels = AuditLabels {
            action: kind.action,
            outcome: match kind.outcome {
                Outcome::Success => "success",
                Outcome::Refused => "refused",
            },
            reason: kind.reason.unwrap_or_default(),
        };
        audited.get_or_create(&labels).inc_by(*count);
    }
    registry.register(
        "audit_records",
        "What the audit trail got since the start: enrollments, rotations, revocations, refusals, clones",
        audited,
    );
    registry
}
