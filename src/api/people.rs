//! People, sessions, API tokens and tenants.

use std::net::IpAddr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::encoding::patterns::{NAME, USERNAME};
use crate::api::encoding::strict::whole_number;
use crate::api::encoding::word::Word;
use crate::domain::people::permission::Permission;
use crate::domain::people::user::{ClockStyle, Role, TimeZone};

/// `POST /v1/session`
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInBody {
    pub(crate) username: String,
    #[schemars(with = "String")]
    pub(crate) password: Zeroizing<String>,
}

/// Who is signed in, and what they may do.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct SessionAnswer {
    /// `null` for callers that are no person: API tokens and local commands.
    pub(crate) user: Option<SessionUser>,
    pub(crate) preferences: PreferencesBody,
    pub(crate) permissions: Vec<Permission>,
    pub(crate) expires_at: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema, Deserialize)]
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

/// `POST /v1/users`
#[derive(Deserialize, JsonSchema, Serialize)]
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
#[derive(Deserialize, JsonSchema, Serialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if)]
    pub(crate) role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if)]
    pub(crate) disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(!skip_serializing_if, with = "Option<String>", length(min = 12, max = 256))]
    pub(crate) password: Option<Zeroizing<String>>,
}

/// A person.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct UserItem {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Word<Role>,
    /// `null`: all tenants.
    pub(crate) tenant_id: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) created_at: Timestamp,
}

/// A person after a change.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ChangedUserAnswer {
    #[serde(flatten)]
    pub(crate) item: UserItem,
    /// The person's API tokens that ended with this change: a password that somebody else sets ends them all, and so
    /// does being disabled.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) ended_api_tokens: Vec<OwnToken>,
}

/// An API token, as far as its maker's account goes.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct OwnToken {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Whoever is signed in.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct AccountAnswer {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) role: Role,
    /// `null`: all tenants.
    pub(crate) tenant_id: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) preferences: PreferencesBody,
    pub(crate) permissions: Vec<Permission>,
    /// Those that this person has made and that still grant something, newest first.
    pub(crate) api_tokens: Vec<OwnToken>,
}

/// `PUT /v1/account/password`
#[derive(Deserialize, JsonSchema, Serialize)]
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
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct OwnPasswordAnswer {
    pub(crate) ended_api_tokens: Vec<OwnToken>,
}

/// One of the caller's own sessions.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct SessionItem {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) last_used_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    /// Where it was opened from; `null` for those of earlier versions.
    pub(crate) address: Option<IpAddr>,
    /// Whether it is the one that asks.
    pub(crate) current: bool,
}

/// `POST /v1/api-tokens`
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiTokenBody {
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: String,
    #[schemars(length(min = 1))]
    pub(crate) permissions: Vec<Permission>,
    /// From a minute to five years; without it, until revoked.
    #[serde(default, deserialize_with = "whole_number")]
    #[schemars(range(min = 60, max = 157_680_000))]
    pub(crate) ttl_seconds: Option<i64>,
}

/// An API token, without its text.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ApiTokenItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) permissions: Vec<Word<Permission>>,
    pub(crate) tenant_id: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    /// The maker's username; `null`: the local operator.
    pub(crate) created_by: Option<String>,
    /// The API token that it was made with, and ends with.
    pub(crate) created_with: Option<String>,
}

/// The only answer that ever holds an API token's text.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct CreatedApiToken {
    #[serde(flatten)]
    pub(crate) item: ApiTokenItem,
    #[schemars(with = "String")]
    pub(crate) token: Zeroizing<String>,
}

/// `POST /v1/tenants`
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantBody {
    #[schemars(regex(pattern = NAME))]
    pub(crate) name: String,
}

/// A tenant.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct TenantItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
}
