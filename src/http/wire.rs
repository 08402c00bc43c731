//! The JSON shapes of requests and answers. Times are RFC 3339 in UTC.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ServerFacts;
use super::reach::ReachableAddresses;
use super::words::{CredentialWord, HostStatus, IssuedVia, LiveKind, PermissionName, SeverityName};
use crate::app::access::api_tokens::ListedToken;
use crate::app::access::users::ChangedUser;
use crate::app::insight::audit::NumberedRecord;
use crate::app::insight::fleet::HostNow;
use crate::app::insight::overview::Overview;
use crate::app::issue::hosts::{CredentialNow, HostDetail};
use crate::app::issue::issuing::IssuedAnswer;
use crate::domain::code::Code;
use crate::domain::enroll::credential::Credential;
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, RevocationReason};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_lines;
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::enroll::join_token::{JoinToken, JoinTokenState};
use crate::domain::host::{HostFacts, HostFlag, HostState};
use crate::domain::identity::spiffe::AgentId;
use crate::domain::insight::audit::{Outcome, SaltedName};
use crate::domain::insight::finding::Finding;
use crate::domain::insight::timeline::{HostEvent, Source, TimelineEntry};
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::{ClockStyle, Preferences, Role, TimeZone, User};
use crate::http::input::strict::{optional_object, whole_number};

/// Names and labels: 1 to 128 characters without control characters, and not blank.
const NAME: &str = r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,128}$";
/// Agent ids; never `.` or `..`.
const AGENT_ID: &str = r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$";
const BASE64_TEXT: &str =
    r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
/// Sign-in names.
const USERNAME: &str = r"^[A-Za-z0-9._@-]{1,64}$";

/// `POST /enroll/agent`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["token"], "properties": {
        "token": { "type": "string", "not": { "pattern": "^(mes|mat)_" } }, "secret": { "type": "null" }
    } },
    { "required": ["secret"], "properties": {
        "secret": { "type": "string", "not": { "pattern": "^(mjt|mat)_" } }, "token": { "type": "null" }
    } },
]))]
pub(crate) struct EnrollBody {
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(crate) token: Option<Zeroizing<String>>,
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub(crate) secret: Option<Zeroizing<String>>,
    pub(crate) csr: String,
    #[serde(default, deserialize_with = "optional_object")]
    pub(crate) host: Option<HostBody>,
}

/// What a machine says of itself. Unknown facts are ignored, so that newer agents can enroll.
#[derive(Deserialize, Default, JsonSchema)]
pub(crate) struct HostBody {
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
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    pub(crate) chain: String,
    pub(crate) csr: String,
    /// Standard base64 with padding (RFC 4648, 4).
    #[schemars(regex(pattern = BASE64_TEXT))]
    pub(crate) proof: String,
}

/// The answer to both: an SVID and what belongs to it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SvidAnswer {
    agent_id: String,
    host_id: String,
    tenant_id: String,
    spiffe_id: String,
    certificate: String,
    intermediate: String,
    trust_bundle: String,
    server_ca: Option<String>,
    /// Where the gRPC listener is, `HOST:PORT`.
    grpc_addr: Option<String>,
    /// Every address at which agents may enroll and rotate, `https://HOST:PORT`, in the order to try them.
    servers: Vec<String>,
    /// Every address of the gRPC listener, `HOST:PORT`, in the order to try them.
    grpc_addrs: Vec<String>,
    serial: String,
    issued_at: Timestamp,
    not_after: Timestamp,
}

impl SvidAnswer {
    pub(crate) fn new(svid: IssuedAnswer, server_ca: Option<String>, told: ReachableAddresses) -> Self {
        Self {
            agent_id: svid.id.agent.to_string(),
            host_id: svid.host.to_string(),
            tenant_id: svid.id.tenant.to_string(),
            spiffe_id: svid.id.to_string(),
            certificate: svid.certificate_pem,
            intermediate: svid.intermediate_pem,
            trust_bundle: svid.trust_bundle_pem,
            server_ca,
            grpc_addr: told.grpc_addr.map(|address| address.to_string()),
            servers: told.servers.iter().map(ToString::to_string).collect(),
            grpc_addrs: told.grpc_addrs.iter().map(ToString::to_string).collect(),
            serial: svid.serial.to_string(),
            issued_at: svid.issued_at,
            not_after: svid.not_after,
        }
    }
}

