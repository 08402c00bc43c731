//! Frames: the change log's format, version 2. Version 1 had no time, and was in no release.
//!
//! A frame begins at a multiple of 4 KiB. All numbers are big-endian:
//!
//! | octets | |
//! | --- | --- |
//! | 8 | `MUSTERC2` |
//! | 16 | the log's id: random, new each time that a store is opened after it was closed cleanly |
//! | 8 | the frame's number, one more than that of the one before |
//! | 8 | when it was written: milliseconds since 1970, by the server's clock |
//! | 4 | the length of its body |
//! | 32 | the digest of the frame before; zeros before the first of a store |
//! | 32 | the digest: SHA-256 of everything above and of the body |
//!
//! The body follows, and zeros up to the next multiple of 4 KiB. It names tables, each with the rows that change in it: for
//! each table the length of its name (1), the name, and the number of its rows (4); for each row 1 and key and value
//! (4 octets of length before each) where it is put, and 0 and the key where it is removed. Values are those of the store's
//! file, with their checksums.
//!
//! Segments of a replica (`replica::segment`) hold the same octets without the zeros behind them.

use jiff::Timestamp;

use crate::domain::sha256::sha256;
use crate::store::layers::delta::Delta;
use crate::store::rows::Table;

/// Where frames may begin.
pub(crate) const GRAIN: usize = 4096;
const MAGIC: &[u8; 8] = b"MUSTERC2";
/// What the digest covers of the head.
const DIGESTED: usize = 76;
const HEAD: usize = DIGESTED + 32;

const REMOVED: u8 = 0;
const PUT: u8 = 1;

/// SHA-256 of a frame: what the next one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameDigest(pub(crate) [u8; 32]);

impl FrameDigest {
    /// What a store's first frame follows.
    pub(crate) const NONE: Self = Self([0; 32]);

    /// The digest with these octets.
    pub const fn from_bytes(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    /// Its octets.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Which log a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogId(pub(crate) [u8; 16]);

/// A frame without its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) log: LogId,
    pub(crate) number: u64,
    /// When it was written, by the server's clock.
    pub(crate) at: Timestamp,
    pub(crate) previous: FrameDigest,
}

/// A frame as it was found.
#[derive(Debug)]
pub(crate) struct Found<'f> {
    pub(crate) frame: Frame,
    pub(crate) digest: FrameDigest,
    pub(crate) body: &'f [u8],
    /// With the zeros behind it.
    pub(crate) octets: usize,
}

impl Frame {
    /// The frame as it goes to disk, and its digest. `None` where the body is longer than a frame's can be.
    pub(crate) fn encode(&self, body: &[u8]) -> Option<(Vec<u8>, FrameDigest)> {
        let mut octets = Vec::with_capacity(padded(HEAD + body.len()));
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.log.0);
        octets.extend_from_slice(&self.number.to_be_bytes());
        octets.extend_from_slice(&self.at.as_millisecond().to_be_bytes());
        octets.extend_from_slice(&length(body.len())?);
        octets.extend_from_slice(&self.previous.0);
        let digest = FrameDigest(sha256(&[&octets, body]));
        octets.extend_from_slice(&digest.0);
        octets.extend_from_slice(body);
        octets.resize(padded(octets.len()), 0);
        Some((octets, digest))
    }

    /// The frame that `octets` begin with, if there is a whole one.
    pub(crate) fn decode(octets: &[u8]) -> Option<Found<'_>> {
        let (head, rest) = octets.split_at_checked(HEAD)?;
        let mut parts = Parts(head.strip_prefix(MAGIC.as_slice())?);
        let (log, number) = (LogId(parts.array()?), u64::from_be_bytes(parts.array()?));
        let at = Timestamp::from_millisecond(i64::from_be_bytes(parts.array()?)).ok()?;
        let length = usize::try_from(parts.length()?).ok()?;
        let (previous, digest) = (FrameDigest(parts.array()?), FrameDigest(parts.array()?));
        let body = rest.get(..length)?;
        let is_whole = digest.0 == sha256(&[&head[..DIGESTED], body]);
        let frame = Self { log, number, at, previous };
        is_whole.then(|| Found { frame, digest, body, octets: padded(HEAD + length).min(octets.len()) })
    }
}

