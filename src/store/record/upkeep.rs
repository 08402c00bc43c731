//! The CA, the clock's marks, denials and what is known of losses, as they lie on disk.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::enroll::enrollment::{RevocationReason, SVID_LIFETIME_MAX};
use crate::domain::identity::clock_marks::{ClockMark, ClockMarks};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::hierarchy::{
    Hierarchy, Intermediate, IntermediateRevocation, OpenRootRequest, RootChange, RootTask, SvidLifetime,
    WaitingList,
};
use crate::domain::identity::jwt_keys::{JwtKey, JwtKeys, JwtPublicKey};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{AgentId, TrustDomain};
use crate::domain::identity::trust_version::{TrustEpoch, TrustVersion};
use crate::domain::ids::TenantId;
use crate::domain::insight::audit::{ChainHead, KnownLoss, MissingRecords};
use crate::store::record::encoding::{
    base64, base64s, list, millis, on_disk, optional, optional_base64, seconds,
};

on_disk! {
    Hierarchy as HierarchyRecord,
    WaitingList as WaitingListRecord,
    Intermediate as IntermediateRecord,
    IntermediateRevocation as IntermediateRevocationRecord,
    SvidLifetime as SvidLifetimeRecord,
    RootChange as RootChangeRecord,
    OpenRootRequest as OpenRootRequestRecord,
    JwtKeys as JwtKeysRecord,
    JwtKey as JwtKeyRecord,
    KnownLoss as LossRecord,
    ChainHead as HeadRecord,
    TrustVersion as TrustVersionRecord,
    AgentRef as AgentRefRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Hierarchy")]
struct HierarchyRecord {
    trust_domain: TrustDomain,
    #[serde(with = "base64s")]
    roots: Vec<Vec<u8>>,
    #[serde(default, with = "base64s", skip_serializing_if = "Vec::is_empty")]
    root_lists: Vec<Vec<u8>>,
    #[serde(default, with = "list", skip_serializing_if = "Vec::is_empty")]
    waiting_lists: Vec<WaitingList>,
    #[serde(with = "list")]
    intermediates: Vec<Intermediate>,
    #[serde(default = "any_lifetime", with = "list")]
    svid_lifetimes: Vec<SvidLifetime>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    root_change: Option<RootChange>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    open_request: Option<OpenRootRequest>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RootChange")]
struct RootChangeRecord {
    prepared_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "OpenRootRequest")]
struct OpenRootRequestRecord {
    #[serde(with = "base64")]
    digest: Vec<u8>,
    #[serde(with = "RootTaskRecord")]
    task: RootTask,
    now: bool,
    made_at: Timestamp,
    #[serde(with = "base64")]
    sealed_key: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RootTask", rename_all = "snake_case")]
enum RootTaskRecord {
    Renew,
    Revoke(Serial),
    Prepare,
}

/// A store of before that does not say how long the SVIDs lived that are out: as long as they ever could.
fn any_lifetime() -> Vec<SvidLifetime> {
    vec![SvidLifetime { lifetime: SVID_LIFETIME_MAX, out_until: None }]
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WaitingList")]
struct WaitingListRecord {
    #[serde(with = "base64")]
    list: Vec<u8>,
    publish_by: Timestamp,
}

/// The lifetime in milliseconds.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SvidLifetime")]
struct SvidLifetimeRecord {
    #[serde(with = "millis")]
    lifetime: SignedDuration,
    out_until: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Intermediate")]
struct IntermediateRecord {
    #[serde(with = "base64")]
    certificate: Vec<u8>,
    #[serde(default, with = "optional_base64", skip_serializing_if = "Option::is_none")]
    sealed_key: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    issuing_from: Option<Timestamp>,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    revocation: Option<IntermediateRevocation>,
    #[serde(default, with = "optional_base64", skip_serializing_if = "Option::is_none")]
    last_list: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    held: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "IntermediateRevocation")]
struct IntermediateRevocationRecord {
    at: Timestamp,
    published: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "JwtKeys")]
struct JwtKeysRecord {
    #[serde(with = "list")]
    keys: Vec<JwtKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "JwtKey")]
struct JwtKeyRecord {
    kid: String,
    #[serde(with = "JwtPublicKeyRecord")]
    public: JwtPublicKey,
    #[serde(with = "base64")]
    sealed_key: Vec<u8>,
    signs_from: Timestamp,
    #[serde(with = "seconds")]
    token_ttl: SignedDuration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "JwtPublicKey", tag = "kty")]
enum JwtPublicKeyRecord {
    #[serde(rename = "EC")]
    P256 {
        #[serde(with = "base64")]
        x: Vec<u8>,
        #[serde(with = "base64")]
        y: Vec<u8>,
    },
    #[serde(rename = "RSA")]
    Rsa {
        #[serde(with = "base64")]
        n: Vec<u8>,
        #[serde(with = "base64")]
        e: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "TrustVersion")]
struct TrustVersionRecord {
    #[serde(with = "epoch")]
    epoch: TrustEpoch,
    number: u64,
}

mod epoch {
    use data_encoding::HEXLOWER;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::identity::trust_version::TrustEpoch;

    pub(super) fn serialize<S: Serializer>(epoch: &TrustEpoch, to: S) -> Result<S::Ok, S::Error> {
        epoch.to_string().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TrustEpoch, D::Error> {
        let octets = HEXLOWER.decode(String::deserialize(from)?.as_bytes()).map_err(D::Error::custom)?;
        <[u8; 16]>::try_from(octets).map(TrustEpoch::from).map_err(|_| D::Error::custom("not 16 octets"))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AgentRef")]
struct AgentRefRecord {
    tenant: TenantId,
    agent: AgentId,
}

/// Why and until when a serial is denied, and whose it is or was: watchers of trust are told that also when the host has been
/// deleted.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeniedSerialRecord {
    pub(crate) not_after: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) reason: RevocationReason,
    #[serde(default, with = "optional", skip_serializing_if = "Option::is_none")]
    pub(crate) holder: Option<AgentRef>,
}

/// What the wall clock has shown while the server ran; times that it ran are in milliseconds.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct ClockMarksRecord {
    ran: i64,
    marks: Vec<(Timestamp, i64)>,
}

impl From<&ClockMarks> for ClockMarksRecord {
    fn from(clock: &ClockMarks) -> Self {
        let millis = |ran: SignedDuration| i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
        let marks = clock.marks.iter().map(|mark| (mark.shown, millis(mark.ran))).collect();
        Self { ran: millis(clock.ran), marks }
    }
}

impl From<ClockMarksRecord> for ClockMarks {
    fn from(record: ClockMarksRecord) -> Self {
        let mark = |(shown, ran)| ClockMark { shown, ran: SignedDuration::from_millis(ran) };
        let marks = record.marks.into_iter().map(mark).collect();
        Self { ran: SignedDuration::from_millis(record.ran), marks }
    }
}

/// What the audit trail was last found to have lost.
#[derive(Serialize, Deserialize)]
#[serde(remote = "KnownLoss")]
struct LossRecord {
    #[serde(flatten, with = "MissingRecord")]
    missing: MissingRecords,
    #[serde(default, with = "optional")]
    stated: Option<ChainHead>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "MissingRecords")]
struct MissingRecord {
    after: Option<u64>,
    #[serde(with = "HeadRecord")]
    seen: ChainHead,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ChainHead")]
struct HeadRecord {
    seq: u64,
    hash: String,
}
