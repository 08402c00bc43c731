//! The change log: frames appended one at a time, each on disk before anybody is told, and read again by whoever opens a store
//! that was not closed.
//!
//! There is never more than one frame that may not be on disk. So what is cut or torn at the end is a batch that nobody was
//! told of, and a frame behind a gap is damage. A segment whose frames are all in the store's file is used again; what it
//! still holds of those has lower numbers than what is written over it.

use std::collections::VecDeque;
use std::io;

use aws_lc_rs::rand;
use jiff::Timestamp;

use super::directory::Segments;
use super::error::ChangeLogError;
use super::frame::{Frame, GRAIN, LogId, decode_body, encode_body, octets_with};
use super::position::LogPosition;
use super::tap::TappedFrame;
use crate::store::layers::delta::Delta;
use crate::store::layers::overlay::Overlay;

/// The length of a log's first segment. A store in which little happens needs no more.
const FIRST_SEGMENT: u64 = 256 << 10;
/// The length of a segment in the end, unless one frame needs more: each one that is made is twice as long as that before.
const SEGMENT: u64 = 4 << 20;

#[derive(Debug)]
struct Segment {
    /// The number of its first frame.
    first: u64,
    octets: u64,
}

/// The log of an open store.
#[derive(Debug)]
pub(crate) struct ChangeLog {
    segments: Box<dyn Segments>,
    /// As it will be when everything appended so far is in the file.
    head: LogPosition,
    /// Those that are there, oldest first; frames go into the last.
    held: VecDeque<Segment>,
    /// Where in the last segment the next frame goes.
    at: u64,
    /// The frames that were found, oldest first: replicas may lack them.
    found: Vec<TappedFrame>,
}

/// Where the last frame lies that was found.
struct LastFrame {
    segment: u64,
    offset: u64,
    octets: Vec<u8>,
}

impl ChangeLog {
    /// Reads what is in the log and not in the file, which has come to `position`.
    pub(crate) fn recover(
        mut segments: Box<dyn Segments>,
        position: LogPosition,
    ) -> Result<(Self, Overlay), ChangeLogError> {
        let names = segments.list().map_err(|source| io_error(&*segments, source))?;
        if position.in_use {
            return Self::replay(segments, position, &names);
        }
        clear_away(&mut *segments, &position, &names).map_err(|source| io_error(&*segments, source))?;
        let log = Self { segments, head: position, held: VecDeque::new(), at: 0, found: Vec::new() };
        Ok((log, Overlay::default()))
    }

    fn replay(
        segments: Box<dyn Segments>,
        position: LogPosition,
        names: &[u64],
    ) -> Result<(Self, Overlay), ChangeLogError> {
        let missing = || ChangeLogError::Missing(segments.path().to_owned());
        let damaged = |number| ChangeLogError::Damaged { path: segments.path().to_owned(), number };
        if names.first().is_none_or(|first| *first > position.number.saturating_add(1)) {
            return Err(missing());
        }
        let (mut head, mut overlay, mut held) = (position, Overlay::default(), VecDeque::new());
        // The frame that the file has come to is in the log, unless there was none yet.
        let mut reaches = position.number == position.begun_after;
        let (mut last, mut at, mut kept) = (None, 0, Vec::new());
        for &first in names {
            if first > head.number.saturating_add(1) {
                return Err(damaged(head.number + 1));
            }
            let octets = segments.read(first).map_err(|source| io_error(&*segments, source))?;
            let of_this_log = |at: usize| {
                octets.get(at..).and_then(Frame::decode).filter(|found| found.frame.log == position.log)
            };
            let (mut offset, mut expected) = (0, first);
            while let Some(found) = of_this_log(offset).filter(|found| found.frame.number == expected) {
                if expected > head.number {
                    if found.frame.previous != head.digest {
                        return Err(damaged(expected));
                    }
                    overlay.apply(decode_body(found.body).ok_or_else(|| damaged(expected))?);
                    (head.number, head.digest) = (expected, found.digest);
                } else if expected == position.number {
                    reaches = found.digest == position.digest;
                }
                kept.push(TappedFrame::found(&found, &octets[offset..]));
                let whole = octets[offset..offset + found.octets].to_vec();
                last = Some(LastFrame { segment: first, offset: offset as u64, octets: whole });
                offset += found.octets;
                expected += 1;
            }
            let later = |at| of_this_log(at).is_some_and(|found| found.frame.number >= expected);
            if (offset..octets.len()).step_by(GRAIN).any(later) {
                return Err(damaged(expected));
            }
            held.push_back(Segment { first, octets: octets.len() as u64 });
            at = offset as u64;
        }
        if !reaches {
            return Err(missing());
        }
        let mut log = Self { segments, head, held, at, found: kept };
        log.confirm(last).map_err(|source| io_error(&*log.segments, source))?;
        Ok((log, overlay))
    }

