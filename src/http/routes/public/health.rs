//! Whether the process lives, and whether it can do its work.

use axum::extract::State;

use crate::api::health::HealthAnswer;
use crate::http::Shared;
use crate::http::problem::Problem;

/// Answers as long as the process can answer at all.
pub(crate) async fn live() -> axum::Json<HealthAnswer> {
    axum::Json(HealthAnswer { status: "ok".into() })
}

/// Answers `200` exactly while an enrollment that arrives now would be answered with a certificate, and otherwise says
/// what stands in the way.
pub(crate) async fn ready(State(shared): State<Shared>) -> Result<axum::Json<HealthAnswer>, Problem> {
    let because = |detail: String| Problem { detail, ..Problem::unavailable() };
    if shared.ending.is_cancelled() {
        return Err(because("The server is stopping.".to_owned()));
    }
    shared.app.readiness().map_err(|why| because(why.to_string()))?;
    Ok(axum::Json(HealthAnswer { status: "ready".into() }))
}
