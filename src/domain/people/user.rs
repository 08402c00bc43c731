//! People, their roles and what a role may do.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain::ids::{TenantId, UserId};
use crate::domain::people::guessable::is_guessable;
use crate::domain::people::permission::Permission;
use crate::domain::text::held_text;
use crate::domain::vocabulary::vocabulary;

/// A person's row.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id, whatever becomes of the name.
    pub id: UserId,
    /// What they sign in with.
    pub username: Username,
    /// What they may do.
    pub role: Role,
    /// `None`: every tenant.
    pub tenant: Option<TenantId>,
    /// What is kept of the password.
    pub password: PasswordHash,
    /// When it was last changed; `None`: never, or by a version that did not tell.
    pub password_set_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
    /// Since when they can't sign in.
    pub disabled_at: Option<Timestamp>,
    /// How they want to see times.
    pub preferences: Preferences,
}

impl User {
    /// What this person may do now.
    pub fn may(&self, permission: Permission) -> bool {
        self.disabled_at.is_none() && self.role.may_in(self.tenant, permission)
    }

    /// What their role allows.
    pub fn permissions(&self) -> BTreeSet<Permission> {
        Permission::ALL.iter().copied().filter(|permission| self.may(*permission)).collect()
    }

    /// Whether this person can do everything everywhere; one such person always remains.
    pub fn is_global_admin(&self) -> bool {
        self.role == Role::Admin && self.tenant.is_none() && self.disabled_at.is_none()
    }
}

/// How a person wants to see times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Which hours are shown.
    pub time_zone: TimeZone,
    /// In which form.
    pub clock: ClockStyle,
}

#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeZone {
    #[default]
    Local,
    Utc,
}

#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClockStyle {
    #[default]
    #[serde(rename = "24h")]
    Hours24,
    #[serde(rename = "12h")]
    Hours12,
}

/// A password that may be set: 12 to 256 characters, and not one of the first that anybody would try.
pub struct NewPassword(Zeroizing<String>);

/// Why a password can't be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPassword {
    /// Too short or too long.
    #[error("a password has 12 to 256 characters")]
    Length,
    /// Too easy to guess.
    #[error("this password, or one much like it, is among the first that anybody would try")]
    Obvious,
}

impl NewPassword {
    /// Checks length and guessability. The text is wiped when it is dropped.
    pub fn new(text: Zeroizing<String>, username: &Username) -> Result<Self, InvalidPassword> {
        let length = text.chars().take(257).count();
        if !(12..=256).contains(&length) {
            return Err(InvalidPassword::Length);
        }
        if is_guessable(&text, username.as_str()) {
            return Err(InvalidPassword::Obvious);
        }
        Ok(Self(text))
    }

    /// The text, to be hashed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[password]")
    }
}

vocabulary! {
    wire pub enum Role {
        Admin = "admin",
        Operator = "operator",
        Viewer = "viewer",
    }
}

impl Role {
    /// What somebody of this role may do who belongs to a tenant, or to all of them. Tenants belong to nobody's
    /// tenant, so only those without one may change them.
    pub fn may_in(self, tenant: Option<TenantId>, permission: Permission) -> bool {
        let in_reach = permission != Permission::TenantWrite || tenant.is_none();
        in_reach && self.may(permission)
    }

    const fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::AgentRead => true,
            Permission::AgentVouch | Permission::AgentWrite | Permission::AuditRead => {
                matches!(self, Self::Admin | Self::Operator)
            }
            Permission::HostWrite
            | Permission::SecretWrite
            | Permission::UserWrite
            | Permission::TokenWrite
            | Permission::WebhookWrite
            | Permission::TenantWrite => matches!(self, Self::Admin),
        }
    }
}

/// An Argon2id hash in PHC string form. Never printed.
#[derive(Clone)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// As it was stored.
    pub const fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// As it is stored.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// A sign-in name: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-` and `@`, and, of somebody who belongs to a tenant
/// other than the default one, `@` and the tenant's suffix. Case is shown as it was given and makes no difference
/// otherwise.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Username(String);

/// The longest name with its suffix, and room for more.
const USERNAME_MAX: usize = 160;

