//! Join tokens and enrollment secrets.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::encoding::patterns::{AGENT_ID, NAME};
use crate::api::encoding::strict::whole_number;
use crate::api::encoding::word::Word;
use crate::domain::enroll::join_token::JoinTokenState;

/// `POST /v1/agents/enroll-tokens`
#[derive(Deserialize, Default, JsonSchema, Serialize)]
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
    /// What hosts that come with it are tagged with: at most 32, each `key` or `key:value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(!skip_serializing_if)]
    pub(crate) tags: Vec<String>,
}

/// A join token, without its secret.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct TokenItem {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) agent_id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) state: Word<JoinTokenState>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) voided_at: Option<Timestamp>,
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) tags: Vec<String>,
}

/// The only answer that ever holds a join token's text.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct MintedToken {
    #[serde(flatten)]
    pub(crate) item: TokenItem,
    #[schemars(with = "String")]
    pub(crate) token: Zeroizing<String>,
    /// The pin of the serving certificate, when it is known.
    pub(crate) ca_pin: Option<String>,
    /// Where agents enroll, `https://HOST:PORT`, as far as it is known.
    pub(crate) server: Option<String>,
    /// Why hosts will refuse the server at that address, if they will, and what to do about it.
    pub(crate) server_warning: Option<String>,
    /// Server, pin and token in one string to paste, when the server runs.
    #[schemars(with = "Option<String>")]
    pub(crate) join_link: Option<Zeroizing<String>>,
    /// The line to paste on a machine that is to be an agent from then on; it brings the program along.
    #[schemars(with = "Option<String>")]
    pub(crate) install_command: Option<Zeroizing<String>>,
    /// The line that enrolls and does nothing else, for a machine that has the program.
    #[schemars(with = "Option<String>")]
    pub(crate) enroll_command: Option<Zeroizing<String>>,
    /// Why nobody can use it as things stand.
    pub(crate) warning: Option<MintWarning>,
}

/// Why a token admits nobody as things stand.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct MintWarning {
    /// `identity_revoked`: the agent id that it names is revoked, and must be re-enabled first.
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

/// `POST /v1/enrollment-secrets`
#[derive(Deserialize, JsonSchema, Serialize)]
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
    /// What hosts that come with it are tagged with: at most 32, each `key` or `key:value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(!skip_serializing_if)]
    pub(crate) tags: Vec<String>,
    /// Networks that hosts must come from, `10.0.0.0/8` or `2001:db8::/32`, at most 32; from elsewhere it is as if it did not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(!skip_serializing_if)]
    pub(crate) from: Vec<String>,
}

/// An enrollment secret, without its text.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct SecretItem {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) uses: u32,
    pub(crate) max_uses: Option<u32>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) revoked_at: Option<Timestamp>,
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) tags: Vec<String>,
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) from: Vec<String>,
}

/// The only answer that ever holds an enrollment secret's text.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct CreatedSecret {
    #[serde(flatten)]
    pub(crate) item: SecretItem,
    #[schemars(with = "String")]
    pub(crate) secret: Zeroizing<String>,
}
