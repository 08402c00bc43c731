//! Whether the process lives, and whether it can do its work.

use axum::extract::State;

use super::Shared;
use super::problem::Problem;
use super::wire::HealthAnswer;

/// Answers as long as the process can answer at all.
pub(super) async fn live() -> axum::Json<HealthAnswer> {
    axum::Json(HealthAnswer { status: "ok" })
}

/// Answers `200` while the store takes writes, the agent CA can issue and nobody has asked for an end.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<axum::Json<HealthAnswer>, Problem> {
    if !shared.ending.is_cancelled() && shared.app.can_enroll() {
        Ok(axum::Json(HealthAnswer { status: "ready" }))
    } else {
        Err(Problem::unavailable())
    }
}
