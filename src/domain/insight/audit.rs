//! Audit events and the hash chain that binds their records.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::sha256::sha256;
use crate::domain::vocabulary::vocabulary;

/// Something that happened or was refused, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who: `local:<uid>`, `user:<name>`, `token:<id>`, `agent:<id>`, `anonymous`, `muster`.
    pub actor: String,
    /// From where: an IP address, or the transport's name.
    pub source: String,
    /// Whose wall it happened behind; `None`: the deployment's.
    pub tenant: Option<TenantId>,
    /// What was done.
    pub action: AuditAction,
    /// On what: the id of a row.
    pub target: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why it was refused, with the truth that the caller may not learn.
    pub reason: Option<AuditReason>,
    /// What else is worth knowing. No secrets.
    pub detail: BTreeMap<&'static str, String>,
    /// Names of hosts, which can be taken out of the record without breaking the chain.
    pub names: BTreeMap<&'static str, SaltedName>,
    /// Whose names they are: with this host's deletion they go.
    pub host: Option<HostId>,
}

/// The name under which a host's own name stands in a record.
pub const HOSTNAME: &str = "hostname";
/// Most characters of a hostname that somebody claims who proved nothing.
const CLAIMED_NAME_CHARS_MAX: usize = 64;

/// A name that the chain covers only by a salted hash: once salt and name are destroyed, the hash tells nobody
/// what the name was, and the chain still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaltedName {
    /// `null` once it has been destroyed.
    pub name: Option<String>,
    /// Lower-case hex of random octets; `null` once it has been destroyed.
    pub salt: Option<String>,
    /// Lower-case hex of SHA-256(salt ‖ name), over the salt's octets and the name's. It stands in the record's
    /// hash in place of this object.
    pub hash: String,
}

impl SaltedName {
    fn new(name: String, salt: [u8; 16]) -> Self {
        let hash = Self::hash_of(&salt, &name);
        Self { name: Some(name), salt: Some(HEXLOWER.encode(&salt)), hash }
    }

    fn hash_of(salt: &[u8], name: &str) -> String {
        HEXLOWER.encode(&sha256(&[salt, name.as_bytes()]))
    }

    /// Whether the hash is that of salt and name, or both are gone.
    fn holds(&self) -> bool {
        match (&self.name, &self.salt) {
            (Some(name), Some(salt)) => {
                HEXLOWER.decode(salt.as_bytes()).is_ok_and(|salt| Self::hash_of(&salt, name) == self.hash)
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Takes name and salt out for good.
    pub fn destroy(&mut self) {
        self.name = None;
        self.salt = None;
    }
}

/// What an audit record says without who, where and on what: few enough to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditKind {
    /// What was done.
    pub action: AuditAction,
    /// Whether it was.
    pub outcome: Outcome,
    /// Why not.
    pub reason: Option<AuditReason>,
}

impl AuditEvent {
    /// A success that has nothing more to say.
    pub fn new(
        actor: String,
        source: String,
        action: AuditAction,
        tenant: Option<TenantId>,
        target: impl fmt::Display,
    ) -> Self {
        Self {
            actor,
            source,
            tenant,
            action,
            target: target.to_string(),
            outcome: Outcome::Success,
            reason: None,
            detail: BTreeMap::new(),
            names: BTreeMap::new(),
            host: None,
        }
    }

    /// What the server does of its own accord; `source` is the part of it that does.
    pub fn by_muster(
        source: &str,
        action: AuditAction,
        tenant: Option<TenantId>,
        target: impl fmt::Display,
    ) -> Self {
        Self::new("muster".to_owned(), source.to_owned(), action, tenant, target)
    }

    /// What it counts as.
    pub const fn kind(&self) -> AuditKind {
        AuditKind { action: self.action, outcome: self.outcome, reason: self.reason }
    }

    /// Names the host that this is about, if it has a name.
    pub fn name_host(&mut self, host: HostId, hostname: Option<&str>, salt: [u8; 16]) {
        if let Some(name) = hostname {
            self.names.insert(HOSTNAME, SaltedName::new(name.to_owned(), salt));
            self.host = Some(host);
        }
    }

    /// Names a host by what somebody says whom nobody knows.
    pub fn name_claimed(&mut self, hostname: &str, salt: [u8; 16]) {
        let name: String = hostname.chars().take(CLAIMED_NAME_CHARS_MAX).collect();
        self.names.insert(HOSTNAME, SaltedName::new(name, salt));
    }
}

vocabulary! {
    wire pub enum Outcome {
        Success = "success",
        Refused = "refused",
    }
}

#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ListOrder")]
pub enum AuditOrder {
    #[default]
    Newest,
    // As the chain grows.
    Oldest,
}

/// One link of the chain, in the shape that is stored, exported and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place in the chain, from 1 on.
    pub seq: u64,
    /// When it was written, by the server's clock.
    pub at: Timestamp,
    /// Who, as in [`AuditEvent::actor`].
    pub actor: String,
    /// From where, as in [`AuditEvent::source`].
    pub source: String,
    /// Whose wall it happened behind.
    pub tenant_id: Option<String>,
    /// Of this version or of another one.
    pub action: String,
    /// On what: the id of a row.
    pub target: String,
    /// Whether it was done.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<String>,
    /// What else is worth knowing.
    pub detail: BTreeMap<String, String>,
    /// Records of 0.1.0 have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, SaltedName>,
    /// `hash` of the record before, zeros in the first.
    pub prev_hash: String,
    /// Lower-case hex SHA-256 of this record without `hash`, as JSON with sorted keys and no white space, in which
    /// each of `names` is its own hash and `names` is left out when it is empty.
    pub hash: String,
}

/// What of a record its hash is over. Fields are written as they stand here, so they stand in the order of their names.
#[derive(Serialize)]
struct Hashed<'a> {
    action: &'a str,
    actor: &'a str,
    at: Timestamp,
    detail: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    names: BTreeMap<&'a str, &'a str>,
    outcome: Outcome,
    prev_hash: &'a str,
    reason: Option<&'a str>,
    seq: u64,
    source: &'a str,
    target: &'a str,
    tenant_id: Option<&'a str>,
}

