//! The overview over the API.

use axum::extract::State;

use crate::api::overview::{
    OnlineHistoryAnswer, OnlinePoint, OverviewAnswer, ServerCertificateItem, ServerItem,
};
use crate::domain::insight::online::start_of;
use crate::http::input::extract::{AgentRead, Allowed, InTenant, Params, tenant};
use crate::http::problem::Problem;
use crate::http::{Shared, findings};

pub(crate) async fn show(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
) -> Result<axum::Json<OverviewAnswer>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let mut overview = shared.app.overview(tenant).await?;
    shared.app.note_restore_seen(&allowed.caller).await?;
    overview.warnings = findings::with_those_of_the_server(&shared, overview.warnings);
    let certificate = shared.facts.certificate().map(|certificate| ServerCertificateItem {
        not_after: certificate.facts.not_after,
        pin: certificate.facts.pin.map(|pin| pin.to_string()),
    });
    let serving = findings::serves(&shared);
    let server = ServerItem {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        serving,
        since: serving.then_some(shared.since),
        url: shared.facts.reach.address().map(|address| format!("https://{address}")),
        not_ready: shared.app.readiness().err().filter(|_| serving).map(|why| why.to_string()),
    };
    Ok(axum::Json(OverviewAnswer::new(overview, server, certificate)))
}

pub(crate) async fn online(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
) -> Result<axum::Json<OnlineHistoryAnswer>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let points = shared.app.online_over_a_week(tenant)?.into_iter().map(|(place, sample)| OnlinePoint {
        at: start_of(place),
        online: sample.online,
        total: sample.in_service,
    });
    Ok(axum::Json(OnlineHistoryAnswer { points: points.collect() }))
}
