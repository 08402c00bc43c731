//! Enrollment secrets over the API.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::credentials::{CreatedSecret, SecretBody, SecretItem};
use crate::api::page::Page;
use crate::app::issue::secrets::SecretOrder;
use crate::domain::code::Code;
use crate::domain::enroll::enrollment_secret::FROM_MAX;
use crate::domain::ids::CredentialId;
use crate::domain::network::networks::Networks;
use crate::domain::replicas::Synchronous;
use crate::http::Shared;
use crate::http::input::body::{Json, tags, text};
use crate::http::input::extract::{Allowed, InTenant, One, Params, SecretWrite, tenant};
use crate::http::input::page::{ListRequest, page_query};
use crate::http::problem::Problem;
use crate::http::reply::Created;

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

page_query!(SecretParams);

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
) -> Result<Created<CreatedSecret>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let name = text(Code::InvalidName, &body.name)?;
    let tags = tags(&body.tags)?;
    let from: Networks = text(Code::InvalidNetwork, &body.from.join(","))?;
    if from.len() > FROM_MAX || from.len() != body.from.len() {
        return Err(Problem::new(
            Code::InvalidNetwork,
            "a secret names at most 32 networks, one in each entry",
        ));
    }
    let order = SecretOrder { name, max_uses: body.max_uses, ttl_seconds: body.ttl_seconds, tags, from };
    let (secret, credential) = shared.app.create_secret(&allowed.caller, tenant, order).await?;
    Ok(Created(CreatedSecret::new(&secret, &credential)))
}

pub(crate) async fn list(
    allowed: Allowed<SecretWrite>,
    State(shared): State<Shared>,
    listing: ListRequest<CredentialId, SecretParams>,
) -> Result<axum::Json<Page<SecretItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let revoked = listing.query.state.map(|state| state == ListState::Revoked);
    let secrets = shared.app.secrets(tenant, revoked, listing.after, listing.rows()).await?;
    Ok(listing.page(secrets, |s| s.id, |s| SecretItem::from(&s)))
}

pub(crate) async fn revoke(
    One { caller, tenant, id, .. }: One<SecretWrite, CredentialId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<SecretItem>, Problem> {
    let secret = shared.app.revoke_secret(&caller, tenant, id).await?;
    shared.replicated(Synchronous::Revocations).await?;
    Ok(axum::Json(SecretItem::from(&secret)))
}
