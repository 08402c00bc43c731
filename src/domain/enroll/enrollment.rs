//! Enrollments: the record of every certificate issued.

use std::fmt;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId};

/// One issued certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// The certificate's number, by which it is known.
    pub serial: Serial,
    /// The host that it was issued to.
    pub host: HostId,
    /// The tenant of that host.
    pub tenant: TenantId,
    /// What it was issued for.
    pub via: Via,
    /// When it was signed, by the server's clock.
    pub issued_at: Timestamp,
    /// From when on it is valid: somewhat earlier than issued, for clocks that are behind.
    pub not_before: Timestamp,
    /// The last second in which the certificate is valid (RFC 5280 4.1.2.5: inclusive).
    pub not_after: Timestamp,
    /// The address that the request came from, if it came over the network.
    pub peer: Option<IpAddr>,
    /// The name of its key.
    pub spki: SpkiHash,
    /// That it was revoked, if it was.
    pub revocation: Option<Revocation>,
}

impl Enrollment {
    /// Whether its last valid second is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        past_not_after(self.not_after, now)
    }

    /// Still able to open a door: neither expired nor revoked.
    pub fn live(&self, now: Timestamp) -> bool {
        self.revocation.is_none() && !self.expired(now)
    }
}

/// Longest life of an SVID that was ever allowed; no older enrollment can still be unexpired.
pub const SVID_LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(7 * 24 + 1);

/// Whether a certificate whose last valid second is `not_after` has expired. The second itself still counts.
pub fn past_not_after(not_after: Timestamp, now: Timestamp) -> bool {
    now.as_second() > not_after.as_second()
}

/// How a certificate came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// A join token was used up.
    Token(CredentialId),
    /// An enrollment secret was shown.
    Secret(CredentialId),
    /// The holder of an earlier certificate asked for a new one.
    Rotation {
        /// The certificate that proved who asks.
        from: Serial,
    },
}

impl Via {
    /// The word on the wire and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token(_) => "token",
            Self::Secret(_) => "secret",
            Self::Rotation { .. } => "rotation",
        }
    }

    /// The credential that it took, by its public half.
    pub const fn credential(self) -> Option<CredentialId> {
        match self.let_in_by() {
            Some(by) => Some(by.id()),
            None => None,
        }
    }

    /// The credential that it took, if it took one.
    pub const fn let_in_by(self) -> Option<LetInBy> {
        match self {
            Self::Token(id) => Some(LetInBy::Token(id)),
            Self::Secret(id) => Some(LetInBy::Secret(id)),
            Self::Rotation { .. } => None,
        }
    }
}

/// What let a host in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetInBy {
    /// A join token.
    Token(CredentialId),
    /// An enrollment secret.
    Secret(CredentialId),
}

impl LetInBy {
    /// The public half of the credential.
    pub const fn id(self) -> CredentialId {
        match self {
            Self::Token(id) | Self::Secret(id) => id,
        }
    }
}

/// That a certificate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// When, by the server's clock.
    pub at: Timestamp,
    /// What for.
    pub reason: RevocationReason,
}

#[expect(missing_docs, reason = "a comment here would stand in the API's document")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    Decommissioned,
    Revoked,
    /// A join token named the agent and a newer enrollment took over.
    Superseded,
    /// The host was removed from the registry.
    Deleted,
}

impl RevocationReason {
    /// The word on the wire and on disk.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decommissioned => "decommissioned",
            Self::Revoked => "revoked",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
        }
    }
}

/// SHA-256 of a public key's SubjectPublicKeyInfo (DER, RFC 5280 4.1): the name of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpkiHash([u8; 32]);

impl SpkiHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    pub fn of(spki_der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki_der);
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// As it was stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}
