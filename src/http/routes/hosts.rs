//! Hosts over the API: looked at, changed one or many, decommissioned, re-enabled, deleted; and the revocation of an agent.

use std::str::FromStr;

use axum::extract::State;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::api::hosts::{
    EnrollmentItem, HostBatchAction, HostBatchAnswer, HostBatchBody, HostBatchItem, HostEventItem,
    HostFilter, HostItem, HostList, HostPatch, RevokedAnswer,
};
use crate::api::page::Page;
use crate::api::words::HostStatus;
use crate::app::insight::fleet::{HostCursor, HostOrder, HostQuery};
use crate::app::issue::hosts::HostDetail;
use crate::app::issue::hosts::batch::{BatchOf, BatchOrder, BatchOutcome};
use crate::app::issue::hosts::marks::MarksChange;
use crate::domain::code::Code;
use crate::domain::duration;
use crate::domain::host::{HostFlag, HostState};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::HostId;
use crate::domain::insight::timeline::EventKey;
use crate::domain::replicas::Synchronous;
use crate::http::Shared;
use crate::http::input::body::{Json, tags, text};
use crate::http::input::extract::{
    AgentRead, AgentWrite, Allowed, HostWrite, Id, InTenant, One, Params, tenant,
};
use crate::http::input::page::{ListRequest, page_query};
use crate::http::problem::Problem;
use crate::http::reply::NoContent;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostParams {
    /// The tenant to look at, for callers who see all of them.
    tenant: Option<String>,
    /// Words, each a part of a hostname, an address or an operating system, whatever the case. A whole hostname,
    /// agent id or host id finds a decommissioned host, too.
    q: Option<String>,
    /// Only hosts of this status.
    status: Option<HostStatus>,
    /// Only hosts in this state. Decommissioned ones are left out of every other list.
    state: Option<HostState>,
    /// Decommissioned hosts, and only those.
    decommissioned: Option<bool>,
    /// Only hosts with this flag.
    flag: Option<HostFlag>,
    /// Only hosts that this enrollment secret, or join token, let in: its id.
    secret: Option<String>,
    /// Part of an operating system, whatever the case.
    os: Option<String>,
    /// Only hosts that have this very tag: `key` or `key:value`.
    #[schemars(regex(pattern = r"^[a-z0-9._-]{1,63}(:[a-z0-9._-]{1,63})?$"))]
    tag: Option<String>,
    /// Only agents of this version (`0.2.0`), or of older ones (`<0.2.0`), as which those count that state none.
    #[schemars(regex(pattern = r"^<?[0-9]+\.[0-9]+\.[0-9]+([-+].*)?$"))]
    version: Option<String>,
    /// Only hosts that have not reported for so long, or not since they enrolled: `24h`, `7d`.
    silent_for: Option<String>,
    /// Only hosts that report and have not renewed their certificate although it was time.
    overdue: Option<bool>,
    /// `enrolled` (the newest first, and what is taken when nothing is said), `hostname`, `last_seen` (the latest
    /// first), `expires` (the soonest first); with a `-` in front turned round.
    #[schemars(regex(pattern = r"^-?(enrolled|hostname|last_seen|expires)$"))]
    sort: Option<String>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

page_query!(HostParams);

pub(crate) async fn list(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    ListRequest { query: params, after, limit }: ListRequest<HostCursor, HostParams>,
) -> Result<axum::Json<HostList>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let order: HostOrder = parsed("sort", params.sort.as_deref())?.unwrap_or_default();
    if after.as_ref().is_some_and(|place| !order.has(place)) {
        return Err(Problem::bad_request("This 'cursor' is of a list in another order."));
    }
    let query = HostQuery { order, after, ..wanted(params.filter(), shared.app.clock.now())? };
    let page = shared.app.hosts(tenant, query, limit).await?;
    let trust_domain = shared.app.trust_domain();
    let items = page.hosts.into_iter();
    let items = items.map(|detail| HostItem::new(detail, trust_domain.as_ref())).collect();
    let next_cursor = page.next.map(|place| place.to_string());
    Ok(axum::Json(HostList { items, next_cursor, total: page.total }))
}

impl HostParams {
    fn filter(self) -> HostFilter {
        HostFilter {
            q: self.q,
            status: self.status,
            state: self.state,
            decommissioned: self.decommissioned,
            flag: self.flag,
            secret: self.secret,
            os: self.os,
            tag: self.tag,
            version: self.version,
            silent_for: self.silent_for,
            overdue: self.overdue,
        }
    }
}

/// Which hosts a filter wants.
fn wanted(filter: HostFilter, now: Timestamp) -> Result<HostQuery, Problem> {
    let silent_before = filter.silent_for.as_deref().map(|text| {
        let silent = duration::parse(text).ok();
        let before = silent.map(|silent| now.saturating_sub(silent).unwrap_or(Timestamp::MIN));
        before.ok_or_else(|| Problem::bad_request("'silent_for' is a time, such as 24h or 7d."))
    });
    Ok(HostQuery {
        text: filter.q.filter(|text| !text.is_empty()),
        online: filter.status.map(|status| status == HostStatus::Online),
        decommissioned: filter.decommissioned.unwrap_or(false),
        state: filter.state,
        flag: filter.flag,
        let_in_by: parsed("secret", filter.secret.as_deref())?,
        os: filter.os.filter(|text| !text.is_empty()),
        tag: parsed("tag", filter.tag.as_deref())?,
        version: parsed("version", filter.version.as_deref())?,
        silent_before: silent_before.transpose()?,
        overdue_at: filter.overdue.unwrap_or(false).then_some(now),
        ..HostQuery::default()
    })
}

