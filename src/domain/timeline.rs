//! A host's history, as people read it.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// One entry of a host's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEvent {
    pub at: Timestamp,
    /// `enrolled`, `rotated`, `decommissioned`, …
    pub kind: String,
    pub detail: BTreeMap<String, String>,
}

/// The place of an entry in its host's timeline: Unix milliseconds, then a number that keeps entries of the
/// same millisecond apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKey(pub [u8; 12]);

impl std::fmt::Display for EventKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The text is no place in a timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnEventKey;

impl std::str::FromStr for EventKey {
    type Err = NotAnEventKey;

    fn from_str(text: &str) -> Result<Self, NotAnEventKey> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| NotAnEventKey)?;
        Ok(Self(bytes.try_into().map_err(|_| NotAnEventKey)?))
    }
}
