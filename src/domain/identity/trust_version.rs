//! Versions of what decides whether an agent is let in: the trust bundle and the denied serials, as watchers are told them.

use data_encoding::HEXLOWER;

use crate::domain::octets::octets;
use crate::domain::text::debug_as_text;

octets! {
    /// Says which history of a store a version belongs to: random, and another one after each restore.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct TrustEpoch([u8; 16]) as HEXLOWER;
}

debug_as_text!(TrustEpoch);

/// How far a store has come with changes of the trust bundle and of denied serials. It grows with each commit that has some,
/// and within an epoch it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustVersion {
    /// The history that it counts in.
    pub epoch: TrustEpoch,
    /// How many commits have changed something, and one.
    pub number: u64,
}

impl TrustVersion {
    /// The first of an epoch.
    pub const fn first(epoch: TrustEpoch) -> Self {
        Self { epoch, number: 1 }
    }

    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }
}
