//! Join tokens over the API.

use axum::extract::State;

use crate::api::credentials::{MintBody, MintWarning, MintedToken, TokenItem};
use crate::api::page::Page;
use crate::app::issue::tokens::TokenOrder;
use crate::domain::code::Code;
use crate::domain::ids::CredentialId;
use crate::http::Shared;
use crate::http::input::body::{OptionalJson, tags, text};
use crate::http::input::extract::{AgentWrite, Allowed, InTenant, One, Params, tenant};
use crate::http::input::page::ListRequest;
use crate::http::problem::Problem;
use crate::http::reply::Created;

pub(crate) async fn mint(
    allowed: Allowed<AgentWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    OptionalJson(body): OptionalJson<MintBody>,
) -> Result<Created<MintedToken>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let agent = body.agent_id.map(|id| text(Code::InvalidAgentId, &id)).transpose()?;
    let name = body.name.map(|name| text(Code::InvalidName, &name)).transpose()?;
    let order = TokenOrder { agent, name, ttl_seconds: body.ttl_seconds, tags: tags(&body.tags)? };
    let (token, credential) = shared.app.mint_token(&allowed.caller, tenant, order).await?;
    let warning = match &token.agent {
        Some(agent) if shared.app.is_revoked(tenant, agent)? => Some(MintWarning::identity_revoked(agent)),
        _ => None,
    };
    let now = shared.app.clock.now();
    let minted = MintedToken::new(&token, &credential, now, &shared.facts, warning);
    Ok(Created(minted))
}

pub(crate) async fn list(
    allowed: Allowed<AgentWrite>,
    State(shared): State<Shared>,
    listing: ListRequest<CredentialId>,
) -> Result<axum::Json<Page<TokenItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let tokens = shared.app.tokens(tenant, listing.after, listing.rows()).await?;
    let now = shared.app.clock.now();
    Ok(listing.page(tokens, |t| t.id, |t| TokenItem::new(&t, now)))
}

pub(crate) async fn void(
    One { caller, tenant, id, .. }: One<AgentWrite, CredentialId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<TokenItem>, Problem> {
    let token = shared.app.void_token(&caller, tenant, id).await?;
    Ok(axum::Json(TokenItem::new(&token, shared.app.clock.now())))
}
