//! API tokens: for programs that act for somebody, with no more rights than that somebody has.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::enroll::credential::CredentialHash;
use crate::domain::ids::{CredentialId, TenantId, UserId};
use crate::domain::label::Label;
use crate::domain::people::permission::Permission;

/// An API token's row: what a program signs its requests with.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// The public half.
    pub id: CredentialId,
    /// What is kept of the secret half.
    pub hash: CredentialHash,
    /// What a person calls it.
    pub name: Label,
    /// What it may do, as far as its maker may.
    pub permissions: BTreeSet<Permission>,
    /// `None`: every tenant.
    pub tenant: Option<TenantId>,
    /// Whose rights bound it.
    pub maker: Maker,
    /// The token that this one was made with, and ends with.
    pub parent: Option<CredentialId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end of its life; `None`: it has none.
    pub expires_at: Option<Timestamp>,
}

/// Who made a token, and whose rights bound it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// The operator of the server's own machine.
    Local,
    /// A person.
    User(UserId),
}

impl ApiToken {
    /// Whether its life is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }
}

/// How many tokens may stand above one another, each made with the one before it.
pub const GENERATIONS_MAX: usize = 8;

/// Shortest and longest life of a token that expires, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<i64> = 60..=5 * 365 * 86_400;
