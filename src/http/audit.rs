//! The audit trail over the API.

use axum::extract::State;
use serde::Deserialize;

use super::Shared;
use super::extract::{Allowed, AuditRead, Params, tenant};
use super::page::{Page, cursor, limit};
use super::problem::Problem;
use super::wire::ChainAnswer;
use crate::app::audit::AuditQuery;
use crate::domain::audit::AuditRecord;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    tenant: Option<String>,
    q: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

pub(super) async fn list(
    _: Allowed<AuditRead>,
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<AuditRecord>>, Problem> {
    let asked = params.tenant.as_deref();
    // Without a tenant, those who see all tenants see what belongs to none, too.
    let tenant = asked.map(|asked| tenant(&shared, Some(asked))).transpose()?;
    let query = AuditQuery { tenant, text: params.q, before: cursor(params.cursor.as_deref())? };
    let page = shared.app.audit(query, limit(params.limit)?).await?;
    Ok(axum::Json(Page::of(page.records, page.next.map(|next| next.to_string()))))
}

pub(super) async fn verify(
    _: Allowed<AuditRead>,
    State(shared): State<Shared>,
) -> Result<axum::Json<ChainAnswer>, Problem> {
    let check = shared.app.verify_audit().await?;
    Ok(axum::Json(ChainAnswer {
        records: check.records,
        intact: check.broken.is_none(),
        first_broken: check.broken.map(|(seq, _)| seq),
        why: check.broken.map(|(_, why)| why),
    }))
}