    /// What was read may be what a failed sync has left in memory alone. Nothing is built on it before it is on disk.
    fn confirm(&mut self, last: Option<LastFrame>) -> io::Result<()> {
        let Some(LastFrame { segment, offset, octets }) = last else { return Ok(()) };
        self.segments.write(segment, offset, &octets)
    }

    /// The frames that were found when it was opened, once.
    pub(crate) fn take_found(&mut self) -> Vec<TappedFrame> {
        std::mem::take(&mut self.found)
    }

    /// Whether the store's file says that there is a log to be read.
    pub(crate) const fn is_begun(&self) -> bool {
        self.head.in_use
    }

    /// Makes a log for a store that was closed. What it returns has to be in the file before anything is appended.
    pub(crate) fn begin(&mut self) -> io::Result<LogPosition> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| io::Error::other("the system gave no random bytes"))?;
        self.head = LogPosition { log: LogId(id), begun_after: self.head.number, ..self.head };
        if self.held.is_empty() {
            self.make(FIRST_SEGMENT)?;
        }
        Ok(LogPosition { in_use: true, ..self.head })
    }

    /// The file says so now.
    pub(crate) const fn has_begun(&mut self) {
        self.head.in_use = true;
    }

    /// Where the file will have come when everything appended so far is in it.
    pub(crate) const fn head(&self) -> LogPosition {
        self.head
    }

    /// Appends what a batch changes, on disk when this returns. After an error what is on disk has to be found out by
    /// recovery. Returns the frame, for replicas.
    ///
    /// `applied`: the number of the last frame that is in the file.
    pub(crate) fn append(&mut self, delta: &Delta, applied: u64, now: Timestamp) -> io::Result<TappedFrame> {
        let number = self.head.number + 1;
        let frame = Frame { log: self.head.log, number, at: now, previous: self.head.digest };
        let too_long = || io::Error::other("a batch of changes is too long for the change log");
        let body = encode_body(delta).ok_or_else(too_long)?;
        let (mut octets, digest) = frame.encode(&body).ok_or_else(too_long)?;
        let length = octets.len() as u64;
        if self.held.back().is_none_or(|segment| self.at + length > segment.octets) {
            self.next_segment(length, applied)?;
        }
        let segment = self.held.back().map_or(number, |segment| segment.first);
        self.segments.write(segment, self.at, &octets)?;
        self.at += length;
        (self.head.number, self.head.digest) = (number, digest);
        octets.truncate(octets_with(body.len()));
        Ok(TappedFrame { number, previous: frame.previous, digest, at: now, octets })
    }

    /// Goes on in another segment: one whose frames are all in the file, or a new one.
    fn next_segment(&mut self, length: u64, applied: u64) -> io::Result<()> {
        let becomes = self.head.number + 1;
        // What a crash has left of making it: no frame is in it.
        if let Some(unused) = self.held.pop_back_if(|last| last.first == becomes) {
            self.segments.remove(unused.first)?;
        }
        // The frame that the file has come to stays, to show that the log reaches back to it.
        while self.held.get(1).is_some_and(|second| second.first <= applied) {
            let Some(oldest) = self.held.pop_front() else { break };
            let is_spare = self.held.get(1).is_some_and(|second| second.first <= applied);
            if oldest.octets >= length.max(SEGMENT) && !is_spare {
                let octets = self.segments.recycle(oldest.first, becomes)?;
                self.held.push_back(Segment { first: becomes, octets });
                self.at = 0;
                return Ok(());
            }
            self.segments.remove(oldest.first)?;
        }
        let longer = self.held.back().map_or(FIRST_SEGMENT, |last| last.octets.saturating_mul(2));
        self.make(length.max(longer.min(SEGMENT)))
    }

    fn make(&mut self, octets: u64) -> io::Result<()> {
        let first = self.head.number + 1;
        self.segments.create(first, octets)?;
        self.held.push_back(Segment { first, octets });
        self.at = 0;
        Ok(())
    }

    /// Removes all of it, once everything is in the file and the file says that it was closed.
    pub(crate) fn close(mut self) -> io::Result<()> {
        let Self { segments, held, .. } = &mut self;
        held.drain(..).try_for_each(|segment| segments.remove(segment.first))?;
        segments.close()
    }
}

