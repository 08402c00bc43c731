//! The audit trail over the API.

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::audit::{AuditItem, ChainAnswer};
use crate::api::page::Page;
use crate::app::insight::audit::AuditQuery;
use crate::domain::insight::audit::{AuditOrder, Outcome};
use crate::http::Shared;
use crate::http::input::extract::{Allowed, AuditRead, Nothing, Params, scope};
use crate::http::input::page::{ListRequest, page_query};
use crate::http::problem::Problem;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditParams {
    /// The tenant to look at, for callers who see all of them; all when left out.
    tenant: Option<String>,
    /// Newest first, or oldest first as the chain grows. Default: newest.
    order: Option<AuditOrder>,
    /// Only records with this text in one of their words or names, whatever the case.
    q: Option<String>,
    /// Only this actor's, as records name it.
    actor: Option<String>,
    /// Only this action, as records name it.
    action: Option<String>,
    /// Only what came out like this.
    outcome: Option<Outcome>,
    /// Only records from this moment on (RFC 3339).
    from: Option<Timestamp>,
    /// Only records before this moment (RFC 3339).
    until: Option<Timestamp>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

page_query!(AuditParams);

pub(crate) async fn list(
    allowed: Allowed<AuditRead>,
    State(shared): State<Shared>,
    ListRequest { query: params, after, limit }: ListRequest<u64, AuditParams>,
) -> Result<axum::Json<Page<AuditItem>>, Problem> {
    // Without a tenant, those who see all tenants see what belongs to none, too.
    let tenant = scope(&shared, &allowed.caller, params.tenant.as_deref())?;
    let query = AuditQuery {
        tenant,
        text: params.q,
        actor: params.actor,
        action: params.action,
        outcome: params.outcome,
        from: params.from,
        until: params.until,
        order: params.order.unwrap_or_default(),
        behind: after,
    };
    let page = shared.app.audit(query, limit).await?;
    let sees_all = allowed.caller.tenant().is_none();
    let items = page.records.into_iter().map(|found| AuditItem::new(found, sees_all)).collect();
    Ok(axum::Json(Page { items, next_cursor: page.next.map(|next| next.to_string()) }))
}

pub(crate) async fn verify(
    allowed: Allowed<AuditRead>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<ChainAnswer>, Problem> {
    let tenant = scope(&shared, &allowed.caller, None)?;
    let check = shared.app.verify_audit(tenant).await?;
    Ok(axum::Json(ChainAnswer {
        records: check.records,
        intact: check.broken.is_none(),
        first_broken: check.broken.as_ref().and_then(|broken| broken.at),
        why: check.broken.map(|broken| broken.why),
    }))
}
