//! Hosts: looked at, decommissioned, re-enabled, deleted.

pub mod batch;
pub mod marks;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::decide::first;
use crate::app::insight::fleet::{HostCursor, HostNow, HostPage, HostQuery};
use crate::app::insight::timeline::timeline;
use crate::app::issue::revoke::revocations;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, RevocationReason};
use crate::domain::host::{Host, HostFlag};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::timeline::{EventKey, TimelineEntry, TimelineKind};
use crate::domain::label::Label;
use crate::store::{Change, ReadError, TenantRows, Verdict, View};

/// Why nothing was done about a host, or shown of it.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It is not there, or is another tenant's.
    #[error("There is no such host.")]
    NotFound,
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What let a host in, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialNow {
    /// Which kind, and its id.
    pub by: LetInBy,
    /// A join token need not have one.
    pub name: Option<Label>,
    /// A word for how the credential stands; an enrollment secret is active until it is revoked.
    pub state: &'static str,
}

/// A host with what else is shown of it.
#[derive(Debug, Clone)]
pub struct HostDetail {
    /// As the fleet has it in memory.
    pub now: HostNow,
    /// `None`: the store did not tell, or the credential's row is gone.
    pub credential: Option<CredentialNow>,
    /// How many of its certificates retention has taken off the record; `None`: nobody has counted.
    pub taken_by_retention: Option<u64>,
}

/// A page of hosts.
#[derive(Debug)]
pub struct ListedHosts {
    /// In the order asked for, at most as many as asked for.
    pub hosts: Vec<HostDetail>,
    /// How many match in all.
    pub total: usize,
    /// Where the next page begins.
    pub next: Option<HostCursor>,
}

/// What takes a host out of service; nothing, where it is out.
fn taking_out(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    host: Host,
    salt: [u8; 16],
) -> Result<Vec<Change>, ReadError> {
    let mut changes = revocations(view, host.id, now, RevocationReason::Decommissioned)?;
    if host.decommissioned_at.is_some() && changes.is_empty() {
        return Ok(Vec::new());
    }
    let mut event = caller.event(AuditAction::HostDecommission, Some(host.tenant), host.id);
    event.detail.insert("certificates", changes.len().to_string());
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    if view.identity_denied(&host.identity())?.is_none() {
        changes.push(Change::DenyIdentity { identity: host.identity(), since: now });
    }
    changes.push(timeline(host.id, now, TimelineKind::Decommissioned, [("by", caller.to_string())]));
    let decommissioned_at = host.decommissioned_at.or(Some(now));
    changes.push(Change::PutHost(Host { decommissioned_at, ..host }));
    changes.push(Change::Audit(event));
    Ok(changes)
}

/// What lets a host enroll again; nothing, where it may.
fn letting_back(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    mut host: Host,
    salt: [u8; 16],
) -> Result<Vec<Change>, ReadError> {
    let denied = view.identity_denied(&host.identity())?.is_some();
    if host.decommissioned_at.is_none() && !denied {
        return Ok(Vec::new());
    }
    for settled in [HostFlag::PossibleClone, HostFlag::Recovered] {
        host.flags.remove(&settled);
    }
    let mut event = caller.event(AuditAction::HostReEnable, Some(host.tenant), host.id);
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    // What an earlier version left unrevoked, because a clock was ahead, does not come back either.
    let mut changes = revocations(view, host.id, now, RevocationReason::Decommissioned)?;
    changes.extend([
        Change::LiftIdentity(host.identity()),
        timeline(host.id, now, TimelineKind::ReEnabled, [("by", caller.to_string())]),
        Change::PutHost(Host { decommissioned_at: None, ..host }),
        Change::Audit(event),
    ]);
    Ok(changes)
}

/// Credentials by their ids.
type Credentials = BTreeMap<CredentialId, CredentialNow>;

impl HostDetail {
    fn of(now: HostNow, credentials: &Credentials) -> Self {
        let credential = now.host.let_in_by.and_then(|by| credentials.get(&by.id()).cloned());
        Self { now, credential, taken_by_retention: None }
    }
}

/// What let these hosts of one tenant in. Most came with the same.
fn credentials_of<'h>(
    own: TenantRows<'_>,
    hosts: impl IntoIterator<Item = &'h HostNow>,
    now: Timestamp,
) -> Result<Credentials, ReadError> {
    let mut credentials = Credentials::new();
    for by in hosts.into_iter().filter_map(|shown| shown.host.let_in_by) {
        if credentials.contains_key(&by.id()) {
            continue;
        }
        let found = match by {
            LetInBy::Token { id } => own.join_token(id)?.map(|token| {
                let state = token.state(now).as_str();
                CredentialNow { by, name: token.name, state }
            }),
            LetInBy::Secret { id } => own.enrollment_secret(id)?.map(|secret| {
                let state = if secret.revoked_at.is_some() { "revoked" } else { "active" };
                CredentialNow { by, name: Some(secret.name), state }
            }),
        };
        credentials.extend(found.map(|found| (by.id(), found)));
    }
    Ok(credentials)
}

