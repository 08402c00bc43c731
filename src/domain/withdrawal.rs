//! What was taken from somebody, as far as no denial says it: a restore never gives it back.

use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::domain::identity::deny::AgentRef;
use crate::domain::ids::{CredentialId, HostId, UserId, WebhookId};
use crate::domain::octets::octets;
use crate::domain::people::user::{Role, User};
use crate::domain::text::debug_as_text;

octets! {
    /// Says which store a revocation journal belongs to: random, and the same after a restore.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct StoreId([u8; 16]) as HEXLOWER;
}

debug_as_text!(StoreId);

/// A step that a restore must not undo, as the revocation journal keeps it: ids and counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// An enrollment secret was revoked.
    Secret(CredentialId),
    /// A capped enrollment secret has let in so many hosts.
    SecretUses {
        /// Its public half.
        id: CredentialId,
        /// In all.
        uses: u32,
    },
    /// An API token was revoked.
    ApiToken(CredentialId),
    /// A webhook was removed.
    Webhook(WebhookId),
    /// A host was deleted.
    Host {
        /// Of the row that is gone.
        id: HostId,
        /// Whose certificates count nowhere any more.
        identity: AgentRef,
    },
    /// What a person may do has changed.
    Person {
        /// Whose row it is.
        id: UserId,
        /// What it has come to.
        standing: PersonStanding,
    },
}

/// What a person may do, and since when the password is the one that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PersonStanding {
    /// What their role allows.
    pub role: Role,
    /// Whether they can't sign in.
    pub disabled: bool,
    /// `None`: it was never changed.
    pub password_set_at: Option<Timestamp>,
}

impl PersonStanding {
    /// As a person's row has it.
    pub const fn of(user: &User) -> Self {
        Self { role: user.role, disabled: user.disabled_at.is_some(), password_set_at: user.password_set_at }
    }

    /// What is left where two histories say two things: the lower role, and the newer password.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        Self {
            // Roles stand in the order of what they permit, the highest first.
            role: self.role.max(other.role),
            disabled: self.disabled || other.disabled,
            password_set_at: self.password_set_at.max(other.password_set_at),
        }
    }
}

/// A credential or a password that counts for nothing until the operator confirms it, because nobody knows what was withdrawn
/// in a time that was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspended {
    /// An enrollment secret.
    Secret(CredentialId),
    /// An API token.
    ApiToken(CredentialId),
    /// The password of a person.
    Person(UserId),
}

impl fmt::Display for Suspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(id) | Self::ApiToken(id) => id.fmt(f),
            Self::Person(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_standings_the_lower_is_left() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let standing = |role, disabled, password_set_at| PersonStanding { role, disabled, password_set_at };
        for (one, other, left) in [
            (
                standing(Role::Admin, false, None),
                standing(Role::Viewer, false, at(5)),
                standing(Role::Viewer, false, at(5)),
            ),
            (
                standing(Role::Operator, true, at(9)),
                standing(Role::Admin, false, at(5)),
                standing(Role::Operator, true, at(9)),
            ),
        ] {
            assert_eq!((one.lower(other), other.lower(one)), (left, left));
        }
    }
}
