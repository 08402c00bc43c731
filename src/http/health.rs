//! Whether the process lives, and whether it can do its work.

use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::problem::Problem;

/// Answers as long as the process can answer at all.
pub(super) async fn live() -> Response {
    axum::Json(serde_json::json!({ "status": "ok" })).into_response()
}

/// Answers `200` while the store takes writes, the agent CA can issue and nobody has asked for an end.
pub(super) async fn ready(State(shared): State<Shared>) -> Result<Response, Problem> {
    let serving = shared.ready.load(Ordering::Acquire);
    if serving && shared.app.can_enroll() {
        Ok(axum::Json(serde_json::json!({ "status": "ready" })).into_response())
    } else {
        Err(Problem::unavailable())
    }
}
