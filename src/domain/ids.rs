//! Identifiers of rows. Each row kind has its own type, so one can't stand in for another.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::octets::{decoded, octets};
use crate::domain::text::{debug_as_text, serde_as_text};

/// Base32 in lower case without padding: one word under a double click, safe in URLs and shells.
/// Decoding is exact: other letters, other case and stray trailing bits are refused.
pub static ALPHABET: LazyLock<Encoding> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    spec.encoding().expect("a constant alphabet of 32 distinct symbols is a valid specification")
});

/// The text was not an identifier of the kind asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id")]
pub struct NotAnId {
    kind: &'static str,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* pub struct $name:ident as $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A time-ordered id (UUIDv7, RFC 9562 5.7): rows written together lie together.
            pub fn new(at: Timestamp, entropy: [u8; 10]) -> Self {
                let millis = u64::try_from(at.as_millisecond()).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid())
            }

            /// As it was stored.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// As it is stored.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Accepts only the hyphenated lower-case form that `Display` writes.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let id = Uuid::try_parse(text).map(Self).ok();
                id.filter(|id| id.to_string() == text).ok_or(NotAnId { kind: $kind })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        debug_as_text!($name);
    )*};
}

uuid_ids! {
    /// A wall inside one deployment.
    pub struct TenantId as "tenant";
    /// One machine's row in the registry.
    pub struct HostId as "host";
    /// A person who signs in.
    pub struct UserId as "user";
    /// Somebody who is told of events.
    pub struct WebhookId as "webhook";
}

octets! {
    /// The public half of a generated credential: 48 bits of Unix milliseconds, then 32 random bits.
    /// It finds the row and proves nothing.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct CredentialId([u8; 10]) as ALPHABET;
}

debug_as_text!(CredentialId);
serde_as_text!(CredentialId);

impl CredentialId {
    /// From a moment and random octets.
    pub fn new(at: Timestamp, entropy: [u8; 4]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0).to_be_bytes();
        let [_, _, time @ ..] = millis;
        let mut bytes = [0; 10];
        bytes[..6].copy_from_slice(&time);
        bytes[6..].copy_from_slice(&entropy);
        Self(bytes)
    }
}

impl FromStr for CredentialId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        decoded(&ALPHABET, text).map(Self).ok_or(NotAnId { kind: "credential" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_only_as_they_print() {
        let id = HostId::new(Timestamp::UNIX_EPOCH, [0xab; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "x", "{00000000-0000-7707-8707-070707070707}"] {
            assert!(bad.parse::<HostId>().is_err(), "{bad}");
        }
        assert!(id.to_string().to_uppercase().parse::<HostId>().is_err());
        assert!(id.to_string().replace('-', "").parse::<HostId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        assert!(HostId::new(at(1), [255; 10]) < HostId::new(at(2), [0; 10]));
        assert!(CredentialId::new(at(1), [255; 4]) < CredentialId::new(at(2), [0; 4]));
    }
}
