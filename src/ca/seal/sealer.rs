//! Who has sealed something: the public half of what an envelope signs with.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::HEXLOWER;

/// The public key by which seals of one envelope are known. It seals nothing and opens nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sealer([u8; Sealer::LENGTH]);

/// The text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hexadecimal digits")]
pub struct NotASealer;

impl Sealer {
    pub(crate) const LENGTH: usize = 32;

    /// How the line begins by which an identity file says whose seals its owner trusts. To age it is a comment.
    pub const LINE: &str = "# muster envelope: ";

    pub(crate) fn of(key: &Ed25519KeyPair) -> Self {
        let mut octets = [0; Self::LENGTH];
        octets.copy_from_slice(key.public_key().as_ref());
        Self(octets)
    }

    pub(crate) const fn from_bytes(octets: [u8; Self::LENGTH]) -> Self {
        Self(octets)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }
}

impl fmt::Display for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&format_args!("{self}")).finish()
    }
}

impl FromStr for Sealer {
    type Err = NotASealer;

    fn from_str(text: &str) -> Result<Self, NotASealer> {
        let octets = HEXLOWER.decode(text.as_bytes()).map_err(|_| NotASealer)?;
        octets.try_into().map(Self).map_err(|_| NotASealer)
    }
}
