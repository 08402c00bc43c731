//! A disk for tests that remembers every write, so that afterwards the power can be cut at any of them: what was
//! not synced by then may be there, be lost, or be there in part.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use redb::StorageBackend;

use crate::domain::testing::Dice;
use crate::store::log::directory::Segments;

/// What happened to the disk, or because of it.
#[derive(Debug)]
enum Event {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    SetLen(usize),
    Sync,
    SegmentMade(u64, usize),
    SegmentRenamed(u64, u64),
    SegmentRemoved(u64),
    SegmentWrite {
        segment: u64,
        offset: usize,
        data: Vec<u8>,
    },
    SegmentSync,
    /// Somebody was told that everything up to here is on disk.
    Committed,
}

/// The segments of a change log, by their numbers.
pub(crate) type SegmentImages = BTreeMap<u64, Vec<u8>>;

/// A disk, and all that has happened to it. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct PowerCutDisk(Arc<Mutex<Recording>>);

#[derive(Debug)]
struct Recording {
    /// What was on it at first.
    first: Vec<u8>,
    /// What a reader sees now.
    seen: Vec<u8>,
    first_segments: SegmentImages,
    seen_segments: SegmentImages,
    /// With the length that the journal had then.
    events: Vec<(Event, u64)>,
    journal: PathBuf,
}

/// How the power goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// What is written whole or not at all, in octets.
    pub grain: usize,
    /// Of eight grains that were not synced, how many get through.
    pub kept: usize,
    pub seed: u64,
}

/// What is left after a cut.
#[derive(Debug)]
pub(crate) struct Left {
    pub image: Vec<u8>,
    pub segments: SegmentImages,
    /// How much of the journal is left, between what it had and what it may have been getting.
    pub journal: RangeInclusive<u64>,
    /// How often somebody had been told that all is on disk.
    pub committed: usize,
}

impl PowerCutDisk {
    /// A disk with an image and a change log on it, beside a journal.
    pub(crate) fn new(image: Vec<u8>, segments: SegmentImages, journal: &Path) -> Self {
        Self(Arc::new(Mutex::new(Recording {
            seen: image.clone(),
            first: image,
            seen_segments: segments.clone(),
            first_segments: segments,
            events: Vec::new(),
            journal: journal.to_owned(),
        })))
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock()
    }

    /// From now on, what was written before must outlive every cut.
    pub(crate) fn committed(&self) {
        self.recording().push(Event::Committed);
    }

    /// How many moments there are at which the power can be cut.
    pub(crate) fn moments(&self) -> usize {
        self.recording().events.len() + 1
    }

    /// What is left when the power is cut after so many events.
    pub(crate) fn cut(&self, after: usize, weather: Weather) -> Left {
        self.recording().cut(after, weather)
    }
}

impl Recording {
    fn journal_len(&self) -> u64 {
        std::fs::metadata(&self.journal).map_or(0, |found| found.len())
    }

    fn push(&mut self, event: Event) {
        let journal = self.journal_len();
        self.events.push((event, journal));
    }

    fn cut(&self, after: usize, weather: Weather) -> Left {
        let (past, future) = self.events.split_at(after);
        let synced = past.iter().rposition(|(event, _)| matches!(event, Event::Sync)).map_or(0, |at| at + 1);
        let (safe, loose) = past.split_at(synced);
        let mut image = self.first.clone();
        for (event, _) in safe {
            match event {
                Event::Write { offset, data } => put(&mut image, *offset, data),
                Event::SetLen(len) => image.resize(*len, 0),
                _ => {}
            }
        }
        lose(&mut image, loose, weather);
        let segments = self.segments_left(after, weather);
        let had = past.last().map_or(0, |(_, journal)| *journal);
        let gets = future.first().map_or_else(|| self.journal_len(), |(_, journal)| *journal);
        let committed = past.iter().filter(|(event, _)| matches!(event, Event::Committed)).count();
        Left { image, segments, journal: had..=gets.max(had), committed }
    }

    /// Names are there for good as soon as they are given; of what was written to a segment and not synced, some grains get
    /// through.
    fn segments_left(&self, after: usize, Weather { grain, kept, seed }: Weather) -> SegmentImages {
        let (past, future) = self.events.split_at(after);
        let mut dice = Dice::new(seed ^ 1);
        let mut segments = self.first_segments.clone();
        let synced = past.iter().rposition(|(event, _)| matches!(event, Event::SegmentSync)).unwrap_or(0);
        for (at, (event, _)) in past.iter().enumerate() {
            match event {
                Event::SegmentWrite { segment, offset, data } => {
                    let image = segments.get_mut(segment).expect("only what is there is written to");
                    for (_, part) in grains(*offset, data.len(), grain) {
                        if at < synced || dice.roll(8) < kept {
                            put(image, offset + part.start, &data[part]);
                        }
                    }
                }
                other => follow(&mut segments, other),
            }
        }
        // One that was just being made may be there in part.
        if let Some((Event::SegmentMade(segment, octets), _)) = future.first()
            && dice.roll(2) == 0
        {
            segments.insert(*segment, vec![0; dice.roll(*octets + 1)]);
        }
        segments
    }
}

/// What becomes of the segments, but for what is written to them.
fn follow(segments: &mut SegmentImages, event: &Event) {
    match event {
        Event::SegmentMade(segment, octets) => {
            segments.insert(*segment, vec![0; *octets]);
        }
        Event::SegmentRenamed(from, to) => {
            let image = segments.remove(from).expect("only what is there is renamed");
            segments.insert(*to, image);
        }
        Event::SegmentRemoved(segment) => {
            segments.remove(segment);
        }
        _ => {}
    }
}

