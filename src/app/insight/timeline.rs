//! What the server itself writes into the history of a host.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::ids::HostId;
use crate::domain::insight::timeline::{HostEvent, TimelineKind};
use crate::store::Change;

/// An entry for a host's timeline.
pub(crate) fn timeline<const N: usize>(
    host: HostId,
    at: Timestamp,
    kind: TimelineKind,
    detail: [(&str, String); N],
) -> Change {
    let detail: BTreeMap<_, _> = detail.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Change::HostEvent { host, event: HostEvent { at, kind: kind.to_string(), detail } }
}