/// `POST /v1/agents/enroll-tokens`
#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MintBody {
    #[serde(default)]
    #[schemars(regex(pattern = AGENT_ID))]
    pub(crate) agent_id: Option<String>,
    #[serde(default)]
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: Option<String>,
    /// From a minute to 30 days; an hour when left out.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 60, max = 2_592_000))]
    pub(crate) ttl_seconds: Option<i64>,
}

/// A join token, without its secret.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenItem {
    id: String,
    tenant_id: String,
    agent_id: Option<String>,
    name: Option<String>,
    state: JoinTokenState,
    created_at: Timestamp,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    voided_at: Option<Timestamp>,
}

impl TokenItem {
    pub(crate) fn new(token: &JoinToken, now: Timestamp) -> Self {
        Self {
            id: token.id.to_string(),
            tenant_id: token.tenant.to_string(),
            agent_id: token.agent.as_ref().map(ToString::to_string),
            name: token.name.as_ref().map(ToString::to_string),
            state: token.state(now),
            created_at: token.created_at,
            expires_at: token.expires_at,
            used_at: token.used_at,
            voided_at: token.voided_at,
        }
    }
}

/// The only answer that ever holds a join token's text.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MintedToken {
    #[serde(flatten)]
    item: TokenItem,
    #[schemars(with = "String")]
    token: Zeroizing<String>,
    /// The pin of the serving certificate, when it is known.
    ca_pin: Option<String>,
    /// Where agents enroll, `https://HOST:PORT`, as far as it is known.
    server: Option<String>,
    /// Why hosts will refuse the server at that address, if they will, and what to do about it.
    server_warning: Option<String>,
    /// Server, pin and token in one string to paste, when the server runs.
    #[schemars(with = "Option<String>")]
    join_link: Option<Zeroizing<String>>,
    /// The line to paste on a machine that is to be an agent from then on; it brings the program along.
    #[schemars(with = "Option<String>")]
    install_command: Option<Zeroizing<String>>,
    /// The line that enrolls and does nothing else, for a machine that has the program.
    #[schemars(with = "Option<String>")]
    enroll_command: Option<Zeroizing<String>>,
    /// Why nobody can use it as things stand.
    warning: Option<MintWarning>,
}

/// Why a token admits nobody as things stand.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MintWarning {
    /// `identity_revoked`: the agent id that it names is revoked, and must be re-enabled first.
    code: &'static str,
    message: String,
}

impl MintWarning {
    pub(crate) fn identity_revoked(agent: &AgentId) -> Self {
        let message = format!(
            "The identity of '{agent}' is revoked, so this token will be refused until its host is re-enabled."
        );
        Self { code: Code::IdentityRevoked.as_str(), message }
    }
}

impl MintedToken {
    pub(crate) fn new(
        token: &JoinToken,
        credential: &Credential,
        now: Timestamp,
        facts: &ServerFacts,
        warning: Option<MintWarning>,
    ) -> Self {
        let link = facts.join_link(credential);
        Self {
            warning,
            item: TokenItem::new(token, now),
            token: credential.reveal(),
            ca_pin: facts.server_pin(),
            server: facts.reach.address().map(|address| format!("https://{address}")),
            server_warning: facts.reach.warning(),
            join_link: link.as_ref().map(JoinLink::reveal),
            install_command: link.as_ref().map(|link| join_lines::install(link, facts.key_pin())),
            enroll_command: link.as_ref().map(join_lines::enroll),
        }
    }
}

/// `POST /v1/enrollment-secrets`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretBody {
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: String,
    /// Without it, any number of hosts.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) max_uses: Option<i64>,
    /// From a minute to five years; without it, until revoked.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 60, max = 157_680_000))]
    pub(crate) ttl_seconds: Option<i64>,
}

/// An enrollment secret, without its text.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SecretItem {
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
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedSecret {
    #[serde(flatten)]
    item: SecretItem,
    #[schemars(with = "String")]
    secret: Zeroizing<String>,
}

impl CreatedSecret {
    pub(crate) fn new(secret: &EnrollmentSecret, credential: &Credential) -> Self {
        Self { item: SecretItem::from(secret), secret: credential.reveal() }
    }
}

