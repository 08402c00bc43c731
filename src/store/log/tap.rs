//! The tap on the change log: frames that replicas have not taken yet, in memory, in a bounded amount. Whoever falls further
//! behind goes on from a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::frame::{Found, Frame, FrameDigest, octets_with};
use super::position::LogPosition;

/// Octets of frames that may wait for replicas, all together.
#[cfg(not(test))]
const WAITING_MAX: usize = 64 << 20;
#[cfg(test)]
const WAITING_MAX: usize = 64 << 10;

/// A frame as it was written, for replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedFrame {
    /// Its number in the log.
    pub number: u64,
    /// The digest of the one before.
    pub previous: FrameDigest,
    /// Its own.
    pub digest: FrameDigest,
    /// When it was written.
    pub at: Timestamp,
    /// Head and body, without padding.
    pub octets: Vec<u8>,
}

impl TappedFrame {
    /// Reads one back, if it is whole and nothing follows it.
    pub fn read(octets: &[u8]) -> Option<Self> {
        let found = Frame::decode(octets)?;
        (octets_with(found.body.len()) == octets.len()).then(|| Self::found(&found, octets))
    }

    /// `octets` begin with it.
    pub(crate) fn found(found: &Found<'_>, octets: &[u8]) -> Self {
        let whole = octets.get(..octets_with(found.body.len())).unwrap_or(octets);
        let (frame, digest) = (found.frame, found.digest);
        Self { number: frame.number, previous: frame.previous, digest, at: frame.at, octets: whole.to_vec() }
    }
}

/// A place in the log: a frame's number and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace {
    /// Of the last frame before it.
    pub number: u64,
    /// The same frame's.
    pub digest: FrameDigest,
}

impl From<LogPosition> for FramePlace {
    fn from(position: LogPosition) -> Self {
        Self { number: position.number, digest: position.digest }
    }
}

/// What can be said of a place of which somebody says that it is in this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownPlace {
    /// It is, and everything after it can be had.
    GoesOn(Unbroken),
    /// It is none of this log's.
    Foreign,
    /// It is too old to tell.
    TooOld,
}

/// Between two of these, frames or changes without one may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbroken(u64);

/// What the writer puts frames into, and replicas take them from.
#[derive(Debug)]
pub struct FrameTap {
    held: Mutex<Held>,
    head: watch::Sender<u64>,
    /// Somebody waits for what is there now.
    hurry: watch::Sender<()>,
}

#[derive(Debug)]
struct Held {
    frames: VecDeque<Arc<TappedFrame>>,
    octets: usize,
    head: FramePlace,
    unbroken: u64,
    /// Whether the store holds changes at its head that are in no frame.
    unlogged: bool,
    /// How far each follower has come; empty: nobody wants any frames.
    followers: Vec<u64>,
}

impl Default for FrameTap {
    fn default() -> Self {
        let held = Held {
            frames: VecDeque::new(),
            octets: 0,
            head: LogPosition::NONE.into(),
            unbroken: 0,
            unlogged: false,
            followers: Vec::new(),
        };
        Self { held: Mutex::new(held), head: watch::Sender::new(0), hurry: watch::Sender::default() }
    }
}

impl FrameTap {
    /// At an opening. `unlogged`: the store was changed without a frame.
    pub(crate) fn begin(&self, head: LogPosition, found: Vec<TappedFrame>, unlogged: bool) {
        let mut held = self.held.lock();
        held.frames = found.into_iter().map(Arc::new).collect();
        held.octets = held.frames.iter().map(|frame| frame.octets.len()).sum();
        held.head = head.into();
        held.unbroken += 1;
        held.unlogged = unlogged;
        held.bound();
        drop(held);
        self.head.send_replace(head.number);
    }

    /// A frame is on disk.
    pub(crate) fn push(&self, frame: TappedFrame) {
        let number = frame.number;
        let mut held = self.held.lock();
        held.head = FramePlace { number, digest: frame.digest };
        if !held.followers.is_empty() {
            held.octets += frame.octets.len();
            held.frames.push_back(Arc::new(frame));
            held.drop_taken();
            held.bound();
        }
        drop(held);
        self.head.send_replace(number);
    }

    /// How far the log has come.
    pub fn head(&self) -> FramePlace {
        self.held.lock().head
    }

    /// Changes with each frame.
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// Frames are to go out at once, because somebody waits for them.
    pub fn hurry(&self) {
        self.hurry.send_replace(());
    }

    /// Changes when somebody waits.
    pub fn hurries(&self) -> watch::Receiver<()> {
        self.hurry.subscribe()
    }

    /// Frames are kept from now on for so many followers, until each says that it has them.
    pub fn follow(&self, followers: usize) {
        let mut held = self.held.lock();
        held.followers = vec![0; followers];
        if followers == 0 {
            held.frames.clear();
            held.octets = 0;
        }
    }

