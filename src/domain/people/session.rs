//! Sign-in sessions: a random cookie value on one side, its hash and two clocks on the other.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::domain::ids::{ALPHABET, UserId};
use crate::domain::octets::{decoded, decoded_secret, octets};
use crate::domain::sha256::sha256;

/// How long a session lives without a request.
pub const IDLE: SignedDuration = SignedDuration::from_hours(2);
/// How long a session lives at all.
pub const ABSOLUTE: SignedDuration = SignedDuration::from_hours(12);
/// How often use is written down: a request within this time of the last record costs no commit.
pub const TOUCH_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Sessions that one person may have; the one used longest ago makes way.
pub const PER_USER_MAX: usize = 100;

/// A session's row.
#[derive(Debug, Clone)]
pub struct Session {
    /// The hash of its token, under which it is stored.
    pub key: SessionKey,
    /// Who signed in.
    pub user: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it was last seen to be used; written now and then.
    pub last_used_at: Timestamp,
    /// Where it was opened from.
    pub address: Option<IpAddr>,
}

impl Session {
    /// A session ends when it is old or has not been used for long.
    pub fn expires_at(&self) -> Timestamp {
        (self.created_at + ABSOLUTE).min(self.last_used_at + IDLE)
    }

    /// Whether it is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at()
    }
}

/// What the browser holds: 256 random bits. Wiped on drop, never printed.
pub struct SessionToken(Zeroizing<[u8; 32]>);

impl SessionToken {
    /// From random octets.
    pub const fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// What a cookie says, if it can be one.
    pub fn parse(text: &str) -> Option<Self> {
        decoded_secret(&ALPHABET, text).map(Self)
    }

    /// The cookie's value.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(ALPHABET.encode(&*self.0))
    }

    /// What the store finds the session by. The token can't be had back from it.
    pub fn key(&self) -> SessionKey {
        SessionKey(sha256(&[b"muster session v1\0", &*self.0]))
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[session]")
    }
}

octets! {
    /// The hash that a session is stored under. Finding a row by it takes the whole token, so a lookup can be
    /// an ordinary one.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct SessionKey([u8; 32]);
}

impl SessionKey {
    /// What this session is called where people look at their own. Neither the token nor the key can be had back
    /// from it.
    pub fn id(&self) -> SessionId {
        let mut id = [0; 16];
        id.copy_from_slice(&sha256(&[b"muster session id v1\0", &self.0])[..16]);
        SessionId(id)
    }
}

octets! {
    /// The name of a session: it finds one among its owner's, and proves nothing.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct SessionId([u8; 16]) as HEXLOWER;
}

/// The text names no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct NotASessionId;

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        decoded(&HEXLOWER, text).map(Self).ok_or(NotASessionId)
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[session]")
    }
}
