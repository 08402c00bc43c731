//! Whom a listener for agents lets in: asked within handshakes by whoever holds the connection, answered by whoever
//! knows what was issued.

use std::fmt;

use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;

/// What is known about issued certificates. Answers from memory or from a snapshot, and never waits.
pub trait Admission: Send + Sync + fmt::Debug {
    /// The host that this certificate (DER) was issued to, if it may still open a door. Its chain is good.
    fn admit(&self, leaf: &[u8], key: SpkiHash, serial: Serial, id: &SpiffeId)
    -> Result<HostId, NotAdmitted>;

    /// Takes note that a host has shown a certificate and proved to hold its key.
    fn note_shown(&self, host: HostId, serial: Serial);
}

/// Why a certificate whose chain is good is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("the certificate is not one that was recorded when it was issued")]
    Unrecorded,
    #[error("the certificate or its identity is revoked")]
    Revoked,
    #[error("the host of the certificate is not known")]
    UnknownHost,
    #[error("the registry can't answer")]
    Unavailable,
}
