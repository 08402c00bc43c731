//! Hosts, their enrollments, and the revocation of an agent's identity.

use axum::extract::State;
use serde::Deserialize;

use super::Shared;
use super::extract::{AgentRead, AgentWrite, Allowed, Id, InTenant, Params, tenant};
use super::page::{Page, cursor, limit};
use super::problem::Problem;
use super::wire::{EnrollmentItem, HostItem, RevokedAnswer};
use crate::domain::deny::Identity;
use crate::domain::ids::HostId;
use crate::domain::spiffe::AgentId;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    tenant: Option<String>,
    decommissioned: Option<bool>,
    limit: Option<i64>,
    cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrollmentParams {
    tenant: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

pub(super) async fn list(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Page<HostItem>>, Problem> {
    let tenant = tenant(&shared, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let after = cursor(params.cursor.as_deref())?;
    let trust_domain = shared.app.hierarchy()?.map(|hierarchy| hierarchy.trust_domain);
    let hosts = shared.app.hosts(tenant, params.decommissioned.unwrap_or(false), after, limit + 1)?;
    let item = |host| HostItem::new(host, trust_domain.as_ref());
    Ok(axum::Json(Page::new(hosts, limit, |now| now.host.id.to_string(), item)))
}

pub(super) async fn show(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    Params(params): Params<InTenant>,
) -> Result<axum::Json<HostItem>, Problem> {
    let tenant = tenant(&shared, params.tenant.as_deref())?;
    let trust_domain = shared.app.hierarchy()?.map(|hierarchy| hierarchy.trust_domain);
    Ok(axum::Json(HostItem::new(shared.app.host(tenant, id)?, trust_domain.as_ref())))
}

pub(super) async fn enrollments(
    _: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    Params(params): Params<EnrollmentParams>,
) -> Result<axum::Json<Page<EnrollmentItem>>, Problem> {
    let tenant = tenant(&shared, params.tenant.as_deref())?;
    let limit = limit(params.limit)?;
    let before = cursor(params.cursor.as_deref())?;
    let enrollments = shared.app.enrollments(tenant, id, before, limit + 1)?;
    Ok(axum::Json(Page::new(enrollments, limit, |e| e.serial.to_string(), EnrollmentItem::from)))
}

pub(super) async fn revoke(
    allowed: Allowed<AgentWrite>,
    State(shared): State<Shared>,
    Id(agent): Id<AgentId>,
    Params(params): Params<InTenant>,
) -> Result<axum::Json<RevokedAnswer>, Problem> {
    let tenant = tenant(&shared, params.tenant.as_deref())?;
    let revoked = shared.app.revoke(&allowed.caller, Identity { tenant, agent }).await?;
    Ok(axum::Json(RevokedAnswer {
        agent_id: revoked.identity.agent.to_string(),
        tenant_id: revoked.identity.tenant.to_string(),
        host_id: revoked.host.to_string(),
        revoked_at: revoked.since,
        certificates_revoked: revoked.certificates,
    }))
}
