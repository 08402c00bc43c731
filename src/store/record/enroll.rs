//! Enrollments and the credentials that let machines in, as they lie on disk.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, Revocation, RevocationReason, SpkiHash, Via};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::label::Label;
use crate::store::record::encoding::{as_text, hex, on_disk};

on_disk! {
    Enrollment as EnrollmentRecord,
    LetInBy as LetInByRecord,
    JoinToken as JoinTokenRecord,
    EnrollmentSecret as EnrollmentSecretRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Enrollment")]
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
    #[serde(flatten, with = "RevocationFields")]
    revocation: Option<Revocation>,
}

/// A revocation as two fields of what was revoked.
#[derive(Serialize, Deserialize)]
struct RevocationFields {
    revoked_at: Option<Timestamp>,
    revocation_reason: Option<RevocationReason>,
}

impl RevocationFields {
    fn serialize<S: Serializer>(revocation: &Option<Revocation>, to: S) -> Result<S::Ok, S::Error> {
        let (revoked_at, revocation_reason) = revocation.map(|r| (r.at, r.reason)).unzip();
        Serialize::serialize(&Self { revoked_at, revocation_reason }, to)
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Revocation>, D::Error> {
        let fields: Self = Deserialize::deserialize(from)?;
        let both = fields.revoked_at.zip(fields.revocation_reason);
        Ok(both.map(|(at, reason)| Revocation { at, reason }))
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
}
