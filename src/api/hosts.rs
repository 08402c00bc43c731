//! Hosts, their certificates and their timelines.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::encoding::strict::{optional_object, whole_number};
use crate::api::encoding::word::Word;
use crate::api::words::{CredentialWord, HostStatus, IssuedVia};
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::host::{HostFlag, HostState};
use crate::domain::insight::timeline::Source;

/// A host and whether it is there.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostItem {
    pub(crate) id: String,
    pub(crate) agent_id: String,
    pub(crate) tenant_id: String,
    pub(crate) spiffe_id: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) arch: Option<String>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) machine_id: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) status: Word<HostStatus>,
    /// The first that fits.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) state: Word<HostState>,
    pub(crate) first_enrolled_at: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) decommissioned_at: Option<Timestamp>,
    /// Since when its identity is revoked; a decommissioned host's is, too.
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) svid_not_after: Timestamp,
    /// When its newest certificate was made.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) svid_issued_at: Timestamp,
    /// What let it in; `null` when that is not on record any more.
    pub(crate) credential: Option<HostCredential>,
    pub(crate) flags: Vec<Word<HostFlag>>,
    /// `key` or `key:value` each, as people gave them.
    // Servers before 0.2.0 do not send these two.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) tags: Vec<String>,
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) note: Option<String>,
    /// How many of its certificates are not on record any more. Lists do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificates_taken_by_retention: Option<u64>,
}

/// `PATCH /v1/hosts/{id}`: what is left out stays.
#[derive(Serialize, JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostPatch {
    /// The whole list: at most 32, each `key` or `key:value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if)]
    pub(crate) tags: Option<Vec<String>>,
    /// An empty one takes the note away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if)]
    pub(crate) note: Option<String>,
}

/// What a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HostBatchAction {
    Decommission,
    ReEnable,
    Tag,
}

/// `POST /v1/hosts/batch`
#[derive(Serialize, JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostBatchBody {
    pub(crate) action: HostBatchAction,
    /// Which hosts, at most 1,000. Exactly one of `ids` and `filter` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if, length(max = 1000))]
    pub(crate) ids: Option<Vec<String>>,
    /// All hosts that match, at most 1,000: for tags alone, and with `expect`.
    #[serde(default, deserialize_with = "optional_object", skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if)]
    pub(crate) filter: Option<HostFilter>,
    /// How many hosts are meant. Where others are found, nothing is done.
    #[serde(default, deserialize_with = "whole_number", skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if, range(min = 0, max = 1000))]
    pub(crate) expect: Option<i64>,
    /// Tags that they have afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(!skip_serializing_if)]
    pub(crate) add: Vec<String>,
    /// Tags that they have no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(!skip_serializing_if)]
    pub(crate) remove: Vec<String>,
}

/// Which hosts match: as the parameters of `GET /v1/hosts`.
#[derive(Default, Serialize, JsonSchema, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(!default)]
pub(crate) struct HostFilter {
    pub(crate) q: Option<String>,
    pub(crate) status: Option<HostStatus>,
    pub(crate) state: Option<HostState>,
    pub(crate) decommissioned: Option<bool>,
    pub(crate) flag: Option<HostFlag>,
    pub(crate) secret: Option<String>,
    pub(crate) os: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) silent_for: Option<String>,
    pub(crate) overdue: Option<bool>,
}

/// What a batch came to.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostBatchAnswer {
    /// Each host once.
    pub(crate) items: Vec<HostBatchItem>,
}

#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostBatchItem {
    pub(crate) id: String,
    /// `done`, `unchanged` or `not_found`.
    pub(crate) outcome: Cow<'static, str>,
}

/// What let a host in.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostCredential {
    pub(crate) kind: Word<CredentialWord>,
    pub(crate) id: String,
    /// A join token need not have one.
    pub(crate) name: Option<String>,
    /// An enrollment secret's: `active` or `revoked`; a join token's: `used`, or what else it has come to.
    pub(crate) state: Cow<'static, str>,
}

/// One issued certificate.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct EnrollmentItem {
    pub(crate) serial: String,
    pub(crate) host_id: String,
    pub(crate) tenant_id: String,
    pub(crate) via: Word<IssuedVia>,
    pub(crate) credential_id: Option<String>,
    pub(crate) issued_at: Timestamp,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) revoked: bool,
    pub(crate) revoked_at: Option<Timestamp>,
    pub(crate) reason: Option<Word<RevocationReason>>,
}

/// `POST /v1/agents/{agent_id}/revoke`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct RevokedAnswer {
    pub(crate) agent_id: String,
    pub(crate) tenant_id: String,
    pub(crate) host_id: String,
    pub(crate) revoked_at: Timestamp,
    pub(crate) certificates_revoked: usize,
}

/// A page of hosts.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostList {
    pub(crate) items: Vec<HostItem>,
    pub(crate) next_cursor: Option<String>,
    /// How many hosts match in all.
    pub(crate) total: usize,
}

/// An entry of a host's timeline.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct HostEventItem {
    pub(crate) id: String,
    pub(crate) at: Timestamp,
    pub(crate) kind: String,
    pub(crate) source: Word<Source>,
    pub(crate) detail: BTreeMap<String, String>,
}
