//! API tokens over the API.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::people::{ApiTokenBody, ApiTokenItem, CreatedApiToken};
use crate::app::access::api_tokens::ApiTokenOrder;
use crate::domain::ids::CredentialId;
use crate::domain::label::InvalidLabel;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{Allowed, Id, InTenant, Nothing, Params, TokenWrite, scope, tenant};
pub(crate) use crate::http::input::page::{ListParams, Page, cursor, limit};
use crate::http::problem::Problem;

pub(crate) async fn list(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<ApiTokenItem>>, Problem> {
    let scope = scope(&shared, &allowed.caller, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let tokens = shared.app.api_tokens(scope, cursor(params.cursor.as_deref())?, limit + 1)?;
    let key = |listed: &crate::app::access::api_tokens::ListedToken| listed.token.id.to_string();
    Ok(axum::Json(Page::new(tokens, limit, key, ApiTokenItem::from)))
}

pub(crate) async fn create(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    Json(body): Json<ApiTokenBody>,
) -> Result<Response, Problem> {
    let name = body.name.parse();
    let name =
        name.map_err(|error: InvalidLabel| Problem::unprocessable("invalid_name", error.to_string()))?;
    let asked = params.tenant.as_deref();
    let tenant = asked.map(|asked| tenant(&shared, &allowed.caller, Some(asked))).transpose()?;
    let permissions = body.permissions.into_iter().map(Into::into).collect();
    let order = ApiTokenOrder { name, permissions, ttl_seconds: body.ttl_seconds, tenant };
    let (listed, credential) = shared.app.create_api_token(&allowed.caller, order).await?;
    Ok((StatusCode::CREATED, axum::Json(CreatedApiToken::new(listed, &credential))).into_response())
}

pub(crate) async fn delete(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    Id(id): Id<CredentialId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<StatusCode, Problem> {
    shared.app.delete_api_token(&allowed.caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
