//! The shapes that go to disk: JSON with named fields, so that a field can be added without a migration.
//! Domain values convert both ways, written out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use data_encoding::{BASE64, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ReadError;
use super::rows::Table;
use crate::domain::enroll::credential::CredentialHash;
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, Revocation, RevocationReason, SpkiHash, Via};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::identity::clock_marks::{ClockMark, ClockMarks};
use crate::domain::identity::deny::Identity;
use crate::domain::identity::hierarchy::{Hierarchy, Intermediate};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{AgentId, TrustDomain};
use crate::domain::ids::{CredentialId, HostId, TenantId, UserId};
use crate::domain::insight::audit::{ChainHead, KnownLoss, MissingRecords};
use crate::domain::insight::timeline::HostEvent;
use crate::domain::label::Label;
use crate::domain::people::api_token::{ApiToken, Maker};
use crate::domain::people::permission::Permission;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::{PasswordHash, Preferences, Role, User, Username};

pub(super) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data with text keys and always become JSON")
}

pub(super) fn decode<R: DeserializeOwned>(table: Table, content: &[u8]) -> Result<R, ReadError> {
    serde_json::from_slice(content).map_err(|source| ReadError::Record { table: table.name(), source })
}

pub(super) fn user_of(record: UserRecord) -> Result<User, ReadError> {
    User::try_from(record).map_err(|source| ReadError::Record { table: Table::Users.name(), source })
}

/// Bytes that JSON carries as hex (short) or base64 (long).
mod bytes {
    use super::{BASE64, Deserialize, Deserializer, HEXLOWER, Serializer};

    pub(super) mod hex {
        use super::{Deserialize, Deserializer, HEXLOWER, Serializer};

        pub(in super::super) fn serialize<S: Serializer, const N: usize>(
            bytes: &[u8; N],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.serialize_str(&HEXLOWER.encode(bytes))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
            from: D,
        ) -> Result<[u8; N], D::Error> {
            let text = String::deserialize(from)?;
            let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
            bytes.try_into().map_err(|_| serde::de::Error::custom("wrong length"))
        }
    }

    pub(super) mod base64 {
        use super::{BASE64, Deserialize, Deserializer, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&BASE64.encode(bytes))
        }

        pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            let text = String::deserialize(from)?;
            BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Base64(#[serde(with = "bytes::base64")] Vec<u8>);

#[derive(Serialize, Deserialize)]
pub(super) struct TenantRecord {
    id: TenantId,
    name: Label,
    created_at: Timestamp,
}

impl From<&Tenant> for TenantRecord {
    fn from(tenant: &Tenant) -> Self {
        Self { id: tenant.id, name: tenant.name.clone(), created_at: tenant.created_at }
    }
}

impl From<TenantRecord> for Tenant {
    fn from(record: TenantRecord) -> Self {
        Self { id: record.id, name: record.name, created_at: record.created_at }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct FactsRecord {
    hostname: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    #[serde(default)]
    ips: Vec<IpAddr>,
    machine_id: Option<String>,
    agent_version: Option<String>,
}

impl From<&HostFacts> for FactsRecord {
    fn from(facts: &HostFacts) -> Self {
        Self {
            hostname: facts.hostname.clone(),
            os: facts.os.clone(),
            arch: facts.arch.clone(),
            ips: facts.ips.clone(),
            machine_id: facts.machine_id.clone(),
            agent_version: facts.agent_version.clone(),
        }
    }
}

impl From<FactsRecord> for HostFacts {
    fn from(record: FactsRecord) -> Self {
        Self {
            hostname: record.hostname,
            os: record.os,
            arch: record.arch,
            ips: record.ips,
            machine_id: record.machine_id,
            agent_version: record.agent_version,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct HostRecord {
    id: HostId,
    tenant: TenantId,
    agent: AgentId,
    facts: FactsRecord,
    first_enrolled_at: Timestamp,
    decommissioned_at: Option<Timestamp>,
    newest_serial: Serial,
    svid_not_after: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    flags: BTreeSet<HostFlag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    let_in_by: Option<LetInByRecord>,
}

impl From<&Host> for HostRecord {
    fn from(host: &Host) -> Self {
        Self {
            id: host.id,
            tenant: host.tenant,
            agent: host.agent.clone(),
            facts: FactsRecord::from(&host.facts),
            first_enrolled_at: host.first_enrolled_at,
            decommissioned_at: host.decommissioned_at,
            newest_serial: host.newest_serial,
            svid_not_after: host.svid_not_after,
            flags: host.flags.clone(),
            let_in_by: host.let_in_by.map(LetInByRecord::from),
        }
    }
}

impl HostRecord {
    pub(super) const fn id(&self) -> HostId {
        self.id
    }

    /// Says what let the host in, where a store that is being migrated did not.
    pub(super) fn set_let_in_by(&mut self, by: LetInBy) {
        self.let_in_by = Some(by.into());
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { tenant: self.tenant, agent: self.agent.clone() }
    }

    /// The host, with its last saved report laid over what enrollment knew, and since when its identity is denied.
    pub(super) fn with(self, report: Option<ReportRecord>, revoked_at: Option<Timestamp>) -> Host {
        let mut facts = HostFacts::from(self.facts);
        let mut last_seen = None;
        let mut newest_shown = None;
        if let Some(report) = report {
            last_seen = report.at;
            newest_shown = report.newest_shown;
            if let Some(reported) = report.facts {
                facts = HostFacts::from(reported).or(&facts);
            }
        }
        Host {
            id: self.id,
            tenant: self.tenant,
            agent: self.agent,
            facts,
            first_enrolled_at: self.first_enrolled_at,
            last_seen,
            newest_shown,
            decommissioned_at: self.decommissioned_at,
            revoked_at,
            let_in_by: self.let_in_by.map(LetInBy::from),
            newest_serial: self.newest_serial,
            svid_not_after: self.svid_not_after,
            flags: self.flags,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ReportRecord {
    pub(super) at: Option<Timestamp>,
    pub(super) facts: Option<FactsRecord>,
    /// The newest SVID that the host has shown.
    #[serde(default)]
    pub(super) newest_shown: Option<Serial>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum LetInByRecord {
    Token { id: CredentialIdText },
    Secret { id: CredentialIdText },
}

impl From<LetInBy> for LetInByRecord {
    fn from(by: LetInBy) -> Self {
        match by {
            LetInBy::Token(id) => Self::Token { id: CredentialIdText(id) },
            LetInBy::Secret(id) => Self::Secret { id: CredentialIdText(id) },
        }
    }
}

impl From<LetInByRecord> for LetInBy {
    fn from(record: LetInByRecord) -> Self {
        match record {
            LetInByRecord::Token { id } => Self::Token(id.0),
            LetInByRecord::Secret { id } => Self::Secret(id.0),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum ViaRecord {
    Token { id: CredentialIdText },
    Secret { id: CredentialIdText },
    Rotation { from: Serial },
}

/// A credential id in its printed form.
struct CredentialIdText(CredentialId);

impl Serialize for CredentialIdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CredentialIdText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct EnrollmentRecord {
    serial: Serial,
    host: HostId,
    tenant: TenantId,
    via: ViaRecord,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    peer: Option<IpAddr>,
    #[serde(with = "bytes::hex")]
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
pub(super) struct JoinTokenRecord {
    id: CredentialIdText,
    #[serde(with = "bytes::hex")]
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
pub(super) struct EnrollmentSecretRecord {
    id: CredentialIdText,
    #[serde(with = "bytes::hex")]
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

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct UserRecord {
    id: UserId,
    username: String,
    role: Role,
    tenant: Option<TenantId>,
    password: String,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
    #[serde(default)]
    preferences: Preferences,
}

impl UserRecord {
    /// Whether nothing differs but how the person wants to see things.
    pub(super) fn differs_in_preferences_only(mut self, before: &Self) -> bool {
        self.preferences = before.preferences;
        self == *before
    }
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            username: user.username.to_string(),
            role: user.role,
            tenant: user.tenant,
            password: user.password.as_phc().to_owned(),
            created_at: user.created_at,
            disabled_at: user.disabled_at,
            preferences: user.preferences,
        }
    }
}

impl TryFrom<UserRecord> for User {
    type Error = serde_json::Error;

    fn try_from(record: UserRecord) -> Result<Self, serde_json::Error> {
        Ok(Self {
            id: record.id,
            username: Username::existing(&record.username).map_err(serde::de::Error::custom)?,
            role: record.role,
            tenant: record.tenant,
            password: PasswordHash::from_phc(record.password),
            created_at: record.created_at,
            disabled_at: record.disabled_at,
            preferences: record.preferences,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct HierarchyRecord {
    trust_domain: TrustDomain,
    roots: Vec<Base64>,
    intermediates: Vec<IntermediateRecord>,
}

#[derive(Serialize, Deserialize)]
struct IntermediateRecord {
    certificate: Base64,
    sealed_key: Base64,
}

impl From<&Hierarchy> for HierarchyRecord {
    fn from(hierarchy: &Hierarchy) -> Self {
        let intermediate = |i: &Intermediate| IntermediateRecord {
            certificate: Base64(i.certificate.clone()),
            sealed_key: Base64(i.sealed_key.clone()),
        };
        Self {
            trust_domain: hierarchy.trust_domain.clone(),
            roots: hierarchy.roots.iter().cloned().map(Base64).collect(),
            intermediates: hierarchy.intermediates.iter().map(intermediate).collect(),
        }
    }
}

impl From<HierarchyRecord> for Hierarchy {
    fn from(record: HierarchyRecord) -> Self {
        let intermediate =
            |i: IntermediateRecord| Intermediate { certificate: i.certificate.0, sealed_key: i.sealed_key.0 };
        Self {
            trust_domain: record.trust_domain,
            roots: record.roots.into_iter().map(|root| root.0).collect(),
            intermediates: record.intermediates.into_iter().map(intermediate).collect(),
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SessionRecord {
    user: UserId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    #[serde(default)]
    address: Option<IpAddr>,
}

impl From<&Session> for SessionRecord {
    fn from(session: &Session) -> Self {
        Self {
            user: session.user,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            address: session.address,
        }
    }
}

impl SessionRecord {
    pub(super) const fn with(self, key: SessionKey) -> Session {
        Session {
            key,
            user: self.user,
            created_at: self.created_at,
            last_used_at: self.last_used_at,
            address: self.address,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ApiTokenRecord {
    id: CredentialIdText,
    #[serde(with = "bytes::hex")]
    hash: [u8; 32],
    name: Label,
    permissions: Vec<String>,
    tenant: Option<TenantId>,
    /// The user who made the token; none: the local operator.
    maker: Option<UserId>,
    /// The token that it was made with.
    #[serde(default)]
    parent: Option<CredentialIdText>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<&ApiToken> for ApiTokenRecord {
    fn from(token: &ApiToken) -> Self {
        Self {
            id: CredentialIdText(token.id),
            hash: *token.hash.as_bytes(),
            name: token.name.clone(),
            permissions: token.permissions.iter().map(ToString::to_string).collect(),
            tenant: token.tenant,
            maker: match token.maker {
                Maker::Local => None,
                Maker::User(id) => Some(id),
            },
            parent: token.parent.map(CredentialIdText),
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

impl From<ApiTokenRecord> for ApiToken {
    fn from(record: ApiTokenRecord) -> Self {
        // A permission that a newer version granted and this one does not know is not granted.
        let known = |text: &String| text.parse::<Permission>().ok();
        Self {
            id: record.id.0,
            hash: CredentialHash::from_bytes(record.hash),
            name: record.name,
            permissions: record.permissions.iter().filter_map(known).collect(),
            tenant: record.tenant,
            maker: record.maker.map_or(Maker::Local, Maker::User),
            parent: record.parent.map(|parent| parent.0),
            created_at: record.created_at,
            expires_at: record.expires_at,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct HostEventRecord {
    at: Timestamp,
    kind: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    detail: BTreeMap<String, String>,
}

impl From<HostEvent> for HostEventRecord {
    fn from(event: HostEvent) -> Self {
        Self { at: event.at, kind: event.kind, detail: event.detail }
    }
}

impl From<HostEventRecord> for HostEvent {
    fn from(record: HostEventRecord) -> Self {
        Self { at: record.at, kind: record.kind, detail: record.detail }
    }
}

/// Why and until when a serial is denied.
#[derive(Serialize, Deserialize)]
pub(super) struct DeniedSerialRecord {
    pub(super) not_after: Timestamp,
    pub(super) since: Timestamp,
    pub(super) reason: RevocationReason,
}

/// What the wall clock has shown while the server ran; times that it ran are in milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct ClockMarksRecord {
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
        Self {
            ran: SignedDuration::from_millis(record.ran),
            marks: record.marks.into_iter().map(mark).collect(),
        }
    }
}

/// What the audit trail was last found to have lost.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LossRecord {
    after: Option<u64>,
    seen: HeadRecord,
    stated: Option<HeadRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HeadRecord {
    seq: u64,
    hash: String,
}

impl From<ChainHead> for HeadRecord {
    fn from(ChainHead { seq, hash }: ChainHead) -> Self {
        Self { seq, hash }
    }
}

impl From<HeadRecord> for ChainHead {
    fn from(HeadRecord { seq, hash }: HeadRecord) -> Self {
        Self { seq, hash }
    }
}

impl From<KnownLoss> for LossRecord {
    fn from(loss: KnownLoss) -> Self {
        let KnownLoss { missing: MissingRecords { after, seen }, stated } = loss;
        Self { after, seen: seen.into(), stated: stated.map(HeadRecord::from) }
    }
}

impl From<LossRecord> for KnownLoss {
    fn from(record: LossRecord) -> Self {
        let LossRecord { after, seen, stated } = record;
        Self { missing: MissingRecords { after, seen: seen.into() }, stated: stated.map(ChainHead::from) }
    }
}
