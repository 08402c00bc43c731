//! Segments: what goes out to a replica at once, sealed. Format version 1.
//!
//! A segment is a head and what it seals. All numbers are big-endian:
//!
//! | octets | |
//! | --- | --- |
//! | 8 | `MUSTERR1` |
//! | 16 | the store's id |
//! | 8 | the term |
//! | 8 | the segment's number in its term, from 1 on, without a gap |
//! | 4 | the number of the data key in its term |
//! | 32 | the SHA-256 of the whole segment before; zeros before the first |
//! | 12 | the nonce, random |
//!
//! The rest is AES-256-GCM under the data key, with everything above as what is authenticated beside it. Inside are entries, each
//! with its kind (1) and its length (4):
//!
//! | kind | |
//! | --- | --- |
//! | 1 | a frame of the change log (`store::log::frame`), head and body, without padding |
//! | 2 | the files of `tls/` as they are now: milliseconds since 1970 (8), then each name and content with its length (4) |
//! | 3 | a snapshot that is there: milliseconds since 1970 (8), 1 where frames before it are missing and else 0 (1), number (8) and digest (32) of the last frame in it, its length (8), its SHA-256 (32), its name |

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::domain::withdrawal::StoreId;
use crate::store::{FrameDigest, FramePlace, TappedFrame};

const MAGIC: &[u8; 8] = b"MUSTERR1";
const HEAD: usize = 8 + 16 + 8 + 8 + 4 + 32 + 12;
const NONCE: usize = 12;

const FRAME: u8 = 1;
const FILES: u8 = 2;
const SNAPSHOT: u8 = 3;

/// The SHA-256 of a segment.
pub type SegmentDigest = [u8; 32];

/// Which segment of which term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentNumber {
    /// The promotion that it belongs to.
    pub term: u64,
    /// In the term.
    pub number: u64,
}

/// What stands before what is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// Whose it is.
    pub store: StoreId,
    /// Its place.
    pub at: SegmentNumber,
    /// Which data key opens it.
    pub key: u32,
    /// The segment before.
    pub previous: SegmentDigest,
}

/// A snapshot that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// When it was begun.
    pub at: Timestamp,
    /// Whether frames before it are missing: what comes after goes on from it.
    pub begins_anew: bool,
    /// The last frame that is in it.
    pub place: FramePlace,
    /// Its length.
    pub octets: u64,
    /// Of all of it.
    pub sha256: [u8; 32],
    /// Where it is.
    pub name: String,
}

/// A file with its name in a backup.
pub type NamedFile = (String, Zeroizing<Vec<u8>>);

/// What a segment holds.
#[derive(Clone, PartialEq, Eq)]
pub enum SegmentEntry {
    /// A frame of the change log.
    Frame(TappedFrame),
    /// `tls/`, as it is from then on.
    Files {
        /// Since when.
        at: Timestamp,
        /// All that there are.
        files: Vec<NamedFile>,
    },
    /// A snapshot that is there.
    Snapshot(SnapshotEntry),
}

impl fmt::Debug for SegmentEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(frame) => f.debug_tuple("Frame").field(&frame.number).finish(),
            Self::Files { files, .. } => f.debug_tuple("Files").field(&files.len()).finish(),
            Self::Snapshot(snapshot) => f.debug_tuple("Snapshot").field(snapshot).finish(),
        }
    }
}

/// Why a segment is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotASegment {
    /// It is cut short, or was never one.
    #[error("it is no segment of a replica, or one of a newer muster")]
    Head,
    /// Somebody who has not the key has changed it, or it has another one's name.
    #[error("it was changed, or is cut short")]
    Sealed,
    /// Whoever made it has the key and does something that this version does not know.
    #[error("its content makes no sense to this version of muster")]
    Content,
}

/// The key that seals segments of a term.
pub struct DataKey(LessSafeKey);

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data key")
    }
}

impl DataKey {
    /// Octets of a key.
    pub const LENGTH: usize = 32;

    /// The key with these octets.
    pub fn new(octets: &[u8; Self::LENGTH]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, octets).expect("32 octets are a key");
        Self(LessSafeKey::new(key))
    }
}

/// SHA-256 of a whole segment.
pub fn digest_of(octets: &[u8]) -> SegmentDigest {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

impl SegmentHead {
    /// What a segment says of itself. It is true only if the segment opens.
    pub fn read(octets: &[u8]) -> Result<Self, NotASegment> {
        let head = octets.get(..HEAD).and_then(|head| head.strip_prefix(MAGIC)).ok_or(NotASegment::Head)?;
        let mut parts = Parts(head);
        let read = |parts: &mut Parts<'_>| {
            Some(Self {
                store: StoreId::from_bytes(parts.array()?),
                at: SegmentNumber { term: parts.number()?, number: parts.number()? },
                key: parts.length()?,
                previous: parts.array()?,
            })
        };
        read(&mut parts).ok_or(NotASegment::Head)
    }

    fn encode(&self) -> Vec<u8> {
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(self.store.as_bytes());
        octets.extend_from_slice(&self.at.term.to_be_bytes());
        octets.extend_from_slice(&self.at.number.to_be_bytes());
        octets.extend_from_slice(&self.key.to_be_bytes());
        octets.extend_from_slice(&self.previous);
        octets
    }

    /// The whole segment. `None`: the system gives no random octets, or an entry is too long.
    pub fn seal(&self, entries: &[SegmentEntry], key: &DataKey) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        let mut octets = self.encode();
        octets.extend_from_slice(&nonce);
        let mut content = Vec::new();
        entries.iter().try_for_each(|entry| entry.encode(&mut content))?;
        let beside = Aad::from(octets.clone());
        key.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), beside, &mut content).ok()?;
        octets.append(&mut content);
        Some(octets)
    }

    /// What the segment with this head holds.
    pub fn open(&self, octets: &[u8], key: &DataKey) -> Result<Vec<SegmentEntry>, NotASegment> {
        let (head, sealed) = octets.split_at_checked(HEAD).ok_or(NotASegment::Head)?;
        let nonce: [u8; NONCE] = head.last_chunk::<NONCE>().copied().ok_or(NotASegment::Head)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.0.open_in_place(nonce, Aad::from(head), &mut sealed);
        let content = opened.map_err(|_| NotASegment::Sealed)?;
        let (mut parts, mut entries) = (Parts(content), Vec::new());
        while !parts.0.is_empty() {
            entries.push(SegmentEntry::decode(&mut parts).ok_or(NotASegment::Content)?);
        }
        Ok(entries)
    }
}

