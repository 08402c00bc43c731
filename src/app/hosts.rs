//! Hosts: looked at, decommissioned, re-enabled, deleted.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use super::caller::Caller;
use super::fleet::{HostNow, HostPage, HostQuery};
use super::revoke::revocations;
use super::timeline::timeline;
use super::{App, Unavailable, entropy};
use crate::domain::deny::Identity;
use crate::domain::enrollment::{Enrollment, RevocationReason};
use crate::domain::host::{Host, HostFlag};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::serial::Serial;
use crate::domain::timeline::{EventKey, TimelineEntry};
use crate::store::{Change, ReadError, Verdict, View};

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("there is no such host")]
    NotFound,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for HostError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

fn identity(host: &Host) -> Identity {
    Identity { tenant: host.tenant, agent: host.agent.clone() }
}

impl App {
    pub fn host(&self, tenant: TenantId, id: HostId) -> Result<HostNow, HostError> {
        self.fleet.host(id).filter(|now| now.host.tenant == tenant).ok_or(HostError::NotFound)
    }

    /// A page of a tenant's hosts in the order of their enrollment.
    pub async fn hosts(
        self: &Arc<Self>,
        tenant: TenantId,
        query: HostQuery,
        limit: usize,
    ) -> Result<HostPage, Unavailable> {
        let app = Arc::clone(self);
        self.readers.run(move || app.fleet.page(tenant, &query, limit)).await
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
        let mut enrollments = Vec::new();
        self.store.read(|view| {
            view.enrollments_of(host, before, |enrollment| {
                enrollments.push(enrollment);
                if enrollments.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(enrollments)
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
        Ok(self.store.read(|view| view.host_events(host, before, limit))?)
    }

    /// Takes a host out of service: every unexpired certificate and the SPIFFE id are revoked, its streams
    /// end, and its row stays as history. Repeating it is harmless.
    pub async fn decommission(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: HostId,
    ) -> Result<HostNow, HostError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        let decided = self.store.write(move |view, now| {
            let Some(host) = view.host(id)?.filter(|host| host.tenant == tenant) else {
                return Ok(Verdict::refuse(HostError::NotFound));
            };
            if host.decommissioned_at.is_some() {
                return Ok(Verdict::accept((), Vec::new()));
            }
            let mut changes = revocations(view, host.id, now, RevocationReason::Decommissioned)?;
            let mut event = caller.event("host.decommission", Some(tenant), host.id);
            event.detail.insert("certificates", changes.len().to_string());
            event.name_host(host.id, host.facts.hostname.as_deref(), salt);
            if view.identity_denied(&identity(&host))?.is_none() {
                changes.push(Change::DenyIdentity { identity: identity(&host), since: now });
            }
            changes.push(timeline(host.id, now, "decommissioned", [("by", caller.to_string())]));
            changes.push(Change::PutHost(Host { decommissioned_at: Some(now), ..host }));
            changes.push(Change::Audit(event));
            Ok(Verdict::accept((), changes))
        });
        decided.await.map_err(Unavailable::from)??;
        self.host(tenant, id)
    }

    /// Lifts the revocation of a host and of its SPIFFE id. Its old certificates stay revoked: it must be
    /// enrolled again, with a token that names its agent id. Repeating it is harmless.
    pub async fn re_enable(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: HostId,
    ) -> Result<HostNow, HostError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        let decided = self.store.write(move |view, now| {
            let Some(host) = view.host(id)?.filter(|host| host.tenant == tenant) else {
                return Ok(Verdict::refuse(HostError::NotFound));
            };
            let denied = view.identity_denied(&identity(&host))?.is_some();
            if host.decommissioned_at.is_none() && !denied {
                return Ok(Verdict::accept((), Vec::new()));
            }
            let mut flags = host.flags.clone();
            flags.remove(&HostFlag::PossibleClone);
            let mut event = caller.event("host.re_enable", Some(tenant), host.id);
            event.name_host(host.id, host.facts.hostname.as_deref(), salt);
            let changes = vec![
                Change::LiftIdentity(identity(&host)),
                timeline(host.id, now, "re_enabled", [("by", caller.to_string())]),
                Change::PutHost(Host { decommissioned_at: None, flags, ..host }),
                Change::Audit(event),
            ];
            Ok(Verdict::accept((), changes))
        });
        decided.await.map_err(Unavailable::from)??;
        self.host(tenant, id)
    }

    /// Removes a host with everything that hangs on it, its name in the audit trail included. What is left is the
    /// audit record, and the denial of its unexpired certificates.
    pub async fn delete_host(&self, caller: &Caller, tenant: TenantId, id: HostId) -> Result<(), HostError> {
        let caller = caller.clone();
        let decided = self.store.write(move |view, now| {
            let Some(host) = view.host(id)?.filter(|host| host.tenant == tenant) else {
                return Ok(Verdict::refuse(HostError::NotFound));
            };
            decide_delete(view, now, &caller, host)
        });
        decided.await.map_err(Unavailable::from)?
    }
}

fn decide_delete(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    host: Host,
) -> Result<Verdict<(), HostError>, ReadError> {
    let mut changes = revocations(view, host.id, now, RevocationReason::Deleted)?;
    let mut event = caller.event("host.delete", Some(host.tenant), host.id);
    event.detail.insert("agent_id", host.agent.to_string());
    event.detail.insert("certificates", changes.len().to_string());
    // Nothing that the registry knows carries this identity any more, so the name is free again.
    if view.identity_denied(&identity(&host))?.is_some() {
        changes.push(Change::LiftIdentity(identity(&host)));
    }
    changes.extend([Change::DeleteHost(host), Change::Audit(event)]);
    Ok(Verdict::accept((), changes))
}
