//! Audit events and the hash chain that binds their records.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::TenantId;

/// Something that happened or was refused, before it has its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who: `local:<uid>`, `user:<name>`, `token:<id>`, `agent:<id>`, `anonymous`, `muster`.
    pub actor: String,
    /// From where: an IP address, or the transport's name.
    pub source: String,
    pub tenant: Option<TenantId>,
    /// What was done, as `noun.verb`.
    pub action: &'static str,
    /// On what: the id of a row.
    pub target: String,
    pub outcome: Outcome,
    /// Why it was refused, with the truth that the caller may not learn.
    pub reason: Option<&'static str>,
    pub detail: BTreeMap<&'static str, String>,
}

/// What an audit record says without who, where and on what: few enough to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditKind {
    pub action: &'static str,
    pub outcome: Outcome,
    pub reason: Option<&'static str>,
}

impl AuditEvent {
    pub const fn kind(&self) -> AuditKind {
        AuditKind { action: self.action, outcome: self.outcome, reason: self.reason }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Success,
    Refused,
}

/// One link of the chain, in the shape that is stored, exported and hashed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRecord {
    pub seq: u64,
    pub at: Timestamp,
    pub actor: String,
    pub source: String,
    pub tenant_id: Option<String>,
    pub action: String,
    pub target: String,
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub detail: BTreeMap<String, String>,
    pub prev_hash: String,
    /// Lower-case hex SHA-256 of this record without `hash`, as JSON with sorted keys and no white space.
    pub hash: String,
}

/// Where the chain stands: the next record continues from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainHead {
    pub seq: u64,
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
            action: event.action.to_owned(),
            target: event.target,
            outcome: event.outcome,
            reason: event.reason.map(str::to_owned),
            detail: event.detail.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
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
    pub missing: MissingRecords,
    /// The record that states it, and from which the trail goes on. It counts only while it is there.
    pub stated: Option<ChainHead>,
}

impl AuditRecord {
    /// The hash that the record's content calls for.
    pub fn computed_hash(&self) -> String {
        let mut value = serde_json::to_value(self).expect("a record is plain data and always becomes JSON");
        if let Some(fields) = value.as_object_mut() {
            fields.remove("hash");
        }
        // serde_json's map is a BTreeMap here, so its keys come out sorted.
        HEXLOWER.encode(digest::digest(&digest::SHA256, value.to_string().as_bytes()).as_ref())
    }

    /// Whether this record continues the chain at `head`.
    pub fn follows(&self, head: &ChainHead) -> bool {
        self.seq == head.seq + 1 && self.prev_hash == head.hash && self.hash == self.computed_hash()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::Refused => "refused",
        })
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
            action: "token.mint",
            target: target.to_owned(),
            outcome: Outcome::Success,
            reason: None,
            detail: BTreeMap::from([("name", "web".to_owned())]),
        }
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
