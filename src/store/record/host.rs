//! Hosts, their facts and what they report, as they lie on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::enrollment::LetInBy;
use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::timeline::HostEvent;
use crate::store::record::encoding::on_disk;

on_disk! {
    HostFacts as FactsRecord,
    Host as HostRecord,
    HostEvent as HostEventRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HostFacts")]
struct FactsRecord {
    hostname: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    machine_id: Option<String>,
    agent_version: Option<String>,
}

/// What is skipped stands in other rows; [`with`] puts it in.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Host")]
struct HostRecord {
    id: HostId,
    tenant: TenantId,
    agent: AgentId,
    facts: HostFacts,
    first_enrolled_at: Timestamp,
    #[serde(skip)]
    last_seen: Option<Timestamp>,
    #[serde(skip)]
    newest_shown: Option<Serial>,
    decommissioned_at: Option<Timestamp>,
    #[serde(skip)]
    revoked_at: Option<Timestamp>,
    newest_serial: Serial,
    svid_not_after: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    flags: BTreeSet<HostFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_in_by: Option<LetInBy>,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct ReportRecord {
    pub(crate) at: Option<Timestamp>,
    pub(crate) facts: Option<HostFacts>,
    /// The newest SVID that the host has shown.
    #[serde(default)]
    pub(crate) newest_shown: Option<Serial>,
}

/// The host, with its last saved report laid over what enrollment knew, and since when its identity is denied.
pub(crate) fn with(host: Host, report: Option<ReportRecord>, revoked_at: Option<Timestamp>) -> Host {
    let ReportRecord { at, facts, newest_shown } = report.unwrap_or_default();
    let facts = facts.unwrap_or_default().or(&host.facts);
    Host { facts, last_seen: at, newest_shown, revoked_at, ..host }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HostEvent")]
struct HostEventRecord {
    at: Timestamp,
    kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<String, String>,
}
