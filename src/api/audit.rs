//! The audit trail.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::encoding::word::Word;
use crate::domain::insight::audit::{Outcome, SaltedName};

/// A record of the audit trail.
#[derive(Serialize, JsonSchema, Deserialize)]
#[schemars(rename = "AuditRecord")]
pub(crate) struct AuditItem {
    /// Its place in the chain; for those who see one tenant, its place among that tenant's records.
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) actor: String,
    pub(crate) source: String,
    pub(crate) tenant_id: Option<String>,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) outcome: Word<Outcome>,
    pub(crate) reason: Option<String>,
    pub(crate) detail: BTreeMap<String, String>,
    /// Names of hosts, which go when the host is deleted.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) names: BTreeMap<String, SaltedName>,
    /// `null` for those who see one tenant.
    pub(crate) prev_hash: Option<String>,
    /// Lower-case hex SHA-256 of this record without `hash`, as JSON with sorted keys and no white space, in which
    /// each of `names` is its own hash and `names` is left out when it is empty; `null` for those who see one tenant.
    pub(crate) hash: Option<String>,
}

/// `GET /v1/audit/verify`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ChainAnswer {
    pub(crate) records: u64,
    pub(crate) intact: bool,
    /// The sequence number of the first record that does not continue the chain; `null` for those who see one tenant.
    pub(crate) first_broken: Option<u64>,
    pub(crate) why: Option<String>,
}
