//! People, sessions, API tokens and tenants, as they lie on disk.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::ids::{CredentialId, TenantId, UserId};
use crate::domain::label::Label;
use crate::domain::people::api_token::{ApiToken, Maker};
use crate::domain::people::permission::Permission;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::{PasswordHash, Preferences, Role, User, Username};
use crate::store::record::encoding::{hex, on_disk};

on_disk! {
    Tenant as TenantRecord,
    User as UserRecord,
    ApiToken as ApiTokenRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Tenant")]
struct TenantRecord {
    id: TenantId,
    name: Label,
    created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "User")]
struct UserRecord {
    id: UserId,
    username: Username,
    role: Role,
    tenant: Option<TenantId>,
    #[serde(with = "phc")]
    password: PasswordHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password_set_at: Option<Timestamp>,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
    #[serde(default)]
    preferences: Preferences,
}

/// The hash of a password, as the text that says how it was made, too.
mod phc {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::people::user::PasswordHash;

    pub(super) fn serialize<S: Serializer>(hash: &PasswordHash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(hash.as_phc())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PasswordHash, D::Error> {
        String::deserialize(from).map(PasswordHash::from_phc)
    }
}

/// A session but for its key, which is the row's and not repeated in it.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct SessionRecord {
    user: UserId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    #[serde(default)]
    address: Option<IpAddr>,
}

impl SessionRecord {
    /// The session whose row stands under this key.
    pub(in crate::store) const fn under(self, key: SessionKey) -> Session {
        let Self { user, created_at, last_used_at, address } = self;
        Session { key, user, created_at, last_used_at, address }
    }
}

impl From<&Session> for SessionRecord {
    fn from(&Session { key: _, user, created_at, last_used_at, address }: &Session) -> Self {
        Self { user, created_at, last_used_at, address }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ApiToken")]
struct ApiTokenRecord {
    id: CredentialId,
    #[serde(with = "hex")]
    hash: CredentialHash,
    name: Label,
    #[serde(deserialize_with = "known_permissions")]
    permissions: BTreeSet<Permission>,
    tenant: Option<TenantId>,
    #[serde(default = "nobody", with = "MakerRecord")]
    maker: Maker,
    /// The token that it was made with.
    #[serde(default)]
    parent: Option<CredentialId>,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

/// A permission that a newer version granted and this one does not know is not granted.
fn known_permissions<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<Permission>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    Ok(words.iter().filter_map(|word| word.parse().ok()).collect())
}

/// Who made a token whose record names nobody.
const fn nobody() -> Maker {
    Maker::Local
}

/// The user who made a token; none: the local operator.
struct MakerRecord;

impl MakerRecord {
    fn serialize<S: Serializer>(maker: &Maker, to: S) -> Result<S::Ok, S::Error> {
        match maker {
            Maker::Local => to.serialize_none(),
            Maker::User(id) => to.serialize_some(id),
        }
    }

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Maker, D::Error> {
        Ok(Option::deserialize(from)?.map_or(Maker::Local, Maker::User))
    }
}
