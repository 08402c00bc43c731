//! People, sessions, API tokens and tenants, as they lie on disk.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::label::Label;
use crate::domain::people::api_token::{ApiToken, Maker};
use crate::domain::people::permission::Permission;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::{PasswordHash, Preferences, Role, User, Username};
use crate::store::ReadError;
use crate::store::record::host::CredentialIdText;
use crate::store::rows::Table;

pub(crate) fn user_of(record: UserRecord) -> Result<User, ReadError> {
    User::try_from(record).map_err(|source| ReadError::Record { table: Table::Users.name(), source })
}

#[derive(Serialize, Deserialize)]
pub(crate) struct TenantRecord {
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

#[derive(PartialEq, Serialize, Deserialize)]
pub(crate) struct UserRecord {
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
    pub(crate) fn differs_in_preferences_only(mut self, before: &Self) -> bool {
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
pub(crate) struct SessionRecord {
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
    pub(crate) const fn with(self, key: SessionKey) -> Session {
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
pub(crate) struct ApiTokenRecord {
    id: CredentialIdText,
    #[serde(with = "crate::store::record::encoding::bytes::hex")]
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
