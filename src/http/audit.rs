//! The audit trail over the API.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::extract::{Allowed, AuditRead, Nothing, Params, scope};
use super::page::{Page, cursor, limit};
use super::problem::Problem;
use super::wire::ChainAnswer;
use crate::app::audit::AuditQuery;
use crate::domain::audit::AuditRecord;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    /// The tenant to look at, for callers who see all of them; all when left out.
    tenant: Option<String>,
    /// Only records with this text in them, whatever the case.
    q: Option<String>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    allowed: Allowed<AuditRead>,
    State(shared): State<Shared>,
    Params(params): Params<AuditParams>,
) -> Result<axum::Json<Page<AuditRecord>>, Problem> {
    // Without a tenant, those who see all tenants see what belongs to none, too.
    let tenant = scope(&shared, &allowed.caller, params.tenant.as_deref())?;
    let query = AuditQuery { tenant, text: params.q, before: cursor(params.cursor.as_deref())? };
    let page = shared.app.audit(query, limit(params.limit)?).await?;
    Ok(axum::Json(Page::of(page.records, page.next.map(|next| next.to_string()))))
}

pub(super) async fn verify(
    _: Allowed<AuditRead>,
    State(shared): State<Shared>,
    Params(Nothing {}): Params<Nothing>,
) -> Result<axum::Json<ChainAnswer>, Problem> {
    let check = shared.app.verify_audit().await?;
    Ok(axum::Json(ChainAnswer {
        records: check.records,
        intact: check.broken.is_none(),
        first_broken: check.broken.as_ref().map(|(seq, _)| *seq),
        why: check.broken.map(|(_, why)| why),
    }))
}
