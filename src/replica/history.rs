//! The history in a replica, as whoever restores or verifies it reads it: snapshots, and the segments after them, each of which
//! must follow the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::data_key::{self, DataKeyError, KeyOf};
use super::layout::{self, SnapshotName};
use super::place::{OpenPlace, PlaceError};
use super::segment::{
    DataKey, NotASegment, SegmentDigest, SegmentEntry, SegmentHead, SegmentNumber, SnapshotEntry, digest_of,
};
use crate::ca::envelope::Envelope;
use crate::domain::withdrawal::StoreId;

/// Segments that are asked for at once.
const AT_ONCE: usize = 8;
/// Segments within which a snapshot is named.
const NAMED_WITHIN: u64 = 20_000;
/// The layout of names, and what is in them.
pub(super) const FORMAT: u32 = 1;

/// What a replica says of itself to those who have no key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Which version of the format it has.
    pub format: u32,
    /// The store whose history it is.
    pub store: String,
}

/// Why a history can't be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It was not there, or did not answer.
    #[error("the replica can't be read")]
    Place(#[from] PlaceError),
    /// Nothing of ours lies there.
    #[error("there is no replica of a muster store")]
    None,
    /// What it says of itself makes no sense.
    #[error("what the replica says of itself makes no sense, or it is one of a newer muster")]
    Descriptor,
    /// Its key does not open.
    #[error(transparent)]
    Key(#[from] DataKeyError),
    /// A segment is none.
    #[error("segment {number} of term {term}: {why}")]
    Segment {
        /// Which.
        term: u64,
        /// Which.
        number: u64,
        /// What is wrong with it.
        why: NotASegment,
    },
    /// One is gone between two that are there.
    #[error("segment {number} of term {term} is missing")]
    Missing {
        /// Which.
        term: u64,
        /// Which.
        number: u64,
    },
    /// One is there that belongs elsewhere, or was written anew.
    #[error(
        "segment {number} of term {term} does not follow the one before it: it was rewritten, doubled or put there"
    )]
    Chain {
        /// Which.
        term: u64,
        /// Which.
        number: u64,
    },
    /// Between two snapshots, frames are missing that no snapshot stands for.
    #[error("frame {number} does not follow the one before it (segment {segment} of term {term})")]
    Frame {
        /// Which.
        number: u64,
        /// Where it lies.
        term: u64,
        /// Where it lies.
        segment: u64,
    },
    /// There is nothing to begin with.
    #[error("the replica has no snapshot of {0}")]
    NoSnapshot(String),
    /// It is not what it was when a segment named it.
    #[error("the snapshot {0} is not what it was when it was written, or is gone")]
    Snapshot(String),
}

impl HistoryError {
    /// Whether somebody has changed what lies there, or it was lost.
    pub const fn is_damage(&self) -> bool {
        !matches!(self, Self::Place(_) | Self::Key(_) | Self::None)
    }
}

/// A segment that opens and follows the one before.
#[derive(Debug)]
pub struct OpenedSegment {
    /// Its place.
    pub at: SegmentNumber,
    /// Of all of it.
    pub digest: SegmentDigest,
    /// What is in it.
    pub entries: Vec<SegmentEntry>,
}

/// A replica that is read.
pub struct ReplicaHistory {
    place: OpenPlace,
    store: StoreId,
    envelope: Arc<Envelope>,
    keys: Mutex<BTreeMap<(u64, u32), Arc<DataKey>>>,
}

impl std::fmt::Debug for ReplicaHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("place", &self.place)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

/// What a replica says of itself; `None` where there is none.
pub(super) async fn descriptor(place: &OpenPlace) -> Result<Option<StoreId>, HistoryError> {
    let Some(octets) = place.get(layout::DESCRIPTOR).await? else { return Ok(None) };
    let read: Descriptor = serde_json::from_slice(&octets).map_err(|_| HistoryError::Descriptor)?;
    let store = data_encoding::HEXLOWER.decode(read.store.as_bytes()).ok();
    let store = store.and_then(|octets| <[u8; 16]>::try_from(octets).ok());
    match (read.format, store) {
        (FORMAT, Some(store)) => Ok(Some(StoreId::from_bytes(store))),
        _ => Err(HistoryError::Descriptor),
    }
}

