//! Enrollment and rotation.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::encoding::hints;
use crate::api::encoding::patterns::BASE64_TEXT;
use crate::api::encoding::strict::optional_object;

/// `POST /enroll/agent`
#[derive(Deserialize, JsonSchema, Serialize)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if, with = "Option<String>")]
    pub(crate) token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if, with = "Option<String>")]
    pub(crate) secret: Option<Zeroizing<String>>,
    pub(crate) csr: String,
    #[serde(default, deserialize_with = "optional_object")]
    pub(crate) host: Option<HostBody>,
}

/// What a machine says of itself. Unknown facts are ignored, so that newer agents can enroll.
#[derive(Deserialize, Default, JsonSchema, Serialize)]
pub(crate) struct HostBody {
    #[serde(default)]
    pub(crate) hostname: Option<String>,
    #[serde(default)]
    pub(crate) os: Option<String>,
    #[serde(default)]
    pub(crate) arch: Option<String>,
    #[serde(default)]
    pub(crate) ips: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) machine_id: Option<String>,
    #[serde(default)]
    pub(crate) agent_version: Option<String>,
}

/// `POST /enroll/agent/rotate`
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    pub(crate) chain: String,
    pub(crate) csr: String,
    /// Standard base64 with padding (RFC 4648, 4).
    #[schemars(regex(pattern = BASE64_TEXT))]
    pub(crate) proof: String,
}

/// The answer to both: an SVID and what belongs to it.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct SvidAnswer {
    pub(crate) agent_id: String,
    pub(crate) host_id: String,
    pub(crate) tenant_id: String,
    pub(crate) spiffe_id: String,
    pub(crate) certificate: String,
    pub(crate) intermediate: String,
    pub(crate) trust_bundle: String,
    pub(crate) server_ca: Option<String>,
    /// Where the gRPC listener is, `HOST:PORT`.
    #[serde(default, deserialize_with = "hints::address")]
    #[schemars(!default)]
    pub(crate) grpc_addr: Option<String>,
    /// Every address at which agents may enroll and rotate, `https://HOST:PORT`, in the order to try them.
    // Servers before 0.2.0 do not send it.
    #[serde(default, deserialize_with = "hints::addresses")]
    #[schemars(!default)]
    pub(crate) servers: Vec<String>,
    /// Every address of the gRPC listener, `HOST:PORT`, in the order to try them.
    // Servers before 0.2.0 do not send it.
    #[serde(default, deserialize_with = "hints::addresses")]
    #[schemars(!default)]
    pub(crate) grpc_addrs: Vec<String>,
    pub(crate) serial: String,
    pub(crate) issued_at: Timestamp,
    pub(crate) not_after: Timestamp,
}
