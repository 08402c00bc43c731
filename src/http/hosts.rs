//! Hosts over the API: looked at, decommissioned, re-enabled, deleted; and the revocation of an agent.

use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Shared;
use super::extract::{AgentRead, AgentWrite, Allowed, HostWrite, Id, One, Params, tenant};
use super::page::{ListParams, Page, cursor, limit};
use super::problem::Problem;
use super::wire::{EnrollmentItem, HostEventItem, HostItem, HostList, RevokedAnswer};
use super::words::HostStatus;
use crate::app::fleet::{HostNow, HostQuery};
use crate::domain::deny::Identity;
use crate::domain::ids::HostId;
use crate::domain::spiffe::AgentId;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HostParams {
    /// The tenant to look at, for callers who see all of them.
    tenant: Option<String>,
    /// Part of a hostname, an address or an operating system, whatever the case.
    q: Option<String>,
    /// Only hosts of this status.
    status: Option<HostStatus>,
    /// Decommissioned hosts, and only those.
    decommissioned: Option<bool>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

pub(super) async fn list(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<HostParams>,
) -> Result<axum::Json<HostList>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let query = HostQuery {
        text: params.q.filter(|text| !text.is_empty()),
        online: params.status.map(|status| status == HostStatus::Online),
        decommissioned: params.decommissioned.unwrap_or(false),
        after: cursor(params.cursor.as_deref())?,
    };
    let page = shared.app.hosts(tenant, query, limit + 1).await?;
    let trust_domain = shared.app.trust_domain();
    let more = page.hosts.len() > limit;
    let next_cursor = page.hosts.get(limit - 1).filter(|_| more).map(|now| now.host.id.to_string());
    let items = page.hosts.into_iter().take(limit);
    let items = items.map(|now| HostItem::new(now, trust_domain.as_ref())).collect();
    Ok(axum::Json(HostList { items, next_cursor, total: page.total }))
}

fn item(shared: &Shared, now: HostNow) -> axum::Json<HostItem> {
    axum::Json(HostItem::new(now, shared.app.trust_domain().as_ref()))
}

pub(super) async fn show(
    One { tenant, id, .. }: One<AgentRead, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    Ok(item(&shared, shared.app.host(tenant, id)?))
}

pub(super) async fn enrollments(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<EnrollmentItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let before = cursor(params.cursor.as_deref())?;
    let enrollments = shared.app.enrollments(tenant, id, before, limit + 1)?;
    Ok(axum::Json(Page::new(enrollments, limit, |e| e.serial.to_string(), EnrollmentItem::from)))
}

pub(super) async fn events(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<HostEventItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let before = cursor(params.cursor.as_deref())?;
    let events = shared.app.host_events(tenant, id, before, limit + 1)?;
    Ok(axum::Json(Page::new(events, limit, |entry| entry.key.to_string(), HostEventItem::from)))
}

pub(super) async fn decommission(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    Ok(item(&shared, shared.app.decommission(&caller, tenant, id).await?))
}

pub(super) async fn re_enable(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    Ok(item(&shared, shared.app.re_enable(&caller, tenant, id).await?))
}

pub(super) async fn delete(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<StatusCode, Problem> {
    shared.app.delete_host(&caller, tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn revoke(
    One { caller, tenant, id: agent, .. }: One<AgentWrite, AgentId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<RevokedAnswer>, Problem> {
    let revoked = shared.app.revoke(&caller, Identity { tenant, agent }).await?;
    Ok(axum::Json(RevokedAnswer {
        agent_id: revoked.identity.agent.to_string(),
        tenant_id: revoked.identity.tenant.to_string(),
        host_id: revoked.host.to_string(),
        revoked_at: revoked.since,
        certificates_revoked: revoked.certificates,
    }))
}
