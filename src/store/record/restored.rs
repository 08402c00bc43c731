//! What restores leave behind, as it lies on disk.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreEpoch, RestoreNotice, RolledBack};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, UserId};
use crate::domain::withdrawal::{StoreId, Suspended};
use crate::store::record::encoding::{list, on_disk};

on_disk! {
    RestoreEpoch as RestoreEpochRecord,
    RecoveryBar as RecoveryBarRecord,
    RolledBack as RolledBackRecord,
    RestoreNotice as RestoreNoticeRecord,
    StoreId as store_id,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RestoreEpoch")]
struct RestoreEpochRecord {
    backup_at: Timestamp,
    lost_at: Timestamp,
    restored_at: Timestamp,
    until: Timestamp,
    strict: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::store) struct EpochsRecord(#[serde(with = "list")] Vec<RestoreEpoch>);

impl From<Vec<RestoreEpoch>> for EpochsRecord {
    fn from(epochs: Vec<RestoreEpoch>) -> Self {
        Self(epochs)
    }
}

impl From<EpochsRecord> for Vec<RestoreEpoch> {
    fn from(record: EpochsRecord) -> Self {
        record.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RecoveryBar")]
struct RecoveryBarRecord {
    reason: RevocationReason,
    made_before: Timestamp,
    told_before: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RolledBack")]
struct RolledBackRecord {
    noticed_at: Timestamp,
    serial: Serial,
    woke_from: Timestamp,
    woke_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RestoreNotice")]
struct RestoreNoticeRecord {
    text: String,
    at: Timestamp,
    seen_at: Option<Timestamp>,
}

/// Its text.
mod store_id {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::octets::decoded;
    use crate::domain::withdrawal::StoreId;

    pub(super) fn serialize<S: Serializer>(id: &StoreId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StoreId, D::Error> {
        let id = decoded::<16>(&HEXLOWER, &String::deserialize(from)?);
        id.map(StoreId::from_bytes).ok_or_else(|| serde::de::Error::custom("not 32 lower-case hex digits"))
    }
}

const SECRET: u8 = b's';
const API_TOKEN: u8 = b't';
const PERSON: u8 = b'p';

/// The key of a suspension: the kind, and the id.
pub(in crate::store) fn suspended_key(what: Suspended) -> Vec<u8> {
    let (kind, id) = match &what {
        Suspended::Secret(id) => (SECRET, id.as_bytes().as_slice()),
        Suspended::ApiToken(id) => (API_TOKEN, id.as_bytes().as_slice()),
        Suspended::Person(id) => (PERSON, id.as_bytes().as_slice()),
    };
    [&[kind], id].concat()
}

/// What a key of that form suspends.
pub(in crate::store) fn suspended_of_key(key: &[u8]) -> Option<Suspended> {
    let (kind, id) = key.split_first()?;
    let credential = || Some(CredentialId::from_bytes(id.try_into().ok()?));
    match *kind {
        SECRET => Some(Suspended::Secret(credential()?)),
        API_TOKEN => Some(Suspended::ApiToken(credential()?)),
        PERSON => Some(Suspended::Person(UserId::from_bytes(id.try_into().ok()?))),
        _ => None,
    }
}
