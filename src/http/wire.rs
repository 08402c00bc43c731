//! The JSON shapes of requests and answers. Times are RFC 3339 in UTC.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::hosts::HostNow;
use crate::app::issuing::Svid;
use crate::domain::credential::Credential;
use crate::domain::enrollment::{Enrollment, Via};
use crate::domain::enrollment_secret::EnrollmentSecret;
use crate::domain::host::{HostFacts, HostFlag};
use crate::domain::join_token::JoinToken;

/// `POST /enroll/agent`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnrollBody {
    #[serde(default)]
    pub(super) token: Option<Zeroizing<String>>,
    #[serde(default)]
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) csr: String,
    #[serde(default)]
    pub(super) host: Option<HostBody>,
}

/// What a machine says of itself. Unknown facts are ignored, so that newer agents can enroll.
#[derive(Deserialize, Default)]
pub(super) struct HostBody {
    #[serde(default)]
    hostname: Option<String>,
    #[serde(default)]
    os: Option<String>,
    #[serde(default)]
    arch: Option<String>,
    #[serde(default)]
    ips: Option<Vec<String>>,
    #[serde(default)]
    machine_id: Option<String>,
    #[serde(default)]
    agent_version: Option<String>,
}

impl From<HostBody> for HostFacts {
    fn from(body: HostBody) -> Self {
        let [hostname, os, arch, machine_id, agent_version] =
            [&body.hostname, &body.os, &body.arch, &body.machine_id, &body.agent_version]
                .map(|fact| fact.as_deref().unwrap_or_default());
        let ips = body.ips.iter().flatten().filter_map(|ip| ip.parse().ok());
        Self::bounded([hostname, os, arch, machine_id, agent_version], ips)
    }
}

/// `POST /enroll/agent/rotate`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateBody {
    pub(super) chain: String,
    pub(super) csr: String,
    pub(super) proof: String,
}

/// The answer to both: an SVID and what belongs to it.
#[derive(Serialize)]
pub(super) struct SvidAnswer {
    agent_id: String,
    host_id: String,
    tenant_id: String,
    spiffe_id: String,
    certificate: String,
    intermediate: String,
    trust_bundle: String,
    server_ca: Option<String>,
    grpc_addr: Option<String>,
    serial: String,
    issued_at: Timestamp,
    not_after: Timestamp,
}

impl SvidAnswer {
    pub(super) fn new(svid: Svid, server_ca: Option<String>, grpc_addr: Option<String>) -> Self {
        Self {
            agent_id: svid.id.agent.to_string(),
            host_id: svid.host.to_string(),
            tenant_id: svid.id.tenant.to_string(),
            spiffe_id: svid.id.to_string(),
            certificate: svid.certificate_pem,
            intermediate: svid.intermediate_pem,
            trust_bundle: svid.trust_bundle_pem,
            server_ca,
            grpc_addr,
            serial: svid.serial.to_string(),
            issued_at: svid.issued_at,
            not_after: svid.not_after,
        }
    }
}

/// `POST /v1/agents/enroll-tokens`
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct MintBody {
    #[serde(default)]
    pub(super) agent_id: Option<String>,
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) ttl_seconds: Option<i64>,
}

/// A join token, without its secret.
#[derive(Serialize)]
pub(super) struct TokenItem {
    id: String,
    tenant_id: String,
    agent_id: Option<String>,
    name: Option<String>,
    /// `open`, `used`, `expired` or `voided`.
    state: &'static str,
    created_at: Timestamp,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
}

impl TokenItem {
    pub(super) fn new(token: &JoinToken, now: Timestamp) -> Self {
        Self {
            id: token.id.to_string(),
            tenant_id: token.tenant.to_string(),
            agent_id: token.agent.as_ref().map(ToString::to_string),
            name: token.name.as_ref().map(ToString::to_string),
            state: token.state(now).as_str(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            used_at: token.used_at,
            voided_at: token.voided_at,
        }
    }
}

/// The only answer that ever holds a join token's text.
#[derive(Serialize)]
pub(super) struct MintedToken {
    #[serde(flatten)]
    item: TokenItem,
    token: Zeroizing<String>,
    /// The pin of the serving certificate, when it is known.
    ca_pin: Option<String>,
}

impl MintedToken {
    pub(super) fn new(
        token: &JoinToken,
        credential: &Credential,
        now: Timestamp,
        ca_pin: Option<String>,
    ) -> Self {
        Self { item: TokenItem::new(token, now), token: credential.reveal(), ca_pin }
    }
}

/// `POST /v1/enrollment-secrets`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretBody {
    pub(super) name: String,
    #[serde(default)]
    pub(super) max_uses: Option<i64>,
    #[serde(default)]
    pub(super) ttl_seconds: Option<i64>,
}

