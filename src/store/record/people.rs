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
    Session as SessionRecord,
    ApiToken as ApiTokenRecord,
    Maker as MakerRecord,
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
    password: PasswordHash,
    created_at: Timestamp,
    disabled_at: Option<Timestamp>,
    #[serde(default)]
    preferences: Preferences,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Session")]
struct SessionRecord {
    /// The key of the row, which is not repeated in it; whoever reads the row puts it in.
    #[serde(skip, default = "no_key")]
    key: SessionKey,
    user: UserId,
    created_at: Timestamp,
    last_used_at: Timestamp,
    #[serde(default)]
    address: Option<IpAddr>,
}

const fn no_key() -> SessionKey {
    SessionKey::from_bytes([0; 32])
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
