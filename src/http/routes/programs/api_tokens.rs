//! API tokens over the API.

use axum::extract::State;

use crate::api::page::Page;
use crate::api::people::{ApiTokenBody, ApiTokenItem, CreatedApiToken};
use crate::app::access::api_tokens::ApiTokenOrder;
use crate::domain::code::Code;
use crate::domain::ids::CredentialId;
use crate::http::Shared;
use crate::http::input::body::{Json, text};
use crate::http::input::extract::{Allowed, Id, InTenant, Nothing, Params, TokenWrite, scope, tenant};
use crate::http::input::page::ListRequest;
use crate::http::problem::Problem;
use crate::http::reply::{Created, NoContent};

pub(crate) async fn list(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    listing: ListRequest<CredentialId>,
) -> Result<axum::Json<Page<ApiTokenItem>>, Problem> {
    let scope = scope(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let tokens = shared.app.api_tokens(scope, listing.after, listing.rows())?;
    Ok(listing.page(tokens, |listed| listed.token.id, ApiTokenItem::from))
}

pub(crate) async fn create(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    Json(body): Json<ApiTokenBody>,
) -> Result<Created<CreatedApiToken>, Problem> {
    let name = text(Code::InvalidName, &body.name)?;
    let asked = params.tenant.as_deref();
    let tenant = asked.map(|asked| tenant(&shared, &allowed.caller, Some(asked))).transpose()?;
    let permissions = body.permissions.into_iter().collect();
    let order = ApiTokenOrder { name, permissions, ttl_seconds: body.ttl_seconds, tenant };
    let (listed, credential) = shared.app.create_api_token(&allowed.caller, order).await?;
    Ok(Created(CreatedApiToken::new(listed, &credential)))
}

pub(crate) async fn delete(
    allowed: Allowed<TokenWrite>,
    State(shared): State<Shared>,
    Id(id): Id<CredentialId>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<NoContent, Problem> {
    shared.app.delete_api_token(&allowed.caller, id).await?;
    Ok(NoContent)
}