/// An enrollment secret, without its text.
#[derive(Serialize)]
pub(super) struct SecretItem {
    id: String,
    tenant_id: String,
    name: String,
    created_at: Timestamp,
    uses: u32,
    max_uses: Option<u32>,
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<&EnrollmentSecret> for SecretItem {
    fn from(secret: &EnrollmentSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            tenant_id: secret.tenant.to_string(),
            name: secret.name.to_string(),
            created_at: secret.created_at,
            uses: secret.uses,
            max_uses: secret.max_uses,
            expires_at: secret.expires_at,
            last_used_at: secret.last_used_at,
            revoked_at: secret.revoked_at,
        }
    }
}

/// The only answer that ever holds an enrollment secret's text.
#[derive(Serialize)]
pub(super) struct CreatedSecret {
    #[serde(flatten)]
    item: SecretItem,
    secret: Zeroizing<String>,
}

impl CreatedSecret {
    pub(super) fn new(secret: &EnrollmentSecret, credential: &Credential) -> Self {
        Self { item: SecretItem::from(secret), secret: credential.reveal() }
    }
}

/// A host and whether it is there.
#[derive(Serialize)]
pub(super) struct HostItem {
    id: String,
    agent_id: String,
    tenant_id: String,
    spiffe_id: Option<String>,
    hostname: Option<String>,
    os: Option<String>,
    arch: Option<String>,
    ips: Vec<IpAddr>,
    machine_id: Option<String>,
    agent_version: Option<String>,
    /// `online` or `offline`.
    status: &'static str,
    first_enrolled_at: Timestamp,
    last_seen: Option<Timestamp>,
    decommissioned_at: Option<Timestamp>,
    svid_not_after: Timestamp,
    flags: Vec<&'static str>,
}

impl HostItem {
    pub(super) fn new(now: HostNow, trust_domain: Option<&crate::domain::spiffe::TrustDomain>) -> Self {
        let HostNow { host, online } = now;
        let spiffe_id = trust_domain.map(|trust_domain| {
            let id = crate::domain::spiffe::SpiffeId {
                trust_domain: trust_domain.clone(),
                tenant: host.tenant,
                agent: host.agent.clone(),
            };
            id.to_string()
        });
        Self {
            id: host.id.to_string(),
            agent_id: host.agent.to_string(),
            tenant_id: host.tenant.to_string(),
            spiffe_id,
            hostname: host.facts.hostname,
            os: host.facts.os,
            arch: host.facts.arch,
            ips: host.facts.ips,
            machine_id: host.facts.machine_id,
            agent_version: host.facts.agent_version,
            status: if online { "online" } else { "offline" },
            first_enrolled_at: host.first_enrolled_at,
            last_seen: host.last_seen,
            decommissioned_at: host.decommissioned_at,
            svid_not_after: host.svid_not_after,
            flags: host.flags.into_iter().map(HostFlag::as_str).collect(),
        }
    }
}

/// One issued certificate.
#[derive(Serialize)]
pub(super) struct EnrollmentItem {
    serial: String,
    host_id: String,
    tenant_id: String,
    /// `token`, `secret` or `rotation`.
    via: &'static str,
    credential_id: Option<String>,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    peer: Option<IpAddr>,
    revoked: bool,
    revoked_at: Option<Timestamp>,
    reason: Option<&'static str>,
}

impl From<Enrollment> for EnrollmentItem {
    fn from(enrollment: Enrollment) -> Self {
        let revocation = enrollment.revocation;
        Self {
            serial: enrollment.serial.to_string(),
            host_id: enrollment.host.to_string(),
            tenant_id: enrollment.tenant.to_string(),
            via: Via::as_str(enrollment.via),
            credential_id: enrollment.via.credential().map(|id| id.to_string()),
            issued_at: enrollment.issued_at,
            not_before: enrollment.not_before,
            not_after: enrollment.not_after,
            peer: enrollment.peer,
            revoked: revocation.is_some(),
            revoked_at: revocation.map(|r| r.at),
            reason: revocation.map(|r| r.reason.as_str()),
        }
    }
}

/// `POST /v1/agents/{agent_id}/revoke`
#[derive(Serialize)]
pub(super) struct RevokedAnswer {
    pub(super) agent_id: String,
    pub(super) tenant_id: String,
    pub(super) host_id: String,
    pub(super) revoked_at: Timestamp,
    pub(super) certificates_revoked: usize,
}

/// `GET /v1/audit/verify`
#[derive(Serialize)]
pub(super) struct ChainAnswer {
    pub(super) records: u64,
    pub(super) intact: bool,
    /// The sequence number of the first record that does not continue the chain.
    pub(super) first_broken: Option<u64>,
    pub(super) why: Option<&'static str>,
}

/// `GET /v1/agent-ca`
#[derive(Serialize)]
pub(super) struct AgentCaAnswer {
    pub(super) trust_domain: String,
    pub(super) certificates: Vec<CaCertificate>,
    /// The pin of the HTTPS listener's certificate: another CA than this one.
    pub(super) server_pin: Option<String>,
}

#[derive(Serialize)]
pub(super) struct CaCertificate {
    pub(super) role: &'static str,
    pub(super) subject: String,
    pub(super) serial: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) sha256: String,
}
