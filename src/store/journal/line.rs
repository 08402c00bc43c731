//! A line of the revocation journal: JSON, beginning with eight octets of SHA-256 over the rest of the line. Where
//! several are written at once, all but the first say next how many of them come before.

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId, TenantId, UserId, WebhookId};
use crate::domain::insight::audit::ChainHead;
use crate::domain::octets::decoded;
use crate::domain::people::user::Role;
use crate::domain::sha256::sha256;
use crate::domain::withdrawal::{PersonStanding, StoreId, Withdrawal};

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    /// A step of the deny list.
    Denial(Denial),
    /// How far the audit trail had come.
    Mark(ChainHead),
    /// Whose journal it is.
    Store(StoreId),
    /// The server was alive.
    Alive(Timestamp),
    /// Something was taken from somebody that is no denial, and when that was written.
    Withdrawal(Withdrawal, Timestamp),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Serial { serial: Serial, not_after: Timestamp, since: Timestamp, reason: RevocationReason },
    Identity { tenant: TenantId, agent: AgentId, since: Timestamp },
    Lifted { tenant: TenantId, agent: AgentId, at: Timestamp },
    Audit { seq: u64, hash: String },
    Store { id: String },
    Alive { at: Timestamp },
    SecretRevoked { id: CredentialId, at: Timestamp },
    SecretUses { id: CredentialId, uses: u32, at: Timestamp },
    ApiTokenRevoked { id: CredentialId, at: Timestamp },
    WebhookRemoved { id: WebhookId, at: Timestamp },
    HostDeleted { id: HostId, tenant: TenantId, agent: AgentId, at: Timestamp },
    Person { id: UserId, role: Role, disabled: bool, password_set_at: Option<Timestamp>, at: Timestamp },
}

/// The kinds of [`Entry`].
const KINDS: [&str; 12] = [
    "serial",
    "identity",
    "lifted",
    "audit",
    "store",
    "alive",
    "secret_revoked",
    "secret_uses",
    "api_token_revoked",
    "webhook_removed",
    "host_deleted",
    "person",
];

/// What lines of all versions have in common.
#[derive(Deserialize)]
struct AnyEntry {
    kind: String,
}

/// A line that is not one of ours, or not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl From<&Line> for Entry {
    fn from(line: &Line) -> Self {
        match line.clone() {
            Line::Denial(Denial::Serial { serial, not_after, since, reason }) => {
                Self::Serial { serial, not_after, since, reason }
            }
            Line::Denial(Denial::Identity { identity: AgentRef { tenant, agent }, since }) => {
                Self::Identity { tenant, agent, since }
            }
            Line::Denial(Denial::Lifted { identity: AgentRef { tenant, agent }, at }) => {
                Self::Lifted { tenant, agent, at }
            }
            Line::Mark(ChainHead { seq, hash }) => Self::Audit { seq, hash },
            Line::Store(id) => Self::Store { id: id.to_string() },
            Line::Alive(at) => Self::Alive { at },
            Line::Withdrawal(what, at) => Self::of(what, at),
        }
    }
}

impl Entry {
    fn of(what: Withdrawal, at: Timestamp) -> Self {
        match what {
            Withdrawal::Secret(id) => Self::SecretRevoked { id, at },
            Withdrawal::SecretUses { id, uses } => Self::SecretUses { id, uses, at },
            Withdrawal::ApiToken(id) => Self::ApiTokenRevoked { id, at },
            Withdrawal::Webhook(id) => Self::WebhookRemoved { id, at },
            Withdrawal::Host { id, identity: AgentRef { tenant, agent } } => {
                Self::HostDeleted { id, tenant, agent, at }
            }
            Withdrawal::Person { id, standing: PersonStanding { role, disabled, password_set_at } } => {
                Self::Person { id, role, disabled, password_set_at, at }
            }
        }
    }
}

impl TryFrom<Entry> for Line {
    type Error = Damaged;

