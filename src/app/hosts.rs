//! Reading the registry: hosts with their presence, and their enrollments.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::presence::HEARTBEAT_INTERVAL;
use super::{App, Unavailable};
use crate::domain::enrollment::Enrollment;
use crate::domain::host::Host;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::serial::Serial;

/// A host reports at least this often while it is online.
const MISSED_BEATS: i32 = 3;

/// A host as the registry knows it, with what memory knows better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNow {
    pub host: Host,
    pub online: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("there is no such host")]
    NotFound,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<crate::store::ReadError> for HostError {
    fn from(error: crate::store::ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl App {
    pub fn host(&self, tenant: TenantId, id: HostId) -> Result<HostNow, HostError> {
        let host = self.store.read(|view| view.host(id))?;
        let host = host.filter(|host| host.tenant == tenant).ok_or(HostError::NotFound)?;
        Ok(self.with_presence(host, self.clock.now()))
    }

    /// A tenant's hosts in the order of their enrollment; decommissioned ones only on request, and then alone.
    pub fn hosts(
        &self,
        tenant: TenantId,
        decommissioned: bool,
        after: Option<HostId>,
        limit: usize,
    ) -> Result<Vec<HostNow>, Unavailable> {
        let now = self.clock.now();
        let mut hosts = Vec::new();
        self.store.read(|view| {
            view.hosts(after, |host| {
                if host.tenant == tenant && host.decommissioned_at.is_some() == decommissioned {
                    hosts.push(self.with_presence(host, now));
                }
                if hosts.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(hosts)
    }

    /// Every certificate ever issued to a host, newest first.
    pub fn enrollments(
        &self,
        tenant: TenantId,
        host: HostId,
        before: Option<Serial>,
        limit: usize,
    ) -> Result<Vec<Enrollment>, HostError> {
        self.store.read(|view| {
            view.host(host)?.filter(|host| host.tenant == tenant).ok_or(HostError::NotFound)?;
            let mut enrollments = Vec::new();
            view.enrollments_of(host, before, |enrollment| {
                enrollments.push(enrollment);
                if enrollments.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            Ok(enrollments)
        })
    }

    fn with_presence(&self, mut host: Host, now: Timestamp) -> HostNow {
        if let Some(report) = self.presence.latest(host.id) {
            host.last_seen = report.at.or(host.last_seen);
            if let Some(facts) = report.facts {
                host.facts = facts.or(&host.facts);
            }
        }
        let recent = |at: Timestamp| now.duration_since(at) <= HEARTBEAT_INTERVAL * MISSED_BEATS;
        let online = host.decommissioned_at.is_none() && host.last_seen.is_some_and(recent);
        HostNow { host, online }
    }
}
