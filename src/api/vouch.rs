//! Asking whether a certificate is a live agent's.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A certificate that somebody has shown to a relying party.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VouchBody {
    /// PEM, alone or with its chain; URL-encoded PEM; or base64 of DER.
    pub(crate) certificate: String,
    /// The tenant whose agents are let in, for callers who see all of them; `default` when left out.
    pub(crate) tenant: Option<String>,
}

/// A live agent.
#[derive(Serialize, JsonSchema)]
pub(crate) struct VouchedAnswer {
    pub(crate) spiffe_id: String,
    pub(crate) agent_id: String,
    pub(crate) host_id: String,
    pub(crate) tenant_id: String,
    /// Of the certificate that was shown, lower-case hex.
    pub(crate) serial: String,
    /// The last second in which that certificate is good.
    pub(crate) not_after: Timestamp,
    /// The host's.
    pub(crate) tags: Vec<String>,
}
/// A live agent, as an agent beside the relying party knows it.
#[derive(Serialize)]
pub(crate) struct VouchedByAgentAnswer {
    pub(crate) spiffe_id: String,
    pub(crate) agent_id: String,
    pub(crate) tenant_id: String,
    /// Of the certificate that was shown, lower-case hex.
    pub(crate) serial: String,
    /// The last second in which that certificate is good.
    pub(crate) not_after: Timestamp,
}