    /// What can be said of where a replica ends.
    pub fn knows(&self, place: FramePlace) -> KnownPlace {
        let held = self.held.lock();
        let goes_on =
            if held.unlogged { KnownPlace::TooOld } else { KnownPlace::GoesOn(Unbroken(held.unbroken)) };
        if place.number >= held.head.number {
            return if place == held.head { goes_on } else { KnownPlace::Foreign };
        }
        match held.frames.iter().find(|frame| frame.number == place.number + 1) {
            Some(next) if next.previous == place.digest => goes_on,
            Some(_) => KnownPlace::Foreign,
            None => KnownPlace::TooOld,
        }
    }

    /// For whoever takes a snapshot next, and goes on from there.
    pub fn unbroken(&self) -> Unbroken {
        Unbroken(self.held.lock().unbroken)
    }

    /// The frames after one, at most about so many octets; `None`: some are gone.
    pub fn after(&self, number: u64, since: Unbroken, octets: usize) -> Option<Vec<Arc<TappedFrame>>> {
        let held = self.held.lock();
        if since.0 != held.unbroken {
            return None;
        }
        if number >= held.head.number {
            return Some(Vec::new());
        }
        let first = held.frames.front()?.number;
        let skipped = usize::try_from((number + 1).checked_sub(first)?).ok()?;
        let mut taken = 0;
        let wanted = held.frames.iter().skip(skipped).take_while(|frame| {
            let fits = taken == 0 || taken + frame.octets.len() <= octets;
            taken += frame.octets.len();
            fits
        });
        Some(wanted.cloned().collect())
    }

    /// How many frames after one there are.
    pub fn count_after(&self, number: u64) -> u64 {
        self.held.lock().head.number.saturating_sub(number)
    }

    /// A follower has everything up to this one.
    pub fn taken(&self, follower: usize, number: u64) {
        let mut held = self.held.lock();
        if let Some(reached) = held.followers.get_mut(follower) {
            *reached = number;
        }
        held.drop_taken();
    }
}

impl Held {
    fn drop_taken(&mut self) {
        let all = self.followers.iter().copied().min().unwrap_or(u64::MAX);
        while let Some(frame) = self.frames.pop_front_if(|frame| frame.number <= all) {
            self.octets -= frame.octets.len();
        }
    }

    fn bound(&mut self) {
        while self.octets > WAITING_MAX
            && let Some(oldest) = self.frames.pop_front()
        {
            self.octets -= oldest.octets.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> FrameDigest {
        FrameDigest([u8::try_from(number % 251).unwrap(); 32])
    }

    fn frame(number: u64, octets: usize) -> TappedFrame {
        let (previous, digest) = (digest(number - 1), digest(number));
        TappedFrame { number, previous, digest, at: Timestamp::UNIX_EPOCH, octets: vec![1; octets] }
    }

    fn place(number: u64) -> FramePlace {
        FramePlace { number, digest: digest(number) }
    }

    fn at(number: u64) -> LogPosition {
        LogPosition { number, digest: digest(number), ..LogPosition::NONE }
    }

    #[test]
    fn whoever_falls_too_far_behind_is_told_and_nobody_misses_a_frame() {
        let tap = FrameTap::default();
        tap.begin(at(10), vec![frame(9, 10), frame(10, 10)], false);
        tap.follow(2);
        let KnownPlace::GoesOn(since) = tap.knows(place(8)) else { panic!("it is known") };
        assert_eq!(tap.knows(place(10)), KnownPlace::GoesOn(since));
        assert_eq!(tap.knows(place(7)), KnownPlace::TooOld);
        assert_eq!(tap.knows(place(11)), KnownPlace::Foreign);
        assert_eq!(tap.knows(FramePlace { digest: digest(3), ..place(9) }), KnownPlace::Foreign);
        (11..=20).for_each(|number| tap.push(frame(number, 10)));
        let numbers = |after| {
            let frames = tap.after(after, since, 55)?;
            Some(frames.iter().map(|frame| frame.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(8), Some(vec![9, 10, 11, 12, 13]));
        assert_eq!(numbers(18), Some(vec![19, 20]));
        assert_eq!(numbers(20), Some(vec![]));
        // The slower one decides what is kept.
        tap.taken(0, 20);
        assert_eq!(numbers(8), Some(vec![9, 10, 11, 12, 13]));
        tap.taken(1, 15);
        assert_eq!((numbers(8), numbers(15)), (None, Some(vec![16, 17, 18, 19, 20])));
        (21..=60).for_each(|number| tap.push(frame(number, 4 << 10)));
        assert_eq!(numbers(20), None, "more than is kept");
        tap.begin(at(60), Vec::new(), true);
        assert_eq!(tap.after(60, since, 55), None, "the store was opened anew");
        assert_eq!(tap.knows(place(60)), KnownPlace::TooOld, "a change is in no frame");
        assert_eq!(tap.after(60, tap.unbroken(), 55), Some(Vec::new()));
    }
}