/// Reads a parameter that is a text of its own kind.
fn parsed<T: FromStr<Err: std::fmt::Display>>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    let wrong = |error: T::Err| Problem::bad_request(format!("'{name}' can't be used: {error}."));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

fn item(shared: &Shared, detail: HostDetail) -> axum::Json<HostItem> {
    axum::Json(HostItem::new(detail, shared.app.trust_domain().as_ref()))
}

pub(crate) async fn show(
    One { tenant, id, .. }: One<AgentRead, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    Ok(item(&shared, shared.app.host_in_detail(tenant, id)?))
}

pub(crate) async fn enrollments(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    listing: ListRequest<Serial>,
) -> Result<axum::Json<Page<EnrollmentItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let enrollments = shared.app.enrollments(tenant, id, listing.after, listing.rows())?;
    Ok(listing.page(enrollments, |e| e.serial, EnrollmentItem::from))
}

pub(crate) async fn events(
    allowed: Allowed<AgentRead>,
    State(shared): State<Shared>,
    Id(id): Id<HostId>,
    listing: ListRequest<EventKey>,
) -> Result<axum::Json<Page<HostEventItem>>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, listing.query.tenant.as_deref())?;
    let events = shared.app.host_events(tenant, id, listing.after, listing.rows())?;
    Ok(listing.page(events, |entry| entry.key, HostEventItem::from))
}

pub(crate) async fn decommission(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    let host = shared.app.decommission(&caller, tenant, id).await?;
    shared.replicated(Synchronous::Revocations).await?;
    Ok(item(&shared, host))
}

pub(crate) async fn re_enable(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<HostItem>, Problem> {
    Ok(item(&shared, shared.app.re_enable(&caller, tenant, id).await?))
}

pub(crate) async fn change(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
    Json(body): Json<HostPatch>,
) -> Result<axum::Json<HostItem>, Problem> {
    let tags = body.tags.map(|texts| tags(&texts)).transpose()?;
    let note = body.note.map(|note| match note.as_str() {
        "" => Ok(None),
        note => text(Code::InvalidNote, note).map(Some),
    });
    let change = MarksChange { tags, note: note.transpose()? };
    Ok(item(&shared, shared.app.mark_host(&caller, tenant, id, change).await?))
}

pub(crate) async fn change_many(
    allowed: Allowed<HostWrite>,
    State(shared): State<Shared>,
    Params(params): Params<InTenant>,
    Json(body): Json<HostBatchBody>,
) -> Result<axum::Json<HostBatchAnswer>, Problem> {
    let tenant = tenant(&shared, &allowed.caller, params.tenant.as_deref())?;
    let expect = body.expect.map(usize::try_from).transpose();
    let expect = expect.map_err(|_| Problem::bad_request("'expect' is a number of hosts."))?;
    let (add, remove) = (tags(&body.add)?, tags(&body.remove)?);
    let order = match body.action {
        HostBatchAction::Tag if add.is_empty() && remove.is_empty() => {
            return Err(Problem::bad_request("Name tags to 'add' or to 'remove'."));
        }
        HostBatchAction::Tag => BatchOrder::Tag { add, remove },
        _ if !(add.is_empty() && remove.is_empty()) => {
            return Err(Problem::bad_request("'add' and 'remove' are for the action 'tag'."));
        }
        HostBatchAction::Decommission => BatchOrder::Decommission,
        HostBatchAction::ReEnable => BatchOrder::ReEnable,
    };
    let of = match (body.ids, body.filter) {
        (Some(ids), None) => BatchOf::Ids(ids.iter().map(|id| host_id(id)).collect::<Result<_, _>>()?),
        (None, Some(_)) if !matches!(order, BatchOrder::Tag { .. }) => {
            return Err(Problem::bad_request(
                "This action takes 'ids': each host that it is done to is named.",
            ));
        }
        (None, Some(_)) if expect.is_none() => {
            return Err(Problem::bad_request("A 'filter' comes with 'expect': how many hosts are meant."));
        }
        (None, Some(filter)) => BatchOf::Matching(Box::new(wanted(filter, shared.app.clock.now())?)),
        _ => return Err(Problem::bad_request("Name hosts by 'ids' or by a 'filter'.")),
    };
    let items = shared.app.change_hosts(&allowed.caller, tenant, of, expect, order).await?;
    let item = |(id, outcome): (HostId, BatchOutcome)| HostBatchItem {
        id: id.to_string(),
        outcome: outcome.as_str().into(),
    };
    Ok(axum::Json(HostBatchAnswer { items: items.into_iter().map(item).collect() }))
}

/// An id that names nothing is no reason to refuse a batch, and one that is none is.
fn host_id(text: &str) -> Result<HostId, Problem> {
    text.parse().map_err(|_| Problem::bad_request("'ids' holds a text that is no id of a host."))
}

pub(crate) async fn delete(
    One { caller, tenant, id, .. }: One<HostWrite, HostId>,
    State(shared): State<Shared>,
) -> Result<NoContent, Problem> {
    shared.app.delete_host(&caller, tenant, id).await?;
    shared.replicated(Synchronous::Revocations).await?;
    Ok(NoContent)
}

pub(crate) async fn revoke(
    One { caller, tenant, id: agent, .. }: One<AgentWrite, AgentId>,
    State(shared): State<Shared>,
) -> Result<axum::Json<RevokedAnswer>, Problem> {
    let revoked = shared.app.revoke(&caller, AgentRef { tenant, agent }).await?;
    shared.replicated(Synchronous::Revocations).await?;
    Ok(axum::Json(RevokedAnswer {
        agent_id: revoked.identity.agent.to_string(),
        tenant_id: revoked.identity.tenant.to_string(),
        host_id: revoked.host.to_string(),
        revoked_at: revoked.since,
        certificates_revoked: revoked.certificates,
    }))
}