impl App {
    /// A host as it is now, if it is this tenant's.
    pub fn host(&self, tenant: TenantId, id: HostId) -> Result<HostNow, HostError> {
        self.fleet.host(id).filter(|now| now.host.tenant == tenant).ok_or(HostError::NotFound)
    }

    /// The same with what else a page about it shows.
    pub fn host_in_detail(&self, tenant: TenantId, id: HostId) -> Result<HostDetail, HostError> {
        let now = self.host(tenant, id)?;
        let (credentials, taken) = self.query(|view| {
            let credentials = credentials_of(view.tenant(tenant), [&now], self.clock.now())?;
            Ok((credentials, view.taken_by_retention(id)?))
        })?;
        Ok(HostDetail { taken_by_retention: Some(taken), ..HostDetail::of(now, &credentials) })
    }

    /// A page of a tenant's hosts, those that are wanted.
    pub async fn hosts(
        self: &Arc<Self>,
        tenant: TenantId,
        query: HostQuery,
        limit: usize,
    ) -> Result<ListedHosts, Unavailable> {
        self.query_long(move |app| app.list(tenant, query, limit)).await
    }

    fn list(&self, tenant: TenantId, mut query: HostQuery, limit: usize) -> Result<ListedHosts, Unavailable> {
        let text = query.text.as_deref().map(str::trim).unwrap_or_default();
        query.named.extend(text.to_ascii_lowercase().parse::<HostId>());
        if let Ok(agent) = text.parse() {
            let host = self.query(|view| view.host_of(&AgentRef { tenant, agent }))?;
            query.named.extend(host.map(|host| host.id));
        }
        self.fleet.wait_until_whole()?;
        let HostPage { hosts, total, next } = self.fleet.page(tenant, &query, limit);
        let credentials = self.query(|view| credentials_of(view.tenant(tenant), &hosts, self.clock.now()))?;
        let hosts = hosts.into_iter().map(|now| HostDetail::of(now, &credentials)).collect();
        Ok(ListedHosts { hosts, total, next })
    }

    /// Every certificate ever issued to a host, newest first.
    pub fn enrollments(
        &self,
        tenant: TenantId,
        host: HostId,
        before: Option<Serial>,
        limit: usize,
    ) -> Result<Vec<Enrollment>, HostError> {
        self.host(tenant, host)?;
        let walk =
            |view: &View<'_>| first(limit, |visit| view.tenant(tenant).enrollments_of(host, before, visit));
        Ok(self.query(walk)?)
    }

    /// A host's timeline, newest first.
    pub fn host_events(
        &self,
        tenant: TenantId,
        host: HostId,
        before: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, HostError> {
        self.host(tenant, host)?;
        Ok(self.query(|view| view.tenant(tenant).host_events(host, before, limit))?)
    }

    /// Takes a host out of service: every certificate and the SPIFFE id are revoked, its streams end, and its row stays as history. Repeating it is harmless.
    pub async fn decommission(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: HostId,
    ) -> Result<HostDetail, HostError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        self.change_host(tenant, id, move |view, now, host| taking_out(view, now, &caller, host, salt))
            .await?;
        self.host_in_detail(tenant, id)
    }

    /// Lifts the revocation of a host and of its SPIFFE id. Its old certificates stay revoked: it must be
    /// enrolled again, with a token that names its agent id. Repeating it is harmless.
    pub async fn re_enable(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: HostId,
    ) -> Result<HostDetail, HostError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        self.change_host(tenant, id, move |view, now, host| letting_back(view, now, &caller, host, salt))
            .await?;
        self.host_in_detail(tenant, id)
    }

    /// Removes a host with everything that hangs on it, its name in the audit trail included. What is left is the
    /// audit record, and the denial of its unexpired certificates.
    pub async fn delete_host(&self, caller: &Caller, tenant: TenantId, id: HostId) -> Result<(), HostError> {
        let caller = caller.clone();
        self.change_host(tenant, id, move |view, now, host| {
            let mut changes = revocations(view, host.id, now, RevocationReason::Deleted)?;
            let mut event = caller.event(AuditAction::HostDelete, Some(tenant), host.id);
            event.detail.insert("agent_id", host.agent.to_string());
            event.detail.insert("certificates", changes.len().to_string());
            // Nothing that the registry knows carries this identity any more, so the name is free again.
            if view.identity_denied(&host.identity())?.is_some() {
                changes.push(Change::LiftIdentity(host.identity()));
            }
            changes.extend([Change::DeleteHost(host), Change::Audit(event)]);
            Ok(changes)
        })
        .await
    }

    /// Decides what changes about a host, if it is there.
    async fn change_host(
        &self,
        tenant: TenantId,
        id: HostId,
        changes: impl FnOnce(&View<'_>, Timestamp, Host) -> Result<Vec<Change>, ReadError> + Send + 'static,
    ) -> Result<(), HostError> {
        self.decide(move |view, now| match view.tenant(tenant).host(id)? {
            Some(host) => Ok(Verdict::accept((), changes(view, now, host)?)),
            None => Ok(Verdict::refuse(HostError::NotFound)),
        })
        .await
    }
}
