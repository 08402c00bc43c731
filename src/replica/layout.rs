//! The names of what lies in a replica.

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use super::segment::SegmentNumber;

/// What says whose replica it is.
pub const DESCRIPTOR: &str = "muster-replica.json";
/// Names that are written twice, to see whether that is refused.
pub const PROBES: &str = "probe";

/// The folder of everything of a term.
pub fn term(term: u64) -> String {
    format!("term-{term:010}")
}

/// The terms among folders.
pub fn terms_in(folders: &[String]) -> Vec<u64> {
    let mut terms: Vec<u64> =
        folders.iter().filter_map(|name| name.strip_prefix("term-")?.parse().ok()).collect();
    terms.sort_unstable();
    terms
}

/// A data key.
pub fn key(term: u64, key: u32) -> String {
    format!("{}/keys/{key:010}.age", self::term(term))
}

/// The folder of keys.
pub fn keys(term: u64) -> String {
    format!("{}/keys", self::term(term))
}

/// The number of a key with this name.
pub fn key_number(name: &str) -> Option<u32> {
    name.rsplit('/').next()?.strip_suffix(".age")?.parse().ok()
}

/// Segments in one folder, so that nobody has to list all of them.
const IN_A_FOLDER: u64 = 10_000;

/// A segment.
pub fn segment(at: SegmentNumber) -> String {
    format!("{}/{:020}.segment", segment_folder(at), at.number)
}

/// The folder of a segment.
pub fn segment_folder(at: SegmentNumber) -> String {
    format!("{}/{:016}", segments(at.term), at.number / IN_A_FOLDER)
}

/// The number of the first segment in a folder.
pub fn first_in_folder(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse::<u64>().ok()?.checked_mul(IN_A_FOLDER)
}

/// The folder of segments.
pub fn segments(term: u64) -> String {
    format!("{}/segments", self::term(term))
}

/// The number of a segment with this name.
pub fn segment_number(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.strip_suffix(".segment")?.parse().ok()
}

/// The folder of snapshots.
pub fn snapshots(term: u64) -> String {
    format!("{}/snapshots", self::term(term))
}

/// What the name of a snapshot says. It counts when a segment says the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// When it was begun.
    pub at: Timestamp,
    /// Everything that it lacks is in segments after this one.
    pub after: u64,
    /// The whole name.
    pub name: String,
}

impl SnapshotName {
    /// One that is made now.
    pub fn new(term: u64, at: Timestamp, after: u64, random: [u8; 8]) -> Self {
        let folder = snapshots(term);
        let random = HEXLOWER.encode(&random);
        let name = format!("{folder}/{:015}-{after:020}-{random}.snapshot", at.as_millisecond());
        Self { at, after, name }
    }

    /// The one with this name.
    pub fn read(name: &str) -> Option<Self> {
        let file = name.rsplit('/').next()?.strip_suffix(".snapshot")?;
        let mut parts = file.split('-');
        let at = Timestamp::from_millisecond(parts.next()?.parse().ok()?).ok()?;
        Some(Self { at, after: parts.next()?.parse().ok()?, name: name.to_owned() })
    }
}