/// A host and whether it is there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HostItem {
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
    status: HostStatus,
    /// The first that fits.
    state: HostState,
    first_enrolled_at: Timestamp,
    last_seen: Option<Timestamp>,
    decommissioned_at: Option<Timestamp>,
    /// Since when its identity is revoked; a decommissioned host's is, too.
    revoked_at: Option<Timestamp>,
    svid_not_after: Timestamp,
    /// What let it in; `null` when that is not on record any more.
    credential: Option<HostCredential>,
    flags: Vec<HostFlag>,
}

/// What let a host in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HostCredential {
    kind: CredentialWord,
    id: String,
    /// A join token need not have one.
    name: Option<String>,
    /// An enrollment secret's: `active` or `revoked`; a join token's: `used`, or what else it has come to.
    state: &'static str,
}

impl From<CredentialNow> for HostCredential {
    fn from(credential: CredentialNow) -> Self {
        Self {
            kind: match credential.by {
                LetInBy::Token(_) => CredentialWord::Token,
                LetInBy::Secret(_) => CredentialWord::Secret,
            },
            id: credential.by.id().to_string(),
            name: credential.name.map(|name| name.to_string()),
            state: credential.state,
        }
    }
}

impl HostItem {
    pub(crate) fn new(
        detail: HostDetail,
        trust_domain: Option<&crate::domain::identity::spiffe::TrustDomain>,
    ) -> Self {
        let HostDetail { now: HostNow { host, online }, credential } = detail;
        let state = host.state();
        let spiffe_id = trust_domain.map(|trust_domain| {
            let id = crate::domain::identity::spiffe::SpiffeId {
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
            status: if online { HostStatus::Online } else { HostStatus::Offline },
            state,
            first_enrolled_at: host.first_enrolled_at,
            last_seen: host.last_seen,
            decommissioned_at: host.decommissioned_at,
            revoked_at: host.revoked_at,
            credential: credential.map(HostCredential::from),
            svid_not_after: host.svid_not_after,
            flags: host.flags.into_iter().collect(),
        }
    }
}

/// One issued certificate.
#[derive(Serialize, JsonSchema)]
pub(crate) struct EnrollmentItem {
    serial: String,
    host_id: String,
    tenant_id: String,
    via: IssuedVia,
    credential_id: Option<String>,
    issued_at: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    peer: Option<IpAddr>,
    revoked: bool,
    revoked_at: Option<Timestamp>,
    reason: Option<RevocationReason>,
}

impl From<Enrollment> for EnrollmentItem {
    fn from(enrollment: Enrollment) -> Self {
        let revocation = enrollment.revocation;
        Self {
            serial: enrollment.serial.to_string(),
            host_id: enrollment.host.to_string(),
            tenant_id: enrollment.tenant.to_string(),
            via: enrollment.via.into(),
            credential_id: enrollment.via.credential().map(|id| id.to_string()),
            issued_at: enrollment.issued_at,
            not_before: enrollment.not_before,
            not_after: enrollment.not_after,
            peer: enrollment.peer,
            revoked: revocation.is_some(),
            revoked_at: revocation.map(|r| r.at),
            reason: revocation.map(|r| r.reason),
        }
    }
}

/// `POST /v1/agents/{agent_id}/revoke`
#[derive(Serialize, JsonSchema)]
pub(crate) struct RevokedAnswer {
    pub(crate) agent_id: String,
    pub(crate) tenant_id: String,
    pub(crate) host_id: String,
    pub(crate) revoked_at: Timestamp,
    pub(crate) certificates_revoked: usize,
}

/// A record of the audit trail.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AuditRecord")]
pub(crate) struct AuditItem {
    /// Its place in the chain; for those who see one tenant, its place among that tenant's records.
    seq: u64,
    at: Timestamp,
    actor: String,
    source: String,
    tenant_id: Option<String>,
    action: String,
    target: String,
    outcome: Outcome,
    reason: Option<String>,
    detail: BTreeMap<String, String>,
    /// Names of hosts, which go when the host is deleted.
    names: BTreeMap<String, SaltedName>,
    /// `null` for those who see one tenant.
    prev_hash: Option<String>,
    /// Lower-case hex SHA-256 of this record without `hash`, as JSON with sorted keys and no white space, in which
    /// each of `names` is its own hash and `names` is left out when it is empty; `null` for those who see one tenant.
    hash: Option<String>,
}

impl AuditItem {
    /// A record as somebody may see it: how much others do shows neither in numbers nor in hashes.
    pub(crate) fn new(NumberedRecord { record, in_tenant }: NumberedRecord, sees_all: bool) -> Self {
        Self {
            seq: if sees_all { record.seq } else { in_tenant.unwrap_or(0) },
            at: record.at,
            actor: record.actor,
            source: record.source,
            tenant_id: record.tenant_id,
            action: record.action,
            target: record.target,
            outcome: record.outcome,
            reason: record.reason,
            detail: record.detail,
            names: record.names,
            prev_hash: sees_all.then_some(record.prev_hash),
            hash: sees_all.then_some(record.hash),
        }
    }
}

/// `GET /v1/audit/verify`
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChainAnswer {
    pub(crate) records: u64,
    pub(crate) intact: bool,
    /// The sequence number of the first record that does not continue the chain; `null` for those who see one tenant.
    pub(crate) first_broken: Option<u64>,
    pub(crate) why: Option<String>,
}

/// `GET /v1/agent-ca`
#[derive(Serialize, JsonSchema)]
pub(crate) struct AgentCaAnswer {
    pub(crate) trust_domain: String,
    pub(crate) certificates: Vec<CaCertificateItem>,
    /// The pin of the HTTPS listener's certificate: another CA than this one.
    pub(crate) server_pin: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct CaCertificateItem {
    pub(crate) role: &'static str,
    pub(crate) subject: String,
    pub(crate) serial: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) sha256: String,
}

/// `POST /v1/session`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    pub(crate) username: String,
    #[schemars(with = "String")]
    pub(crate) password: Zeroizing<String>,
}

/// Who is signed in, and what they may do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionAnswer {
    /// `null` for callers that are no person: API tokens and local commands.
    pub(crate) user: Option<SessionUser>,
    pub(crate) preferences: PreferencesBody,
    pub(crate) permissions: Vec<PermissionName>,
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionUser {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
    /// `null`: all tenants.
    pub(crate) tenant_id: Option<String>,
}

/// How a person wants to see times.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreferencesBody {
    pub(crate) time_zone: TimeZone,
    pub(crate) clock: ClockStyle,
}

