//! Tenants over the API.

use axum::extract::State;

use crate::api::page::Page;
use crate::api::people::{TenantBody, TenantItem};
use crate::domain::code::Code;
use crate::domain::ids::TenantId;
use crate::http::Shared;
use crate::http::input::body::{Json, text};
use crate::http::input::extract::{AgentRead, Allowed, Nothing, Params, TenantWrite};
use crate::http::input::page::{ListRequest, PageParams};
use crate::http::problem::Problem;
use crate::http::reply::Created;

pub(crate) async fn list(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    listing: ListRequest<TenantId, PageParams>,
) -> Result<axum::Json<Page<TenantItem>>, Problem> {
    let tenants = shared.app.tenants(&allowed.caller, listing.after, listing.rows())?;
    Ok(listing.page(tenants, |tenant| tenant.id, TenantItem::from))
}

pub(crate) async fn create(
    allowed: Allowed<TenantWrite>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
    Json(body): Json<TenantBody>,
) -> Result<Created<TenantItem>, Problem> {
    let name = text(Code::InvalidName, &body.name)?;
    let tenant = shared.app.create_tenant(&allowed.caller, name).await?;
    Ok(Created(TenantItem::from(tenant)))
}