/// What of an encoded frame is no padding: so much goes to a replica.
pub(crate) const fn octets_with(body: usize) -> usize {
    HEAD + body
}

const fn padded(octets: usize) -> usize {
    octets.next_multiple_of(GRAIN)
}

/// A body. `None` where something in it is longer than its length can say.
pub(crate) fn encode_body(delta: &Delta) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for (table, rows) in delta.tables() {
        let name = table.name().as_bytes();
        body.push(u8::try_from(name.len()).ok()?);
        body.extend_from_slice(name);
        body.extend_from_slice(&length(rows.len())?);
        for (key, value) in rows {
            body.push(if value.is_some() { PUT } else { REMOVED });
            for octets in std::iter::once(key).chain(value) {
                body.extend_from_slice(&length(octets.len())?);
                body.extend_from_slice(octets);
            }
        }
    }
    Some(body)
}

fn length(octets: usize) -> Option<[u8; 4]> {
    Some(u32::try_from(octets).ok()?.to_be_bytes())
}

/// What a body changes; `None` where it makes no sense to this version.
pub(crate) fn decode_body(body: &[u8]) -> Option<Delta> {
    let (mut parts, mut delta) = (Parts(body), Delta::default());
    while !parts.0.is_empty() {
        let [length] = parts.array()?;
        let name = parts.take(u32::from(length))?;
        let table = Table::ALL.iter().copied().find(|table| table.name().as_bytes() == name)?;
        for _ in 0..parts.length()? {
            let [what] = parts.array()?;
            let key = parts.counted()?;
            match what {
                PUT => delta.put(table, key, parts.counted()?.to_vec()),
                REMOVED => delta.remove(table, key),
                _ => return None,
            }
        }
    }
    Some(delta)
}

/// Octets that are read from the front.
struct Parts<'p>(&'p [u8]);

impl<'p> Parts<'p> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn length(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn take(&mut self, length: u32) -> Option<&'p [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn counted(&mut self) -> Option<&'p [u8]> {
        let length = self.length()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta() -> Delta {
        let mut delta = Delta::default();
        delta.put(Table::Hosts, b"one", vec![1; 700]);
        delta.put(Table::Hosts, b"two", Vec::new());
        delta.remove(Table::Hosts, b"three");
        delta.put(Table::Audit, &7_u64.to_be_bytes(), vec![2; 5000]);
        delta
    }

    fn frame() -> Frame {
        let at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        Frame { log: LogId([3; 16]), number: 9, at, previous: FrameDigest([4; 32]) }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let (octets, digest) = frame().encode(&encode_body(&delta()).unwrap()).unwrap();
        assert_eq!(octets.len() % GRAIN, 0);
        let behind = [octets.as_slice(), &[7; GRAIN]].concat();
        let found = Frame::decode(&behind).unwrap();
        assert_eq!((found.frame, found.digest, found.octets), (frame(), digest, octets.len()));
        assert_eq!(decode_body(found.body), Some(delta()));
    }

    #[test]
    fn a_flipped_bit_or_a_cut_is_noticed_anywhere() {
        let (octets, _) = frame().encode(&encode_body(&delta()).unwrap()).unwrap();
        let used = HEAD + encode_body(&delta()).unwrap().len();
        for bit in (0..used * 8).step_by(7) {
            let mut damaged = octets.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(&damaged).is_none(), "bit {bit}");
        }
        for length in (0..used).step_by(13) {
            assert!(Frame::decode(&octets[..length]).is_none(), "cut at {length}");
        }
    }

    #[test]
    fn a_body_that_makes_no_sense_is_none() {
        let body = encode_body(&delta()).unwrap();
        assert!((1..body.len()).filter(|length| decode_body(&body[..*length]).is_some()).count() <= 1);
        let mut unknown = body;
        unknown[1] = b'X';
        assert_eq!(decode_body(&unknown), None);
    }
}
