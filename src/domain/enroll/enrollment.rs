//! Enrollments: the record of every certificate issued.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};

use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::octets::octets;
use crate::domain::sha256::sha256;
use crate::domain::text::debug_as_text;
use crate::domain::vocabulary::vocabulary;

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
    Token {
        /// Its public half.
        id: CredentialId,
    },
    /// An enrollment secret was shown.
    Secret {
        /// Its public half.
        id: CredentialId,
    },
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
            Self::Token { .. } => "token",
            Self::Secret { .. } => "secret",
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
            Self::Token { id } => Some(LetInBy::Token { id }),
            Self::Secret { id } => Some(LetInBy::Secret { id }),
            Self::Rotation { .. } => None,
        }
    }
}

/// What let a host in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetInBy {
    /// A join token.
    Token {
        /// Its public half.
        id: CredentialId,
    },
    /// An enrollment secret.
    Secret {
        /// Its public half.
        id: CredentialId,
    },
}

impl LetInBy {
    /// The public half of the credential.
    pub const fn id(self) -> CredentialId {
        match self {
            Self::Token { id } | Self::Secret { id } => id,
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

vocabulary! {
    wire pub enum RevocationReason {
        Decommissioned = "decommissioned",
        Revoked = "revoked",
        /// A join token named the agent and a newer enrollment took over.
        Superseded = "superseded",
        /// The host was removed from the registry.
        Deleted = "deleted",
    }
}

octets! {
    /// SHA-256 of a public key's SubjectPublicKeyInfo (DER, RFC 5280 4.1): the name of a key.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct SpkiHash([u8; 32]) as HEXLOWER;
}

debug_as_text!(SpkiHash);

impl SpkiHash {
    /// The hash of a SubjectPublicKeyInfo in DER.
    pub fn of(spki_der: &[u8]) -> Self {
        Self(sha256(&[spki_der]))
    }
}
