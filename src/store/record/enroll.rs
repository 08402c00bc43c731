//! Enrollments and the credentials that let machines in, as they lie on disk.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::enroll::enrollment::{Enrollment, Revocation, RevocationReason, SpkiHash, Via};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::label::Label;
use crate::store::record::host::{CredentialIdText, ViaRecord};

#[derive(Serialize, Deserialize)]
pub(crate) struct EnrollmentRecord {
    serial: Serial,
    host: HostId,
    tenant: TenantId,
    via: ViaRecord,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    peer: Option<IpAddr>,
    #[serde(with = "crate::store::record::encoding::bytes::hex")]
    spki: [u8; 32],
    revoked_at: Option<Timestamp>,
    revocation_reason: Option<RevocationReason>,
}

impl From<&Enrollment> for EnrollmentRecord {
    fn from(enrollment: &Enrollment) -> Self {
        Self {
            serial: enrollment.serial,
            host: enrollment.host,
            tenant: enrollment.tenant,
            via: match enrollment.via {
                Via::Token(id) => ViaRecord::Token { id: CredentialIdText(id) },
                Via::Secret(id) => ViaRecord::Secret { id: CredentialIdText(id) },
                Via::Rotation { from } => ViaRecord::Rotation { from },
            },
            issued_at: enrollment.issued_at,
            not_before: enrollment.not_before,
            not_after: enrollment.not_after,
            peer: enrollment.peer,
            spki: *enrollment.spki.as_bytes(),
            revoked_at: enrollment.revocation.map(|r| r.at),
            revocation_reason: enrollment.revocation.map(|r| r.reason),
        }
    }
}

impl From<EnrollmentRecord> for Enrollment {
    fn from(record: EnrollmentRecord) -> Self {
        Self {
            serial: record.serial,
            host: record.host,
            tenant: record.tenant,
            via: match record.via {
                ViaRecord::Token { id } => Via::Token(id.0),
                ViaRecord::Secret { id } => Via::Secret(id.0),
                ViaRecord::Rotation { from } => Via::Rotation { from },
            },
            issued_at: record.issued_at,
            not_before: record.not_before,
            not_after: record.not_after,
            peer: record.peer,
            spki: SpkiHash::from_bytes(record.spki),
            revocation: record
                .revoked_at
                .zip(record.revocation_reason)
                .map(|(at, reason)| Revocation { at, reason }),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct JoinTokenRecord {
    id: CredentialIdText,
    #[serde(with = "crate::store::record::encoding::bytes::hex")]
    hash: [u8; 32],
    tenant: TenantId,
    agent: Option<AgentId>,
    name: Option<Label>,
    created_at: Timestamp,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
}

impl From<&JoinToken> for JoinTokenRecord {
    fn from(token: &JoinToken) -> Self {
        Self {
            id: CredentialIdText(token.id),
            hash: *token.hash.as_bytes(),
            tenant: token.tenant,
            agent: token.agent.clone(),
            name: token.name.clone(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            used_at: token.used_at,
            voided_at: token.voided_at,
        }
    }
}

impl From<JoinTokenRecord> for JoinToken {
    fn from(record: JoinTokenRecord) -> Self {
        Self {
            id: record.id.0,
            hash: CredentialHash::from_bytes(record.hash),
            tenant: record.tenant,
            agent: record.agent,
            name: record.name,
            created_at: record.created_at,
            expires_at: record.expires_at,
            used_at: record.used_at,
            voided_at: record.voided_at,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct EnrollmentSecretRecord {
    id: CredentialIdText,
    #[serde(with = "crate::store::record::encoding::bytes::hex")]
    hash: [u8; 32],
    tenant: TenantId,
    name: Label,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    max_uses: Option<u32>,
    uses: u32,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<&EnrollmentSecret> for EnrollmentSecretRecord {
    fn from(secret: &EnrollmentSecret) -> Self {
        Self {
            id: CredentialIdText(secret.id),
            hash: *secret.hash.as_bytes(),
            tenant: secret.tenant,
            name: secret.name.clone(),
            created_at: secret.created_at,
            expires_at: secret.expires_at,
            max_uses: secret.max_uses,
            uses: secret.uses,
            last_used_at: secret.last_used_at,
            revoked_at: secret.revoked_at,
        }
    }
}

impl From<EnrollmentSecretRecord> for EnrollmentSecret {
    fn from(record: EnrollmentSecretRecord) -> Self {
        Self {
            id: record.id.0,
            hash: CredentialHash::from_bytes(record.hash),
            tenant: record.tenant,
            name: record.name,
            created_at: record.created_at,
            expires_at: record.expires_at,
            max_uses: record.max_uses,
            uses: record.uses,
            last_used_at: record.last_used_at,
            revoked_at: record.revoked_at,
        }
    }
}
