//! The overview over the API.

use axum::extract::State;

use super::Shared;
use super::extract::{AgentRead, Allowed, InTenant, Params, tenant};
use super::problem::Problem;
use super::wire::{OverviewAnswer, ServerCertificateItem};
use crate::domain::finding::{Finding, ranked};

pub(super) async fn show(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
) -> Result<axum::Json<OverviewAnswer>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let mut overview = shared.app.overview(tenant).await?;
    let certificate = shared.facts.certificate.as_ref().map(|certificate| certificate.current());
    let expiry = certificate.as_ref().and_then(|certificate| {
        let (code, what) = ("server_certificate_expiry", "The server's certificate");
        let hint = "Renew it with: muster gen-cert, or put a new one in its place.";
        Finding::expiry(code, what, certificate.not_after(), shared.app.clock().now(), hint)
    });
    if let Some(expiry) = expiry {
        overview.warnings = ranked(overview.warnings.into_iter().chain([expiry]).collect());
    }
    let certificate = certificate.map(|certificate| ServerCertificateItem {
        not_after: certificate.not_after(),
        pin: certificate.pin().map(str::to_owned),
    });
    Ok(axum::Json(OverviewAnswer::new(overview, certificate)))
}