impl SegmentEntry {
    /// About how long it is.
    pub fn octets(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.octets.len(),
            Self::Files { files, .. } => files.iter().map(|(_, content)| content.len()).sum(),
            Self::Snapshot(_) => 0,
        }
    }

    fn encode(&self, to: &mut Vec<u8>) -> Option<()> {
        let mut content = Zeroizing::new(Vec::new());
        let kind = match self {
            Self::Frame(frame) => {
                content.extend_from_slice(&frame.octets);
                FRAME
            }
            Self::Files { at, files } => {
                content.extend_from_slice(&at.as_millisecond().to_be_bytes());
                for (name, file) in files {
                    for octets in [name.as_bytes(), file.as_slice()] {
                        content.extend_from_slice(&u32::try_from(octets.len()).ok()?.to_be_bytes());
                        content.extend_from_slice(octets);
                    }
                }
                FILES
            }
            Self::Snapshot(snapshot) => {
                content.extend_from_slice(&snapshot.at.as_millisecond().to_be_bytes());
                content.push(u8::from(snapshot.begins_anew));
                content.extend_from_slice(&snapshot.place.number.to_be_bytes());
                content.extend_from_slice(snapshot.place.digest.as_bytes());
                content.extend_from_slice(&snapshot.octets.to_be_bytes());
                content.extend_from_slice(&snapshot.sha256);
                content.extend_from_slice(snapshot.name.as_bytes());
                SNAPSHOT
            }
        };
        to.push(kind);
        to.extend_from_slice(&u32::try_from(content.len()).ok()?.to_be_bytes());
        to.extend_from_slice(&content);
        Some(())
    }

    fn decode(parts: &mut Parts<'_>) -> Option<Self> {
        let [kind] = parts.array()?;
        let mut content = Parts(parts.counted()?);
        match kind {
            FRAME => Some(Self::Frame(TappedFrame::read(content.0)?)),
            FILES => {
                let at = content.time()?;
                let mut files = Vec::new();
                while !content.0.is_empty() {
                    let name = String::from_utf8(content.counted()?.to_vec()).ok()?;
                    files.push((name, Zeroizing::new(content.counted()?.to_vec())));
                }
                Some(Self::Files { at, files })
            }
            SNAPSHOT => {
                let at = content.time()?;
                let begins_anew = match content.array()? {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                let place = FramePlace {
                    number: content.number()?,
                    digest: FrameDigest::from_bytes(content.array()?),
                };
                let (octets, sha256) = (content.number()?, content.array()?);
                let name = String::from_utf8(content.0.to_vec()).ok()?;
                Some(Self::Snapshot(SnapshotEntry { at, begins_anew, place, octets, sha256, name }))
            }
            _ => None,
        }
    }
}

/// Octets that are read from the front.
struct Parts<'p>(&'p [u8]);

impl<'p> Parts<'p> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.array().map(i64::from_be_bytes)?).ok()
    }

    fn counted(&mut self) -> Option<&'p [u8]> {
        let length = usize::try_from(self.length()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_a_turned_bit_and_another_name_are_found() {
        let key = DataKey::new(&[1; 32]);
        let head = SegmentHead {
            store: StoreId::from_bytes([2; 16]),
            at: SegmentNumber { term: 3, number: 4 },
            key: 5,
            previous: [6; 32],
        };
        let at = Timestamp::from_millisecond(1_800_000_000_000).unwrap();
        let files = vec![("tls/ca.crt".to_owned(), Zeroizing::new(vec![7; 300]))];
        let place = FramePlace { number: 9, digest: FrameDigest::from_bytes([8; 32]) };
        let name = "term/x.snapshot".to_owned();
        let snapshot = SnapshotEntry { at, begins_anew: true, place, octets: 10, sha256: [9; 32], name };
        let entries = vec![SegmentEntry::Files { at, files }, SegmentEntry::Snapshot(snapshot)];
        let sealed = head.seal(&entries, &key).unwrap();
        let opened = |octets: &[u8], key: &DataKey| SegmentHead::read(octets)?.open(octets, key);
        assert_eq!(SegmentHead::read(&sealed), Ok(head));
        assert_eq!(opened(&sealed, &key), Ok(entries));
        assert_eq!(opened(&sealed, &DataKey::new(&[2; 32])), Err(NotASegment::Sealed));
        for at in 0..sealed.len() {
            let mut turned = sealed.clone();
            turned[at] ^= 1 << (at % 8);
            assert!(opened(&turned, &key).is_err(), "turned at {at}");
            assert!(opened(&sealed[..at], &key).is_err(), "cut at {at}");
        }
    }
}
