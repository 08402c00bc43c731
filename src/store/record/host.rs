//! Hosts, their facts and what they report, as they lie on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::enroll::enrollment::LetInBy;
use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::timeline::HostEvent;

#[derive(Serialize, Deserialize)]
pub(crate) struct FactsRecord {
    hostname: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    machine_id: Option<String>,
    agent_version: Option<String>,
}

impl From<&HostFacts> for FactsRecord {
    fn from(facts: &HostFacts) -> Self {
        Self {
            hostname: facts.hostname.clone(),
            os: facts.os.clone(),
            arch: facts.arch.clone(),
            ips: facts.ips.clone(),
            machine_id: facts.machine_id.clone(),
            agent_version: facts.agent_version.clone(),
        }
    }
}

impl From<FactsRecord> for HostFacts {
    fn from(record: FactsRecord) -> Self {
        Self {
            hostname: record.hostname,
            os: record.os,
            arch: record.arch,
            ips: record.ips,
            machine_id: record.machine_id,
            agent_version: record.agent_version,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct HostRecord {
    id: HostId,
    tenant: TenantId,
    agent: AgentId,
    facts: FactsRecord,
    first_enrolled_at: Timestamp,
    decommissioned_at: Option<Timestamp>,
    newest_serial: Serial,
    svid_not_after: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    flags: BTreeSet<HostFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_in_by: Option<LetInByRecord>,
}

impl From<&Host> for HostRecord {
    fn from(host: &Host) -> Self {
        Self {
            id: host.id,
            tenant: host.tenant,
            agent: host.agent.clone(),
            facts: FactsRecord::from(&host.facts),
            first_enrolled_at: host.first_enrolled_at,
            decommissioned_at: host.decommissioned_at,
            newest_serial: host.newest_serial,
            svid_not_after: host.svid_not_after,
            flags: host.flags.clone(),
            let_in_by: host.let_in_by.map(LetInByRecord::from),
        }
    }
}

impl HostRecord {
    pub(crate) const fn id(&self) -> HostId {
        self.id
    }

    /// Says what let the host in, where a store that is being migrated did not.
    pub(crate) fn set_let_in_by(&mut self, by: LetInBy) {
        self.let_in_by = Some(by.into());
    }

    pub(crate) fn identity(&self) -> AgentRef {
        AgentRef { tenant: self.tenant, agent: self.agent.clone() }
    }

    /// The host, with its last saved report laid over what enrollment knew, and since when its identity is denied.
    pub(crate) fn with(self, report: Option<ReportRecord>, revoked_at: Option<Timestamp>) -> Host {
        let mut facts = HostFacts::from(self.facts);
        let mut last_seen = None;
        let mut newest_shown = None;
        if let Some(report) = report {
            last_seen = report.at;
            newest_shown = report.newest_shown;
            if let Some(reported) = report.facts {
                facts = HostFacts::from(reported).or(&facts);
            }
        }
        Host {
            id: self.id,
            tenant: self.tenant,
            agent: self.agent,
            facts,
            first_enrolled_at: self.first_enrolled_at,
            last_seen,
            newest_shown,
            decommissioned_at: self.decommissioned_at,
            revoked_at,
            let_in_by: self.let_in_by.map(LetInBy::from),
            newest_serial: self.newest_serial,
            svid_not_after: self.svid_not_after,
            flags: self.flags,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ReportRecord {
    pub(crate) at: Option<Timestamp>,
    pub(crate) facts: Option<FactsRecord>,
    /// The newest SVID that the host has shown.
    #[serde(default)]
    pub(crate) newest_shown: Option<Serial>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum LetInByRecord {
    Token { id: CredentialIdText },
    Secret { id: CredentialIdText },
}

impl From<LetInBy> for LetInByRecord {
    fn from(by: LetInBy) -> Self {
        match by {
            LetInBy::Token(id) => Self::Token { id: CredentialIdText(id) },
            LetInBy::Secret(id) => Self::Secret { id: CredentialIdText(id) },
        }
    }
}

impl From<LetInByRecord> for LetInBy {
    fn from(record: LetInByRecord) -> Self {
        match record {
            LetInByRecord::Token { id } => Self::Token(id.0),
            LetInByRecord::Secret { id } => Self::Secret(id.0),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ViaRecord {
    Token { id: CredentialIdText },
    Secret { id: CredentialIdText },
    Rotation { from: Serial },
}

/// A credential id in its printed form.
pub(crate) struct CredentialIdText(pub(crate) CredentialId);

impl Serialize for CredentialIdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CredentialIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct HostEventRecord {
    at: Timestamp,
    kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<String, String>,
}

impl From<HostEvent> for HostEventRecord {
    fn from(event: HostEvent) -> Self {
        Self { at: event.at, kind: event.kind, detail: event.detail }
    }
}

impl From<HostEventRecord> for HostEvent {
    fn from(record: HostEventRecord) -> Self {
        Self { at: record.at, kind: record.kind, detail: record.detail }
    }
}
