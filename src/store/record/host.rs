//! Hosts, their facts and what they report, as they lie on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::domain::enroll::enrollment::LetInBy;
use crate::domain::host::tag::{HostMarks, HostNote, Tag};
use crate::domain::host::{Host, HostFacts, HostFlag, HostTrust};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::hierarchy::BundleDigest;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::timeline::HostEvent;
use crate::store::record::encoding::{ToDisk, on_disk, optional, optional_base64};

on_disk! {
    HostFacts as FactsRecord,
    HostEvent as HostEventRecord,
    HostMarks as MarksRecord,
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

/// What is skipped stands in other rows; [`StoredHost::overlaid`] puts it in.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Host")]
struct HostRecord {
    id: HostId,
    tenant: TenantId,
    agent: AgentId,
    #[serde(with = "FactsRecord")]
    facts: HostFacts,
    first_enrolled_at: Timestamp,
    #[serde(skip)]
    last_seen: Option<Timestamp>,
    #[serde(skip)]
    newest_shown: Option<Serial>,
    #[serde(skip)]
    trust: HostTrust,
    decommissioned_at: Option<Timestamp>,
    #[serde(skip)]
    revoked_at: Option<Timestamp>,
    newest_serial: Serial,
    svid_not_after: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    flags: BTreeSet<HostFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional")]
    let_in_by: Option<LetInBy>,
    #[serde(default, skip_serializing_if = "is_unmarked", with = "MarksRecord")]
    marks: HostMarks,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HostMarks")]
struct MarksRecord {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<HostNote>,
}

fn is_unmarked(marks: &HostMarks) -> bool {
    *marks == HostMarks::default()
}

impl ToDisk for Host {
    fn to_disk<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        HostRecord::serialize(self, to)
    }
}

/// A host as its own row has it: not yet one that anybody may look at.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::store) struct StoredHost(#[serde(with = "HostRecord")] Host);

impl StoredHost {
    pub(in crate::store) const fn id(&self) -> HostId {
        self.0.id
    }

    pub(in crate::store) fn identity(&self) -> AgentRef {
        self.0.identity()
    }

    /// The same row, with what let the host in.
    pub(in crate::store) fn let_in(mut self, by: LetInBy) -> Self {
        self.0.let_in_by = Some(by);
        self
    }

    /// The host, with its last saved report laid over what enrollment knew, and since when its identity is denied.
    pub(in crate::store) fn overlaid(
        self,
        report: Option<ReportRecord>,
        revoked_at: Option<Timestamp>,
    ) -> Host {
        let ReportRecord { at, facts, newest_shown, bundle, leaf_alone } = report.unwrap_or_default();
        let trust = HostTrust { bundle: bundle.as_deref().and_then(BundleDigest::from_octets), leaf_alone };
        let facts = facts.unwrap_or_default().or(&self.0.facts);
        Host { facts, last_seen: at, newest_shown, trust, revoked_at, ..self.0 }
    }
}

#[derive(Default, Serialize, Deserialize)]
pub(in crate::store) struct ReportRecord {
    pub(crate) at: Option<Timestamp>,
    #[serde(default, with = "optional")]
    pub(crate) facts: Option<HostFacts>,
    /// The newest SVID that the host has shown.
    #[serde(default)]
    pub(crate) newest_shown: Option<Serial>,
    /// The digest of the roots that the host has reported to know.
    #[serde(default, with = "optional_base64", skip_serializing_if = "Option::is_none")]
    pub(crate) bundle: Option<Vec<u8>>,
    /// Whether it knows the server by its very certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaf_alone: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "HostEvent")]
struct HostEventRecord {
    at: Timestamp,
    kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<String, String>,
}