impl From<Preferences> for PreferencesBody {
    fn from(preferences: Preferences) -> Self {
        Self { time_zone: preferences.time_zone, clock: preferences.clock }
    }
}

/// `POST /v1/users`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserBody {
    #[schemars(regex(pattern = USERNAME))]
    pub(crate) username: String,
    #[schemars(with = "String", length(min = 12, max = 256))]
    pub(crate) password: Zeroizing<String>,
    pub(crate) role: Role,
    /// Of a tenant, by its id or name. `null`: the caller's own, or all. The username of somebody who belongs to a
    /// tenant other than `default` ends in `@` and the tenant's name; it is added where it is missing.
    #[serde(default)]
    pub(crate) tenant_id: Option<String>,
}

/// `PATCH /v1/users/{id}`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserPatch {
    #[serde(default)]
    pub(crate) role: Option<Role>,
    #[serde(default)]
    pub(crate) disabled: Option<bool>,
    #[serde(default)]
    #[schemars(with = "Option<String>", length(min = 12, max = 256))]
    pub(crate) password: Option<Zeroizing<String>>,
}

/// A person.
#[derive(Serialize, JsonSchema)]
pub(crate) struct UserItem {
    id: String,
    username: String,
    role: Role,
    /// `null`: all tenants.
    tenant_id: Option<String>,
    disabled: bool,
    created_at: Timestamp,
}

impl From<User> for UserItem {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.to_string(),
            role: user.role,
            tenant_id: user.tenant.map(|tenant| tenant.to_string()),
            disabled: user.disabled_at.is_some(),
            created_at: user.created_at,
        }
    }
}

/// A person after a change.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChangedUserAnswer {
    #[serde(flatten)]
    item: UserItem,
    /// The person's API tokens that ended with this change: a password that somebody else sets ends them all, and so
    /// does being disabled.
    ended_api_tokens: Vec<OwnToken>,
}

impl From<ChangedUser> for ChangedUserAnswer {
    fn from(changed: ChangedUser) -> Self {
        let ended_api_tokens = changed.ended_tokens.into_iter().map(OwnToken::from).collect();
        Self { item: UserItem::from(changed.user), ended_api_tokens }
    }
}

