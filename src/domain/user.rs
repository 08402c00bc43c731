//! People, their roles and what a role may do.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{TenantId, UserId};
use super::permission::Permission;

#[derive(Debug, Clone)]
pub struct User {
    pub id: UserId,
    pub username: Username,
    pub role: Role,
    /// `None`: every tenant.
    pub tenant: Option<TenantId>,
    pub password: PasswordHash,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Admin,
    Operator,
    Viewer,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    pub const fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::AgentRead => true,
            Permission::AgentWrite | Permission::AuditRead => matches!(self, Self::Admin | Self::Operator),
            Permission::HostWrite
            | Permission::SecretWrite
            | Permission::UserWrite
            | Permission::TokenWrite
            | Permission::TenantWrite => matches!(self, Self::Admin),
        }
    }
}

/// An Argon2id hash in PHC string form. Never printed.
#[derive(Clone)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub const fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// A sign-in name: 1 to 64 of `a-z`, `0-9`, `.`, `_`, `-` and `@`. One spelling is one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(String);

/// The text can't be a sign-in name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a username is 1 to 64 of a-z, 0-9, '.', '_', '-' and '@'")]
pub struct InvalidUsername;

impl Username {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = InvalidUsername;

    fn from_str(text: &str) -> Result<Self, InvalidUsername> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-@".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUsername)
        }
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
