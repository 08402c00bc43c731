//! Enrollments and the credentials that let machines in, as they lie on disk.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, Revocation, RevocationReason, SpkiHash, Via};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::tag::Tag;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::label::Label;
use crate::domain::network::networks::Networks;
use crate::store::record::encoding::{FromDisk, ToDisk, as_text, hex, on_disk};

on_disk! {
    LetInBy as LetInByRecord,
    JoinToken as JoinTokenRecord,
    EnrollmentSecret as EnrollmentSecretRecord,
}

/// One of its own, because its last two fields are one of the domain's: flattening that costs more than all the others.
#[derive(Serialize, Deserialize)]
struct EnrollmentRecord {
    serial: Serial,
    host: HostId,
    tenant: TenantId,
    #[serde(with = "ViaRecord")]
    via: Via,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    peer: Option<IpAddr>,
    #[serde(serialize_with = "as_text", deserialize_with = "hex::deserialize")]
    spki: SpkiHash,
    revoked_at: Option<Timestamp>,
    revocation_reason: Option<RevocationReason>,
}

impl ToDisk for Enrollment {
    fn to_disk<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Self { serial, host, tenant, via, issued_at, not_before, not_after, peer, spki, revocation } =
            *self;
        let (revoked_at, revocation_reason) = revocation.map(|r| (r.at, r.reason)).unzip();
        let record = EnrollmentRecord {
            serial,
            host,
            tenant,
            via,
            issued_at,
            not_before,
            not_after,
            peer,
            spki,
            revoked_at,
            revocation_reason,
        };
        record.serialize(to)
    }
}

impl FromDisk for Enrollment {
    fn from_disk<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let record = EnrollmentRecord::deserialize(from)?;
        let revoked = record.revoked_at.zip(record.revocation_reason);
        Ok(Self {
            serial: record.serial,
            host: record.host,
            tenant: record.tenant,
            via: record.via,
            issued_at: record.issued_at,
            not_before: record.not_before,
            not_after: record.not_after,
            peer: record.peer,
            spki: record.spki,
            revocation: revoked.map(|(at, reason)| Revocation { at, reason }),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Via", tag = "kind", rename_all = "snake_case")]
enum ViaRecord {
    Token { id: CredentialId },
    Secret { id: CredentialId },
    Rotation { from: Serial },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "LetInBy", tag = "kind", rename_all = "snake_case")]
enum LetInByRecord {
    Token { id: CredentialId },
    Secret { id: CredentialId },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "JoinToken")]
struct JoinTokenRecord {
    id: CredentialId,
    #[serde(with = "hex")]
    hash: CredentialHash,
    tenant: TenantId,
    agent: Option<AgentId>,
    name: Option<Label>,
    created_at: Timestamp,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<Tag>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EnrollmentSecret")]
struct EnrollmentSecretRecord {
    id: CredentialId,
    #[serde(with = "hex")]
    hash: CredentialHash,
    tenant: TenantId,
    name: Label,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    max_uses: Option<u32>,
    uses: u32,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<Tag>,
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    from: Networks,
}