    fn try_from(entry: Entry) -> Result<Self, Damaged> {
        Ok(Self::Denial(match entry {
            Entry::Serial { serial, not_after, since, reason } => {
                Denial::Serial { serial, not_after, since, reason }
            }
            Entry::Identity { tenant, agent, since } => {
                Denial::Identity { identity: AgentRef { tenant, agent }, since }
            }
            Entry::Lifted { tenant, agent, at } => {
                Denial::Lifted { identity: AgentRef { tenant, agent }, at }
            }
            Entry::Audit { seq, hash } => return Ok(Self::Mark(ChainHead { seq, hash })),
            Entry::Store { id } => {
                let id = decoded(&HEXLOWER, &id).ok_or(Damaged)?;
                return Ok(Self::Store(StoreId::from_bytes(id)));
            }
            Entry::Alive { at } => return Ok(Self::Alive(at)),
            Entry::SecretRevoked { id, at } => return Ok(Self::Withdrawal(Withdrawal::Secret(id), at)),
            Entry::SecretUses { id, uses, at } => {
                return Ok(Self::Withdrawal(Withdrawal::SecretUses { id, uses }, at));
            }
            Entry::ApiTokenRevoked { id, at } => return Ok(Self::Withdrawal(Withdrawal::ApiToken(id), at)),
            Entry::WebhookRemoved { id, at } => return Ok(Self::Withdrawal(Withdrawal::Webhook(id), at)),
            Entry::HostDeleted { id, tenant, agent, at } => {
                let identity = AgentRef { tenant, agent };
                return Ok(Self::Withdrawal(Withdrawal::Host { id, identity }, at));
            }
            Entry::Person { id, role, disabled, password_set_at, at } => {
                let standing = PersonStanding { role, disabled, password_set_at };
                return Ok(Self::Withdrawal(Withdrawal::Person { id, standing }, at));
            }
        }))
    }
}

/// Octets of the checksum, twice as many as hex.
const SUM: usize = 8;
const SUM_BEGINS: &str = "{\"sum\":\"";
const SUM_ENDS: &str = "\",";
const NTH_BEGINS: &str = "\"nth\":";
const NTH_ENDS: char = ',';

pub(crate) fn sum(rest: &str) -> String {
    HEXLOWER.encode(&sha256(&[rest.as_bytes()])[..SUM])
}

/// A line that is as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whether it was written together with those before it.
    pub continues: bool,
    /// `None` when it is of a kind that only a newer version knows.
    pub line: Option<Line>,
}

impl Line {
    /// With its end; the `nth` of those that are written at once, counted from 0.
    pub(crate) fn to_text(&self, nth: usize) -> String {
        let entry =
            serde_json::to_string(&Entry::from(self)).expect("entries are plain data and become JSON");
        // What follows the opening brace, which the checksum comes behind.
        let entry = entry.get(1..).unwrap_or_default();
        let rest = if nth == 0 { entry.to_owned() } else { format!("{NTH_BEGINS}{nth}{NTH_ENDS}{entry}") };
        format!("{SUM_BEGINS}{}{SUM_ENDS}{rest}\n", sum(&rest))
    }

    pub(crate) fn read(octets: &[u8]) -> Result<Written, Damaged> {
        let rest = whole(octets).ok_or(Damaged)?;
        let (continues, entry) = match rest.strip_prefix(NTH_BEGINS) {
            Some(rest) => (true, rest.split_once(NTH_ENDS).ok_or(Damaged)?.1),
            None => (false, rest),
        };
        let object = format!("{{{entry}");
        if let Ok(entry) = serde_json::from_str::<Entry>(&object) {
            return Ok(Written { continues, line: Some(entry.try_into()?) });
        }
        // A kind that is known and says something else than we know may deny somebody in a way that we would miss.
        match serde_json::from_str::<AnyEntry>(&object) {
            Ok(AnyEntry { kind }) if !KINDS.contains(&kind.as_str()) => Ok(Written { continues, line: None }),
            _ => Err(Damaged),
        }
    }
}

/// What follows the checksum of a line that is as it was written.
fn whole(octets: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(octets).ok()?.strip_suffix('\n')?;
    let (stated, rest) = line.strip_prefix(SUM_BEGINS)?.split_at_checked(2 * SUM)?;
    let rest = rest.strip_prefix(SUM_ENDS)?;
    (stated == sum(rest)).then_some(rest)
}