/// Where the chain stands: the next record continues from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHead {
    /// The newest record's place.
    pub seq: u64,
    /// The newest record's hash.
    pub hash: String,
}

impl ChainHead {
    /// What the first record names as its predecessor.
    pub fn genesis() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }

    /// Links an event to the chain; the head moves on to the new record.
    pub fn link(&mut self, at: Timestamp, event: AuditEvent) -> AuditRecord {
        let mut record = AuditRecord {
            seq: self.seq + 1,
            at,
            actor: event.actor,
            source: event.source,
            tenant_id: event.tenant.map(|t| t.to_string()),
            action: event.action.to_string(),
            target: event.target,
            outcome: event.outcome,
            reason: event.reason.map(|reason| reason.to_string()),
            detail: event.detail.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            names: event.names.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            prev_hash: self.hash.clone(),
            hash: String::new(),
        };
        record.hash = record.computed_hash();
        *self = Self { seq: record.seq, hash: record.hash.clone() };
        record
    }
}

/// Records that were in the trail once and are not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRecords {
    /// The last record before them; `None` when that is not known.
    pub after: Option<u64>,
    /// The last one that is known to have been there.
    pub seen: ChainHead,
}

impl fmt::Display for MissingRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.after {
            Some(after) => write!(f, "records after seq {after} are missing")?,
            None => f.write_str("records are missing, and it is not known from where on")?,
        }
        write!(f, "; there were {}", self.seen.seq)
    }
}

/// A loss as the store remembers it from when it was found: once the trail has gone on, the place where it was cut
/// does not show any more. Being in the store, its acceptance is durable together with the record that states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLoss {
    /// What was found to be missing.
    pub missing: MissingRecords,
    /// The record that states it, and from which the trail goes on. It counts only while it is there.
    pub stated: Option<ChainHead>,
}

impl AuditRecord {
    /// The hash that the record's content calls for.
    pub fn computed_hash(&self) -> String {
        let hashed = Hashed {
            action: &self.action,
            actor: &self.actor,
            at: self.at,
            detail: &self.detail,
            names: self.names.iter().map(|(kind, name)| (kind.as_str(), name.hash.as_str())).collect(),
            outcome: self.outcome,
            prev_hash: &self.prev_hash,
            reason: self.reason.as_deref(),
            seq: self.seq,
            source: &self.source,
            target: &self.target,
            tenant_id: self.tenant_id.as_deref(),
        };
        let text = serde_json::to_vec(&hashed).expect("a record is plain data and always becomes JSON");
        HEXLOWER.encode(&sha256(&[&text]))
    }