/// What a store that was closed has beside it is left over from its closing; or of a later time than the store is.
fn clear_away(segments: &mut dyn Segments, position: &LogPosition, names: &[u64]) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    for &name in names {
        let octets = segments.read(name)?;
        let mut frames = (0..octets.len()).step_by(GRAIN).filter_map(|at| Frame::decode(&octets[at..]));
        let known = |frame: &Frame| frame.log == position.log && frame.number <= position.number;
        if frames.any(|found| !known(&found.frame)) {
            let aside = segments.set_aside()?;
            tracing::warn!(
                log = %aside.display(),
                "THE STORE IS OLDER THAN ITS CHANGE LOG, or the log is another store's: it was set aside; what it has \
                 promised is not in this store"
            );
            return Ok(());
        }
    }
    names.iter().try_for_each(|name| segments.remove(*name))?;
    segments.close()
}

fn io_error(segments: &dyn Segments, source: io::Error) -> ChangeLogError {
    ChangeLogError::Io { path: segments.path().to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::log::directory::Directory;
    use crate::store::rows::Table;

    struct Logged {
        directory: tempfile::TempDir,
        position: LogPosition,
    }

    impl Logged {
        fn path(&self) -> std::path::PathBuf {
            self.directory.path().join("changes")
        }

        fn segments(&self) -> Box<Directory> {
            Box::new(Directory::new(self.path()))
        }

        fn recover(&self) -> Result<(ChangeLog, Overlay), ChangeLogError> {
            ChangeLog::recover(self.segments(), self.position)
        }

        fn names(&self) -> Vec<std::path::PathBuf> {
            let names = self.segments().list().unwrap();
            names.into_iter().map(|name| self.path().join(format!("{name:020}.frames"))).collect()
        }
    }

    fn delta(number: u64, octets: usize) -> Delta {
        let mut delta = Delta::default();
        delta.put(Table::Audit, &number.to_be_bytes(), vec![u8::try_from(number % 251).unwrap(); octets]);
        delta
    }

    /// A log with so many frames of about so many octets, `applied` of them in the file.
    fn logged(frames: u64, octets: usize, applied: u64) -> Logged {
        let directory = tempfile::tempdir().unwrap();
        let mut logged = Logged { directory, position: LogPosition::NONE };
        let (mut log, _) = logged.recover().unwrap();
        logged.position = log.begin().unwrap();
        log.has_begun();
        for number in 1..=frames {
            log.append(&delta(number, octets), logged.position.number, Timestamp::UNIX_EPOCH).unwrap();
            if number <= applied {
                logged.position = log.head();
            }
        }
        logged
    }

    fn keys(overlay: &Overlay) -> Vec<u64> {
        let rows = overlay.tables().flat_map(|(_, rows)| rows);
        rows.map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap())).collect()
    }

    fn poke(path: &Path, offset: u64, octets: &[u8]) {
        use std::os::unix::fs::FileExt;
        std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(octets, offset).unwrap();
    }

    #[test]
    fn what_was_appended_since_the_checkpoint_is_read_again() {
        for (frames, octets, applied) in [(0, 10, 0), (1, 10, 0), (9, 10, 4), (9, 9000, 9), (40, 1 << 20, 0)]
        {
            let logged = logged(frames, octets, applied);
            let (mut log, tail) = logged.recover().unwrap();
            assert_eq!(keys(&tail), (applied + 1..=frames).collect::<Vec<_>>());
            log.append(&delta(frames + 1, 10), applied, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(keys(&logged.recover().unwrap().1), (applied + 1..=frames + 1).collect::<Vec<_>>());
        }
    }

    #[test]
    fn segments_whose_frames_are_in_the_file_are_used_again() {
        let logged = logged(200, 500_000, 200);
        assert!(logged.names().len() <= 3, "{:?}", logged.names());
        let (_, tail) = logged.recover().unwrap();
        assert!(tail.is_empty());
        // A batch may be longer than a segment.
        let (mut log, _) = logged.recover().unwrap();
        log.append(&delta(201, 9 << 20), 200, Timestamp::UNIX_EPOCH).unwrap();
        log.append(&delta(202, 10), 200, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(keys(&logged.recover().unwrap().1), [201, 202]);
    }

    #[test]
    fn an_end_that_was_torn_is_no_damage_and_is_written_over() {
        let logged = logged(5, 9000, 2);
        let last = &logged.names()[0];
        let frame: u64 = 3 * 4096;
        for torn in [0, 4096, 8192] {
            poke(last, 4 * frame + torn, &[0xaa; 100]);
            let (mut log, tail) = logged.recover().unwrap();
            assert_eq!(keys(&tail), [3, 4]);
            log.append(&delta(5, 9000), 2, Timestamp::UNIX_EPOCH).unwrap();
            drop(log);
            assert_eq!(keys(&logged.recover().unwrap().1), [3, 4, 5]);
        }
    }

    #[test]
    fn a_frame_behind_a_gap_is_damage() {
        for number in [3, 4] {
            let logged = logged(5, 9000, 2);
            poke(&logged.names()[0], (number - 1) * 3 * 4096 + 200, &[0xaa; 100]);
            let refused = logged.recover().unwrap_err();
            assert!(matches!(refused, ChangeLogError::Damaged { number: n, .. } if n == number), "{refused}");
        }
        let logged = logged(40, 1 << 20, 0);
        std::fs::remove_file(&logged.names()[3]).unwrap();
        assert!(matches!(logged.recover(), Err(ChangeLogError::Damaged { .. })));
    }

    #[test]
    fn a_log_that_does_not_reach_back_is_missing() {
        let nothing = logged(5, 10, 2);
        std::fs::remove_dir_all(nothing.path()).unwrap();
        assert!(matches!(nothing.recover(), Err(ChangeLogError::Missing(_))));
        let begins_later = logged(40, 1 << 20, 0);
        std::fs::remove_file(&begins_later.names()[0]).unwrap();
        assert!(matches!(begins_later.recover(), Err(ChangeLogError::Missing(_))));
        let mut of_another = logged(5, 10, 2);
        of_another.position.log = LogId([7; 16]);
        assert!(matches!(of_another.recover(), Err(ChangeLogError::Missing(_))));
        let mut shorter = logged(5, 10, 5);
        shorter.position.number = 8;
        assert!(matches!(shorter.recover(), Err(ChangeLogError::Missing(_))));
    }

    #[test]
    fn what_a_closed_store_has_beside_it_goes_away_or_is_set_aside() {
        let mut left_over = logged(5, 10, 5);
        left_over.position.in_use = false;
        let (_, tail) = left_over.recover().unwrap();
        assert!(tail.is_empty() && !left_over.path().exists());
        let mut newer = logged(5, 10, 3);
        newer.position.in_use = false;
        let (_, tail) = newer.recover().unwrap();
        assert!(tail.is_empty() && !newer.path().exists());
        assert!(newer.directory.path().join("changes.aside-1").is_dir());
    }
}