/// An API token, as far as its maker's account goes.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OwnToken {
    id: String,
    name: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl From<ApiToken> for OwnToken {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

/// Whoever is signed in.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AccountAnswer {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
    /// `null`: all tenants.
    pub(crate) tenant_id: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) preferences: PreferencesBody,
    pub(crate) permissions: Vec<PermissionName>,
    /// Those that this person has made and that still grant something, newest first.
    pub(crate) api_tokens: Vec<OwnToken>,
}

/// `PUT /v1/account/password`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnPasswordBody {
    #[schemars(with = "String")]
    pub(crate) current: Zeroizing<String>,
    #[schemars(with = "String", length(min = 12, max = 256))]
    pub(crate) new: Zeroizing<String>,
    /// Whether the API tokens that this person has made end, too.
    #[serde(default)]
    pub(crate) end_api_tokens: bool,
}

/// What has ended with a password, besides the other sessions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct OwnPasswordAnswer {
    pub(crate) ended_api_tokens: Vec<OwnToken>,
}

/// One of the caller's own sessions.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SessionItem {
    id: String,
    created_at: Timestamp,
    last_used_at: Timestamp,
    expires_at: Timestamp,
    /// Where it was opened from; `null` for those of earlier versions.
    address: Option<IpAddr>,
    /// Whether it is the one that asks.
    current: bool,
}

impl SessionItem {
    pub(crate) fn new(session: &Session, asking: SessionKey) -> Self {
        Self {
            id: session.key.id().to_string(),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at(),
            address: session.address,
            current: session.key == asking,
        }
    }
}

/// `POST /v1/api-tokens`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiTokenBody {
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: String,
    #[schemars(length(min = 1))]
    pub(crate) permissions: Vec<PermissionName>,
    /// From a minute to five years; without it, until revoked.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 60, max = 157_680_000))]
    pub(crate) ttl_seconds: Option<i64>,
}

/// An API token, without its text.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ApiTokenItem {
    id: String,
    name: String,
    permissions: Vec<PermissionName>,
    tenant_id: Option<String>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
    /// The maker's username; `null`: the local operator.
    created_by: Option<String>,
    /// The API token that it was made with, and ends with.
    created_with: Option<String>,
}

impl From<ListedToken> for ApiTokenItem {
    fn from(listed: ListedToken) -> Self {
        let ListedToken { token, maker } = listed;
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            permissions: token.permissions.iter().map(|permission| (*permission).into()).collect(),
            tenant_id: token.tenant.map(|tenant| tenant.to_string()),
            created_at: token.created_at,
            expires_at: token.expires_at,
            created_by: maker.map(|maker| maker.to_string()),
            created_with: token.parent.map(|parent| parent.to_string()),
        }
    }
}

/// The only answer that ever holds an API token's text.
#[derive(Serialize, JsonSchema)]
pub(crate) struct CreatedApiToken {
    #[serde(flatten)]
    item: ApiTokenItem,
    #[schemars(with = "String")]
    token: Zeroizing<String>,
}

impl CreatedApiToken {
    pub(crate) fn new(listed: ListedToken, credential: &Credential) -> Self {
        Self { item: ApiTokenItem::from(listed), token: credential.reveal() }
    }
}

/// `POST /v1/tenants`
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantBody {
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: String,
}

/// A tenant.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TenantItem {
    id: String,
    name: String,
    created_at: Timestamp,
}

impl From<Tenant> for TenantItem {
    fn from(tenant: Tenant) -> Self {
        Self { id: tenant.id.to_string(), name: tenant.name.to_string(), created_at: tenant.created_at }
    }
}

/// A page of hosts.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HostList {
    pub(crate) items: Vec<HostItem>,
    pub(crate) next_cursor: Option<String>,
    /// How many hosts match in all.
    pub(crate) total: usize,
}

/// An entry of a host's timeline.
#[derive(Serialize, JsonSchema)]
pub(crate) struct HostEventItem {
    id: String,
    at: Timestamp,
    kind: String,
    source: Source,
    detail: BTreeMap<String, String>,
}

impl From<TimelineEntry> for HostEventItem {
    fn from(TimelineEntry { key, source, event }: TimelineEntry) -> Self {
        let HostEvent { at, kind, detail } = event;
        Self { id: key.to_string(), at, kind, source, detail }
    }
}