    /// Whether this record continues the chain at `head`.
    pub fn follows(&self, head: &ChainHead) -> bool {
        self.seq == head.seq + 1
            && self.prev_hash == head.hash
            && self.hash == self.computed_hash()
            && self.names.values().all(SaltedName::holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(target: &str) -> AuditEvent {
        AuditEvent {
            actor: "local:0".to_owned(),
            source: "socket".to_owned(),
            tenant: None,
            action: AuditAction::JoinTokenMint,
            target: target.to_owned(),
            outcome: Outcome::Success,
            reason: None,
            detail: BTreeMap::from([("name", "web".to_owned())]),
            names: BTreeMap::new(),
            host: None,
        }
    }

    #[test]
    fn a_name_can_be_destroyed_and_not_changed() {
        let mut head = ChainHead::genesis();
        let mut named = event("a");
        named.name_host(HostId::from_bytes([1; 16]), Some("web-1"), [7; 16]);
        let record = head.link(Timestamp::UNIX_EPOCH, named);
        assert!(record.follows(&ChainHead::genesis()));
        let mut other = record.clone();
        other.names.get_mut(HOSTNAME).unwrap().name = Some("web-2".to_owned());
        assert!(!other.follows(&ChainHead::genesis()), "another name");
        let mut half = record.clone();
        half.names.get_mut(HOSTNAME).unwrap().salt = None;
        assert!(!half.follows(&ChainHead::genesis()), "a name without its salt");
        let mut gone = record.clone();
        gone.names.get_mut(HOSTNAME).unwrap().destroy();
        assert!(gone.follows(&ChainHead::genesis()), "destroyed");
        assert!(!serde_json::to_string(&gone).unwrap().contains("web-1"));
        let mut forged = record;
        forged.names.clear();
        assert!(!forged.follows(&ChainHead::genesis()), "a record without its names");
    }

    /// As the format states it, for who verifies an export with other programs.
    fn hash_by_sorted_json(record: &AuditRecord) -> String {
        let mut value = serde_json::to_value(record).unwrap();
        let fields = value.as_object_mut().unwrap();
        fields.remove("hash");
        if let Some(names) = fields.get_mut("names").and_then(serde_json::Value::as_object_mut) {
            for name in names.values_mut() {
                *name = name["hash"].take();
            }
        }
        HEXLOWER.encode(&sha256(&[value.to_string().as_bytes()]))
    }

    #[test]
    fn the_hash_is_over_json_with_sorted_keys() {
        let mut head = ChainHead::genesis();
        let mut full = event("\"quoted\" \u{7f}\n\u{2028} \u{1f600}");
        full.tenant = Some(TenantId::from_bytes([3; 16]));
        full.outcome = Outcome::Refused;
        full.reason = Some(AuditReason::ALL[0]);
        full.detail.insert("serial", "00\\ff".to_owned());
        full.name_host(HostId::from_bytes([1; 16]), Some("web-1"), [7; 16]);
        full.names.insert("another", SaltedName::new("b".to_owned(), [9; 16]));
        for event in [event(""), full] {
            let mut record = head.link(Timestamp::UNIX_EPOCH, event);
            assert_eq!(record.hash, hash_by_sorted_json(&record));
            record.names.values_mut().for_each(SaltedName::destroy);
            record.at = "2026-11-28T04:26:35.123456789Z".parse().unwrap();
            assert_eq!(record.computed_hash(), hash_by_sorted_json(&record));
        }
    }

    #[test]
    fn an_action_of_another_version_is_read_as_it_stands() {
        let mut record = ChainHead::genesis().link(Timestamp::UNIX_EPOCH, event("a"));
        record.action = "host.levitate".to_owned();
        record.reason = Some("too_light".to_owned());
        record.hash = record.computed_hash();
        let stored = serde_json::to_string(&record).unwrap();
        let read: AuditRecord = serde_json::from_str(&stored).unwrap();
        assert_eq!(read, record);
        assert!(read.follows(&ChainHead::genesis()));
        assert!(read.action.parse::<AuditAction>().is_err());
    }

    #[test]
    fn what_strangers_claim_is_short() {
        let mut claimed = event("a");
        claimed.name_claimed(&"x".repeat(10_000), [7; 16]);
        assert_eq!(claimed.names[HOSTNAME].name.as_ref().map(String::len), Some(CLAIMED_NAME_CHARS_MAX));
    }

    #[test]
    fn an_edited_record_breaks_the_chain() {
        let mut head = ChainHead::genesis();
        let first = head.link(Timestamp::UNIX_EPOCH, event("a"));
        let after_first = head.clone();
        let second = head.link(Timestamp::UNIX_EPOCH, event("b"));
        assert!(first.follows(&ChainHead::genesis()) && second.follows(&after_first));
        assert!(!second.follows(&ChainHead::genesis()));
        let edited = AuditRecord { target: "c".to_owned(), ..first };
        assert!(!edited.follows(&ChainHead::genesis()));
        let forged = AuditRecord { hash: edited.computed_hash(), ..edited };
        assert!(forged.follows(&ChainHead::genesis()));
        assert_ne!(second.prev_hash, forged.hash, "the next record still names the original");
    }
}