/// The text can't be a sign-in name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a username is 1 to 64 of A-Z, a-z, 0-9, '.', '_', '-' and '@'")]
pub struct InvalidUsername;

impl Username {
    /// A name that somebody has, or might have: with a suffix it may be longer than what can be asked for.
    pub fn existing(text: &str) -> Result<Self, InvalidUsername> {
        Self::of_at_most(USERNAME_MAX, text)
    }

    fn of_at_most(longest: usize, text: &str) -> Result<Self, InvalidUsername> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-@".contains(&b);
        if (1..=longest).contains(&text.len()) && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidUsername)
        }
    }

    /// What accounts are told apart by.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Whether this name ends in `@` and this suffix.
    pub fn ends_in(&self, suffix: &str) -> bool {
        let at = self.0.len().checked_sub(suffix.len() + 1);
        at.is_some_and(|at| {
            at > 0 && self.0[at..].strip_prefix('@').is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        })
    }

    /// This name with `@` and a suffix, unless it ends in them already.
    pub fn ending_in(&self, suffix: &str) -> Result<Self, InvalidUsername> {
        if self.ends_in(suffix) { Ok(self.clone()) } else { Self::existing(&format!("{}@{suffix}", self.0)) }
    }
}

impl FromStr for Username {
    type Err = InvalidUsername;

    /// A name that can be asked for.
    fn from_str(text: &str) -> Result<Self, InvalidUsername> {
        Self::of_at_most(64, text)
    }
}

impl TryFrom<String> for Username {
    type Error = InvalidUsername;

    fn try_from(text: String) -> Result<Self, InvalidUsername> {
        Self::existing(&text)
    }
}

held_text! {
    /// As it was given.
    Username,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let check = |text: &str| {
            let username: Username = "alexandra.beck".parse().unwrap();
            NewPassword::new(Zeroizing::new(text.to_owned()), &username).map(|_| ())
        };
        let longest = "ab cdéf🦀".repeat(32);
        for good in ["correct horse", "  leading space ok", "päßwörter sind ok", longest.as_str()] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let too_long = format!("{longest}x");
        for bad in ["", "elevenchars", too_long.as_str()] {
            assert_eq!(check(bad), Err(InvalidPassword::Length), "{bad}");
        }
        for bad in ["password1234", "PasswordPassword", "123456789012", "Alexandra.Beck", "alexandra.beck!1"]
        {
            assert_eq!(check(bad), Err(InvalidPassword::Obvious), "{bad}");
        }
    }

    #[test]
    fn usernames_have_one_account_whatever_their_case() {
        let key = |text: &str| text.parse::<Username>().map(|name| name.key()).ok();
        assert_eq!(key("Alice"), key("alice"));
        for good in ["a", "admin", "A.b-c_d@example.org"] {
            assert!(key(good).is_some(), "{good}");
        }
        for bad in ["", " admin", "admin ", "ädmin", "a/b", &"a".repeat(65)] {
            assert_eq!(key(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_suffix_is_added_once() {
        let ending = |name: &str| name.parse::<Username>().unwrap().ending_in("acme").unwrap().to_string();
        assert_eq!(ending("olga"), "olga@acme");
        assert_eq!(ending("olga@ACME"), "olga@ACME");
        assert_eq!(ending("olga@example.org"), "olga@example.org@acme");
        assert_eq!(ending("acme"), "acme@acme");
        assert_eq!(ending("@acme"), "@acme@acme", "nobody's name is empty");
        let long = "a".repeat(64);
        assert!(Username::existing(&ending(&long)).is_ok() && ending(&long).parse::<Username>().is_err());
    }

    #[test]
    fn roles_may_what_their_table_says() {
        for &permission in Permission::ALL {
            assert!(Role::Admin.may(permission));
            let operator = matches!(
                permission,
                Permission::AgentRead
                    | Permission::AgentVouch
                    | Permission::AgentWrite
                    | Permission::AuditRead
            );
            assert_eq!(Role::Operator.may(permission), operator, "{permission}");
            assert_eq!(Role::Viewer.may(permission), permission == Permission::AgentRead, "{permission}");
        }
    }
}
