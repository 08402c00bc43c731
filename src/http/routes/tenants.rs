//! Tenants over the API.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::people::{TenantBody, TenantItem};
use crate::domain::label::InvalidLabel;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{AgentRead, Allowed, Nothing, Params, TenantWrite};
pub(crate) use crate::http::input::page::{Page, PageParams, cursor, limit};
use crate::http::problem::Problem;

pub(crate) async fn list(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<Page<TenantItem>>, Problem> {
    let limit = limit(params.limit)?;
    let tenants = shared.app.tenants(&allowed.caller, cursor(params.cursor.as_deref())?, limit + 1)?;
    Ok(axum::Json(Page::new(tenants, limit, |tenant| tenant.id.to_string(), TenantItem::from)))
}

pub(crate) async fn create(
    allowed: Allowed<TenantWrite>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<TenantBody>,
) -> Result<Response, Problem> {
    let name = body.name.parse();
    let name =
        name.map_err(|error: InvalidLabel| Problem::unprocessable("invalid_name", error.to_string()))?;
    let tenant = shared.app.create_tenant(&allowed.caller, name).await?;
    Ok((StatusCode::CREATED, axum::Json(TenantItem::from(tenant))).into_response())
}