/// `GET /v1/overview`
#[derive(Serialize, JsonSchema)]
pub(crate) struct OverviewAnswer {
    hosts_online: usize,
    hosts_total: usize,
    hosts_decommissioned: usize,
    not_reported_24h: usize,
    /// The last 30 days, oldest first.
    enrollments_per_day: Vec<DayCount>,
    agent_ca: Option<AgentCaExpiry>,
    server_certificate: Option<ServerCertificateItem>,
    outage_forecast: ForecastItem,
    warnings: Vec<WarningItem>,
}

#[derive(Serialize, JsonSchema)]
struct DayCount {
    /// `YYYY-MM-DD`, UTC.
    date: String,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct AgentCaExpiry {
    trust_domain: String,
    root_not_after: Option<Timestamp>,
    intermediate_not_after: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct ServerCertificateItem {
    pub(crate) not_after: Timestamp,
    pub(crate) pin: Option<String>,
}

/// When SVIDs would have run out if the server stopped now.
#[derive(Serialize, JsonSchema)]
struct ForecastItem {
    first_expiry: Option<Timestamp>,
    half_expired: Option<Timestamp>,
    all_expired: Option<Timestamp>,
}

/// Something to do, and how. The most urgent comes first.
#[derive(Serialize, JsonSchema)]
pub(crate) struct WarningItem {
    code: &'static str,
    /// `critical`: something is broken or will be within days. `soon`: somebody has to act in the coming weeks.
    /// `tidy`: something is better put in order.
    severity: SeverityName,
    /// How many things it is about.
    count: u64,
    /// When what it warns of happens, or has happened.
    at: Option<Timestamp>,
    /// The path of the page that lists exactly what is counted.
    target: Option<&'static str>,
    message: String,
    hint: String,
}

impl From<Finding> for WarningItem {
    fn from(finding: Finding) -> Self {
        let Finding { code, severity, count, at, target, message, hint } = finding;
        Self { code, severity: severity.into(), count, at, target, message, hint }
    }
}

impl OverviewAnswer {
    pub(crate) fn new(overview: Overview, server_certificate: Option<ServerCertificateItem>) -> Self {
        let day = |(day, count): (u32, u64)| {
            let at = Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
            DayCount { date: at.strftime("%Y-%m-%d").to_string(), count }
        };
        Self {
            hosts_online: overview.online,
            hosts_total: overview.total,
            hosts_decommissioned: overview.decommissioned,
            not_reported_24h: overview.not_reported_24h,
            enrollments_per_day: overview.enrollments_per_day.into_iter().map(day).collect(),
            agent_ca: overview.agent_ca.map(|ca| AgentCaExpiry {
                trust_domain: ca.trust_domain,
                root_not_after: ca.root,
                intermediate_not_after: ca.intermediate,
            }),
            server_certificate,
            outage_forecast: ForecastItem {
                first_expiry: overview.forecast.first,
                half_expired: overview.forecast.half,
                all_expired: overview.forecast.all,
            },
            warnings: overview.warnings.into_iter().map(WarningItem::from).collect(),
        }
    }
}

/// `GET /.well-known/spiffe-bundle`: a JWK set (RFC 7517) as SPIFFE Trust Domain and Bundle 4 describes it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BundleAnswer {
    pub(crate) keys: Vec<BundleKeyItem>,
    pub(crate) spiffe_sequence: u64,
    /// Seconds.
    pub(crate) spiffe_refresh_hint: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct BundleKeyItem {
    pub(crate) r#use: &'static str,
    pub(crate) kty: &'static str,
    pub(crate) crv: &'static str,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) x5c: Vec<String>,
}

/// `GET /healthz` and `GET /readyz`
#[derive(Serialize, JsonSchema)]
pub(crate) struct HealthAnswer {
    pub(crate) status: &'static str,
}

/// The `data` of a server-sent event: that something changed, and what.
#[derive(Serialize, JsonSchema)]
pub(crate) struct LiveEvent {
    pub(crate) kind: LiveKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent_id: Option<String>,
}

impl LiveEvent {
    /// An event about what `subject` names; which id that is depends on the kind.
    pub(crate) fn about(kind: LiveKind, subject: Option<String>) -> Self {
        let mut event = Self { kind, host_id: None, secret_id: None, agent_id: None };
        match kind {
            LiveKind::Host | LiveKind::Timeline | LiveKind::Enrollment => event.host_id = subject,
            LiveKind::Secret => event.secret_id = subject,
            LiveKind::Revocation | LiveKind::Resync | LiveKind::Heartbeat => event.agent_id = subject,
        }
        event
    }
}
