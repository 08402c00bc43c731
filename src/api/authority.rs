//! The agent CA, for those who verify and for those who keep it.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /v1/agent-ca`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct AgentCaAnswer {
    pub(crate) trust_domain: String,
    pub(crate) certificates: Vec<CaCertificateItem>,
    /// The pin of the HTTPS listener's certificate: another CA than this one.
    pub(crate) server_pin: Option<String>,
    /// That another root takes the place of the one before; `null`: there is none.
    // Servers before 0.2.0 send neither this nor the next.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) root_change: Option<RootChangeItem>,
    /// What a root was asked to sign elsewhere and what has not come back.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) open_request: Option<RootRequestItem>,
}

/// How far another root is. It is the last of the roots.
#[derive(Serialize, JsonSchema, Deserialize)]
#[schemars(rename = "RootChange")]
pub(crate) struct RootChangeItem {
    /// Since when it is public.
    pub(crate) prepared_at: Timestamp,
    /// Since when it issues; `null`: it does not yet.
    pub(crate) activated_at: Option<Timestamp>,
    /// When the one before may go at the earliest.
    pub(crate) retire_from: Option<Timestamp>,
    /// Agents that were seen in the last week.
    pub(crate) agents_seen: usize,
    /// Those of them that have not reported that they know the roots as they are.
    pub(crate) agents_without: usize,
}

#[derive(Serialize, JsonSchema, Deserialize)]
#[schemars(rename = "RootRequest")]
pub(crate) struct RootRequestItem {
    /// `renew`, `revoke_intermediate` or `prepare_root`.
    pub(crate) task: Cow<'static, str>,
    pub(crate) made_at: Timestamp,
}

#[derive(Serialize, JsonSchema, Deserialize)]
#[schemars(rename = "CaCertificate")]
pub(crate) struct CaCertificateItem {
    pub(crate) role: Cow<'static, str>,
    pub(crate) subject: String,
    pub(crate) serial: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) sha256: String,
    /// From when on an intermediate issues; `null` for a root.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) issuing_from: Option<Timestamp>,
    /// When an intermediate was revoked; `null`: it was not.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) revoked_at: Option<Timestamp>,
    /// Whether relying parties are told of that by the root's revocation list.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) revocation_published: bool,
}

/// `GET /.well-known/spiffe-bundle`: a JWK set (RFC 7517) as SPIFFE Trust Domain and Bundle 4 describes it.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct BundleAnswer {
    pub(crate) keys: Vec<BundleKeyItem>,
    pub(crate) spiffe_sequence: u64,
    /// Seconds.
    pub(crate) spiffe_refresh_hint: u64,
}

/// A public key (RFC 7517 4). An elliptic curve's has `crv`, `x` and `y`, an RSA one `n` and `e`.
#[derive(Default, Serialize, JsonSchema, Deserialize)]
pub(crate) struct BundleKeyItem {
    /// `x509-svid`, `jwt-svid`, or in `/.well-known/jwks.json` `sig`.
    pub(crate) r#use: Cow<'static, str>,
    pub(crate) kty: Cow<'static, str>,
    /// A root certificate has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) alg: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crv: Option<Cow<'static, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) x: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) y: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) e: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) x5c: Option<Vec<String>>,
}

/// `GET /.well-known/jwks.json`: the keys of JWT-SVIDs (RFC 7517 5).
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct JwksAnswer {
    pub(crate) keys: Vec<BundleKeyItem>,
}

/// `GET /.well-known/openid-configuration` (OpenID Connect Discovery 1.0, section 3), as far as it concerns tokens that
/// nobody asks for in a browser.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct DiscoveryAnswer {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    pub(crate) response_types_supported: Vec<Cow<'static, str>>,
    pub(crate) subject_types_supported: Vec<Cow<'static, str>>,
    pub(crate) id_token_signing_alg_values_supported: Vec<String>,
    pub(crate) claims_supported: Vec<Cow<'static, str>>,
}

/// What `POST /local/agent-ca/request` answers. The root signs it in the process of the command that asked.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct RequestedIntermediate {
    pub(crate) trust_domain: String,
    /// PEM.
    pub(crate) roots: String,
    /// PEM: the roots' newest revocation lists, which the next one follows.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) root_lists: String,
    /// SubjectPublicKeyInfo, base64 of the DER.
    pub(crate) public_key: String,
    /// Base64. It is sealed with the envelope, and sent back with the certificate.
    pub(crate) sealed_key: String,
    /// The serial of the intermediate that goes onto the root's list.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) revoked: Option<String>,
    /// Where the certificate says that the root's list is.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) crl_url: Option<String>,
}