/// Does to an image what is left of writes that were not synced. Of the writes to one grain, some first ones get
/// through; the grains don't know of each other, so later writes may be there where earlier ones are not.
fn lose(image: &mut Vec<u8>, loose: &[(Event, u64)], Weather { grain, kept, seed }: Weather) {
    let mut dice = Dice::new(seed);
    let mut getting_through = |writes: usize| {
        if dice.roll(8) < kept { writes } else { dice.roll(writes) }
    };
    let mut lengths = vec![image.len()];
    let mut writes_to = BTreeMap::new();
    let mut longest = image.len();
    for (event, _) in loose {
        match event {
            Event::Write { offset, data } => {
                longest = longest.max(offset + data.len());
                grains(*offset, data.len(), grain).for_each(|(at, _)| *writes_to.entry(at).or_insert(0) += 1);
            }
            Event::SetLen(len) => {
                longest = longest.max(*len);
                lengths.push(*len);
            }
            _ => {}
        }
    }
    for writes in writes_to.values_mut() {
        *writes = getting_through(*writes);
    }
    image.resize(longest, 0);
    for (event, _) in loose {
        let Event::Write { offset, data } = event else { continue };
        for (at, part) in grains(*offset, data.len(), grain) {
            if let Some(left) = writes_to.get_mut(&at).filter(|left| **left > 0) {
                *left -= 1;
                put(image, offset + part.start, &data[part]);
            }
        }
    }
    image.resize(lengths[getting_through(lengths.len() - 1)], 0);
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    image.resize(image.len().max(offset + data.len()), 0);
    image[offset..offset + data.len()].copy_from_slice(data);
}

/// The grains that a stretch of octets touches: which, and where in the stretch.
fn grains(offset: usize, length: usize, grain: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done;
        let here = (length - done).min(grain - at % grain);
        let part = done..done + here;
        done += here;
        (here > 0).then_some((at / grain, part))
    })
}

impl StorageBackend for PowerCutDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.recording().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let recording = self.recording();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let read = recording.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(read);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut recording = self.recording();
        let len = usize::try_from(len).map_err(io::Error::other)?;
        recording.seen.resize(len, 0);
        recording.push(Event::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.recording().push(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut recording = self.recording();
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        put(&mut recording.seen, offset, data);
        recording.push(Event::Write { offset, data: data.to_vec() });
        Ok(())
    }
}

impl Segments for PowerCutDisk {
    fn path(&self) -> &Path {
        Path::new("(recorded)")
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.recording().seen_segments.keys().copied().collect())
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        self.recording().seen_segments.get(&segment).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&mut self, segment: u64, octets: u64) -> io::Result<()> {
        assert!(!self.recording().seen_segments.contains_key(&segment), "{segment} is there");
        self.happens(Event::SegmentMade(segment, usize::try_from(octets).map_err(io::Error::other)?));
        Ok(())
    }

    fn recycle(&mut self, segment: u64, becomes: u64) -> io::Result<u64> {
        self.happens(Event::SegmentRenamed(segment, becomes));
        Ok(self.recording().seen_segments[&becomes].len() as u64)
    }

    fn write(&mut self, segment: u64, offset: u64, octets: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut recording = self.recording();
        let image = recording.seen_segments.get_mut(&segment).ok_or(io::ErrorKind::NotFound)?;
        assert!(offset + octets.len() <= image.len(), "a segment does not grow");
        put(image, offset, octets);
        recording.push(Event::SegmentWrite { segment, offset, data: octets.to_vec() });
        recording.push(Event::SegmentSync);
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        self.happens(Event::SegmentRemoved(segment));
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        panic!("a store is never older than its own log")
    }
}

impl PowerCutDisk {
    fn happens(&self, event: Event) {
        let mut recording = self.recording();
        follow(&mut recording.seen_segments, &event);
        recording.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALL: Weather = Weather { grain: 4, kept: 8, seed: 0 };
    const LOSE_ALL: Weather = Weather { grain: 4, kept: 0, seed: 0 };

    #[test]
    fn what_was_synced_is_there_and_the_rest_may_be_lost() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let disk = PowerCutDisk::new(vec![1; 8], SegmentImages::new(), &journal);
        StorageBackend::write(&disk, 2, &[2; 4]).unwrap();
        disk.sync_data().unwrap();
        disk.committed();
        std::fs::write(&journal, "line").unwrap();
        disk.set_len(12).unwrap();
        StorageBackend::write(&disk, 6, &[3; 6]).unwrap();
        let synced = [1, 1, 2, 2, 2, 2, 1, 1];
        let all = [1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3];
        assert_eq!(disk.moments(), 6);
        assert_eq!(disk.cut(0, KEEP_ALL).image, [1; 8]);
        assert_eq!(disk.cut(1, LOSE_ALL).image, [1; 8]);
        assert_eq!(disk.cut(2, LOSE_ALL).image, synced);
        assert_eq!((disk.cut(2, LOSE_ALL).committed, disk.cut(3, LOSE_ALL).committed), (0, 1));
        assert_eq!((disk.cut(2, LOSE_ALL).journal, disk.cut(3, LOSE_ALL).journal), (0..=0, 0..=4));
        assert_eq!(disk.cut(5, KEEP_ALL).image, all);
        assert_eq!(disk.cut(5, LOSE_ALL).image, synced);
        let torn = (0..100).map(|seed| disk.cut(5, Weather { grain: 1, kept: 4, seed }).image);
        assert!(torn.into_iter().any(|image| image != synced && image != all));
        let mut seen = [0; 12];
        StorageBackend::read(&disk, 0, &mut seen).unwrap();
        assert_eq!(seen, all);
    }
}
