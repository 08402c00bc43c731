//! Enrollment secrets over the API.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::credentials::{CreatedSecret, SecretBody, SecretItem};
use crate::app::issue::secrets::SecretOrder;
use crate::domain::ids::CredentialId;
use crate::domain::label::InvalidLabel;
use crate::http::Shared;
use crate::http::input::body::Json;
use crate::http::input::extract::{Allowed, InTenant, One, Params, SecretWrite, tenant};
pub(crate) use crate::http::input::page::{Page, cursor, limit};
use crate::http::problem::Problem;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretParams {
    /// The tenant to look at, for callers who see all of them.
    tenant: Option<String>,
    /// Only one side; both when left out.
    state: Option<ListState>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ListState {
    Active,
    Revoked,
}

pub(crate) async fn create(
    allowed: Allowed<SecretWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    Json(body): Json<SecretBody>,
) -> Result<Response, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let name = body.name.parse();
    let name =
        name.map_err(|error: InvalidLabel| Problem::unprocessable("invalid_name", error.to_string()))?;
    let order = SecretOrder { name, max_uses: body.max_uses, ttl_seconds: body.ttl_seconds };
    let (secret, credential) = shared.app.create_secret(&allowed.caller, tenant, order).await?;
    Ok((StatusCode::CREATED, axum::Json(CreatedSecret::new(&secret, &credential))).into_response())
}

pub(crate) async fn list(
    allowed: Allowed<SecretWrite>,
    State(shared): State<Shared>,
    Params(params): Params<SecretParams>,
) -> Result<axum::Json<Page<SecretItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let revoked = params.state.map(|state| state == ListState::Revoked);
    let secrets = shared.app.secrets(tenant, revoked, cursor(params.cursor.as_deref())?, limit + 1).await?;
    Ok(axum::Json(Page::new(secrets, limit, |s| s.id.to_string(), |s| SecretItem::from(&s))))
}

pub(crate) async fn revoke(
    One { caller, tenant, id, .. }: One<SecretWrite, CredentialId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<SecretItem>, Problem> {
    let secret = shared.app.revoke_secret(&caller, tenant, id).await?;
    Ok(axum::Json(SecretItem::from(&secret)))
}