/// `POST /local/agent-ca/request-revocation` and `POST /local/agent-ca/publish-revocation`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RequestRevocationBody {
    /// The beginning of the intermediate's serial or SHA-256.
    pub(crate) intermediate: String,
}

/// `POST /local/agent-ca/revoke-intermediate`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeIntermediateBody {
    /// PEM: what issues from now on.
    pub(crate) certificate: String,
    /// PEM: the root's next revocation list.
    pub(crate) root_list: String,
    /// As it came with the request.
    pub(crate) sealed_key: String,
    /// The serial of the intermediate that goes.
    pub(crate) revoked: String,
    /// Whether relying parties are told at once, and not when agents have rotated.
    pub(crate) now: bool,
}

/// What `POST /local/agent-ca/revoke-intermediate` and `POST /local/agent-ca/publish-revocation` answer.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct RevokedIntermediateAnswer {
    pub(crate) issuing: CaCertificateItem,
    pub(crate) revoked: CaCertificateItem,
    /// When relying parties are told at the latest; `null`: they have been.
    pub(crate) publish_by: Option<Timestamp>,
}

/// `POST /local/agent-ca/renew`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewBody {
    /// PEM.
    pub(crate) certificate: String,
    /// PEM: the root's next revocation list.
    pub(crate) root_list: String,
    /// As it came with the request.
    pub(crate) sealed_key: String,
    /// Whether it issues at once, and not when relying parties have got to know it.
    pub(crate) now: bool,
}

/// `POST /local/agent-ca/root/request`: something for a root to sign that is kept offline.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootRequestBody {
    /// `renew`, `revoke_intermediate` or `prepare_root`.
    pub(crate) task: String,
    /// The beginning of the serial or SHA-256 of the intermediate that is to be revoked.
    pub(crate) intermediate: Option<String>,
    /// Whether what comes of it is in force at once.
    pub(crate) now: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub(crate) struct RootRequestAnswer {
    /// PEM: the file that travels.
    pub(crate) request: String,
    /// SHA-256 of the key that it is for.
    pub(crate) new_key: String,
}

/// `POST /local/agent-ca/root/install`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstallSignedBody {
    /// PEM: the file that came back.
    pub(crate) signed: String,
    pub(crate) now: bool,
}

/// One of them.
#[derive(Default, Deserialize, Serialize, JsonSchema)]
pub(crate) struct InstalledAnswer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renewed: Option<CaCertificateItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<RevokedIntermediateAnswer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prepared: Option<PreparedRootAnswer>,
}

/// `POST /local/agent-ca/root/prepare`: another root, and what it has signed.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrepareRootBody {
    /// PEM.
    pub(crate) root: String,
    /// PEM.
    pub(crate) certificate: String,
    /// PEM.
    pub(crate) root_list: String,
    /// As it came with the request.
    pub(crate) sealed_key: String,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub(crate) struct PreparedRootAnswer {
    pub(crate) root: CaCertificateItem,
    pub(crate) intermediate: CaCertificateItem,
}

/// `POST /local/agent-ca/root/activate` and `POST /local/agent-ca/root/retire`
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeRootBody {
    /// Whether nobody is waited for.
    pub(crate) force: bool,
}

#[derive(Deserialize, Serialize, JsonSchema)]
pub(crate) struct ChangedRootAnswer {
    pub(crate) root: CaCertificateItem,
    pub(crate) issuing: CaCertificateItem,
    /// Agents that were seen in the last week.
    pub(crate) agents_seen: usize,
    /// Those of them that have not reported that they know the roots as they were.
    pub(crate) agents_without: usize,
    /// Certificates of the root that is gone which had not expired.
    pub(crate) certificates_lost: usize,
}

/// `POST /local/agent-ca`: certificates in the clear, the intermediate's key sealed. Octets are in base64.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentCaBody {
    pub(crate) trust_domain: String,
    pub(crate) roots: Vec<String>,
    pub(crate) root_lists: Vec<String>,
    pub(crate) intermediates: Vec<IntermediateBody>,
}

#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IntermediateBody {
    pub(crate) certificate: String,
    pub(crate) sealed_key: String,
}