/// The number of the last segment of a term; `None` where there is none.
pub(super) async fn last_segment(place: &OpenPlace, term: u64) -> Result<Option<u64>, PlaceError> {
    let folders = place.folders(Some(&layout::segments(term))).await?;
    for folder in folders.iter().rev() {
        let names = place.names(folder).await?;
        if let Some(last) = names.iter().filter_map(|name| layout::segment_number(name)).max() {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

impl ReplicaHistory {
    /// The replica that lies there.
    pub async fn open(place: OpenPlace, envelope: Arc<Envelope>) -> Result<Self, HistoryError> {
        let store = descriptor(&place).await?.ok_or(HistoryError::None)?;
        Ok(Self { place, store, envelope, keys: Mutex::default() })
    }

    /// Whose it is, as it says.
    pub const fn store(&self) -> StoreId {
        self.store
    }

    /// Where it lies.
    pub const fn place(&self) -> &OpenPlace {
        &self.place
    }

    /// Its terms, in their order.
    pub async fn terms(&self) -> Result<Vec<u64>, HistoryError> {
        Ok(layout::terms_in(&self.place.folders(None).await?))
    }

    /// The snapshots that lie there, oldest first, named by a segment or not.
    pub async fn snapshots(&self, term: u64) -> Result<Vec<SnapshotName>, HistoryError> {
        let names = self.place.names(&layout::snapshots(term)).await?;
        let mut snapshots: Vec<_> = names.iter().filter_map(|name| SnapshotName::read(name)).collect();
        snapshots.sort_unstable();
        Ok(snapshots)
    }

    /// The number of the last segment of a term.
    pub async fn last(&self, term: u64) -> Result<Option<u64>, HistoryError> {
        Ok(last_segment(&self.place, term).await?)
    }

    /// The number of the first segment of a term that is there.
    pub async fn first(&self, term: u64) -> Result<Option<u64>, HistoryError> {
        for folder in self.place.folders(Some(&layout::segments(term))).await? {
            let names = self.place.names(&folder).await?;
            if let Some(first) = names.iter().filter_map(|name| layout::segment_number(name)).min() {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    async fn key(&self, term: u64, number: u32) -> Result<Arc<DataKey>, HistoryError> {
        if let Some(key) = self.keys.lock().get(&(term, number)) {
            return Ok(Arc::clone(key));
        }
        let sealed = self.place.get(&layout::key(term, number)).await?.ok_or(DataKeyError::Content)?;
        let of = KeyOf { store: self.store, term, number };
        let key = Arc::new(data_key::open(of, &sealed, &self.envelope)?);
        self.keys.lock().insert((term, number), Arc::clone(&key));
        Ok(key)
    }

    /// One segment, whatever stands before it; `None` where there is none.
    pub async fn segment(
        &self,
        at: SegmentNumber,
    ) -> Result<Option<(SegmentHead, OpenedSegment)>, HistoryError> {
        let Some(octets) = self.place.get(&layout::segment(at)).await? else { return Ok(None) };
        let wrong = |why| HistoryError::Segment { term: at.term, number: at.number, why };
        let head = SegmentHead::read(&octets).map_err(wrong)?;
        if head.at != at || head.store != self.store {
            return Err(HistoryError::Chain { term: at.term, number: at.number });
        }
        let key = self.key(at.term, head.key).await?;
        let entries = head.open(&octets, &key).map_err(wrong)?;
        Ok(Some((head, OpenedSegment { at, digest: digest_of(&octets), entries })))
    }

    /// Reads segments from one to another, both included, and hands each on, until `visit` has had enough. Each must be there and
    /// follow the one before.
    pub async fn walk<E: From<HistoryError>>(
        &self,
        term: u64,
        (first, last): (u64, u64),
        mut visit: impl FnMut(OpenedSegment) -> Result<bool, E>,
    ) -> Result<(), E> {
        let numbers = (first..=last).map(|number| SegmentNumber { term, number });
        let mut reading =
            stream::iter(numbers).map(|at| async move { (at, self.segment(at).await) }).buffered(AT_ONCE);
        let mut previous = None;
        while let Some((at, read)) = reading.next().await {
            let number = at.number;
            let (head, segment) = read?.ok_or(HistoryError::Missing { term, number })?;
            let begins = number == 1 && head.previous != [0; 32];
            if begins || previous.is_some_and(|digest| digest != head.previous) {
                return Err(HistoryError::Chain { term, number }.into());
            }
            previous = Some(segment.digest);
            if !visit(segment)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether a segment names a snapshot soon after it was begun, as it does unless its server ended right then.
    pub(super) async fn is_named(&self, term: u64, name: &SnapshotName) -> Result<bool, HistoryError> {
        Ok(self.named(term, name, NAMED_WITHIN).await?.is_some())
    }

    /// The segment that names a snapshot, if one of so many after it does.
    async fn named(
        &self,
        term: u64,
        name: &SnapshotName,
        within: u64,
    ) -> Result<Option<SnapshotEntry>, HistoryError> {
        let Some(last) = self.last(term).await? else { return Ok(None) };
        let last = last.min(name.after.saturating_add(within));
        let mut found = None;
        self.walk::<HistoryError>(term, (name.after + 1, last), |segment| {
            found = segment.entries.into_iter().find_map(|entry| match entry {
                SegmentEntry::Snapshot(snapshot) if snapshot.name == name.name => Some(snapshot),
                _ => None,
            });
            Ok(found.is_none())
        })
        .await?;
        Ok(found)
    }

    /// The newest snapshot that was begun at a time or before, with its term.
    pub async fn base(
        &self,
        at: Option<Timestamp>,
    ) -> Result<(u64, SnapshotName, SnapshotEntry), HistoryError> {
        for term in self.terms().await?.into_iter().rev() {
            let snapshots = self.snapshots(term).await?;
            let fits = snapshots.into_iter().rev().filter(|snapshot| at.is_none_or(|at| snapshot.at <= at));
            for snapshot in fits {
                if let Some(entry) = self.named(term, &snapshot, u64::MAX).await? {
                    return Ok((term, snapshot, entry));
                }
            }
        }
        let wanted = at.map_or_else(|| "any time".to_owned(), |at| format!("{at:.0} or before"));
        Err(HistoryError::NoSnapshot(wanted))
    }
}
