//! Restoring from a replica: the newest snapshot before a moment, and the frames of the change log after it.
//!
//! Where it is to be a moment of before, the store is also put together as it was at the end of the replica, beside its place, and
//! everything that this one denies and withdrew is written into a journal. With that the restore goes on as it would with the
//! journal of a server that was lost later.

use std::io::{self, BufReader};
use std::path::Path;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::{RestoreError, RestoreWishes, Restored, Unpacked, begins};
use crate::app::access::caller::Caller;
use crate::app::keep::backup::contents::BesideTheStore;
use crate::ca::envelope::Envelope;
use crate::ca::seal::Unauthenticated;
use crate::ca::server::KeptServerFiles;
use crate::replica::hashed::Hashed;
use crate::replica::history::{HistoryError, OpenedSegment, ReplicaHistory};
use crate::replica::segment::{NamedFile, SegmentEntry};
use crate::store::{FramePlace, JOURNAL_NAME, Restoring, SnapshotReadError, TappedFrame};

/// Where a store comes from.
#[derive(Debug)]
pub struct ReplicaSource {
    /// What is read.
    pub history: ReplicaHistory,
    /// Who reads it.
    pub runtime: Handle,
    /// As of when; `None`: as it was last.
    pub at: Option<Timestamp>,
}

/// A store put together from a replica.
struct Rebuilt {
    restoring: Restoring,
    beside: BesideTheStore,
    /// The newest frame in it.
    last: Timestamp,
}

/// Restores from a replica into a data directory without a store. Blocking and long.
pub fn restore_from(
    data_dir: &Path,
    source: &ReplicaSource,
    envelope: &Envelope,
    wishes: &RestoreWishes,
    caller: &Caller,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    begins(data_dir, wishes, now)?;
    let Rebuilt { restoring, mut beside, last } = source.rebuild(data_dir, envelope, source.at)?;
    let restoring = restoring.migrated()?;
    let mut end = last;
    let mut journal = data_dir.join(JOURNAL_NAME);
    // It is there until the end, and goes away by itself.
    let mut scratch = None;
    if source.at.is_some() {
        drop_abandoned(data_dir).map_err(RestoreError::Scratch)?;
        let made = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(data_dir);
        let scratch = scratch.insert(made.map_err(RestoreError::Scratch)?);
        let lost = std::mem::replace(&mut journal, scratch.path().join(JOURNAL_NAME));
        // The lost server's own may know of the last second.
        match std::fs::copy(lost, &journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(RestoreError::Scratch(error));
            }
            _ => {}
        }
        let later = source.rebuild(scratch.path(), envelope, None)?;
        end = later.last;
        later.restoring.migrated()?.write_journal(&journal, now)?;
        // Agents trust what the server had last.
        beside = later.beside;
    }
    let unpacked = Unpacked { restoring, beside, authenticated: true, journal, replica: Some(end) };
    unpacked.put_in_place(data_dir, wishes, caller, now)
}

/// How the names of directories begin in which a store is put together that is not to stay.
const SCRATCH: &str = ".muster.restoring.";

/// Removes what a restore has left that was cut off.
fn drop_abandoned(data_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(SCRATCH.as_bytes()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// What is read while it is replayed.
struct Replaying {
    restoring: Restoring,
    reached: FramePlace,
    last: Timestamp,
    /// Whether everything that is wanted is there.
    done: bool,
    files: Option<Vec<NamedFile>>,
}

impl ReplicaSource {
    fn rebuild(
        &self,
        directory: &Path,
        envelope: &Envelope,
        at: Option<Timestamp>,
    ) -> Result<Rebuilt, RestoreError> {
        let (history, runtime) = (&self.history, &self.runtime);
        let (term, name, entry) = runtime.block_on(history.base(at))?;
        let changed = || HistoryError::Snapshot(name.name.clone());
        let reader = runtime.block_on(history.place().reader(&name.name)).map_err(HistoryError::from)?;
        let reader = reader.ok_or_else(changed)?;
        let mut hashed = Hashed::new(reader);
        let mut beside = BesideTheStore::default();
        let unpacked = {
            let opened = envelope.opening(BufReader::new(&mut hashed), Unauthenticated::Refuse);
            let mut opening = opened?;
            Restoring::unpack(directory, &mut opening, &mut |name, piece| beside.take(name, piece))
        };
        let mut restoring = unpacked?;
        io::copy(&mut hashed, &mut io::sink()).map_err(SnapshotReadError::Backup)?;
        if hashed.finish() != entry.sha256 {
            return Err(changed().into());
        }
        restoring.created_at = entry.at;
        let mut replaying =
            Replaying { restoring, reached: entry.place, last: entry.at, done: false, files: None };
        let last = runtime.block_on(history.last(term))?.unwrap_or(name.after);
        runtime.block_on(history.walk(term, (name.after + 1, last), |segment| {
            replaying.take(segment, at)?;
            Ok::<_, RestoreError>(true)
        }))?;
        let Replaying { mut restoring, last, files, .. } = replaying;
        restoring.created_at = last;
        if let Some(files) = files {
            let mut server = KeptServerFiles::default();
            for (name, content) in &files {
                server.take(name, content).map_err(SnapshotReadError::Backup)?;
            }
            beside.replace_server(server);
        }
        Ok(Rebuilt { restoring, beside, last })
    }
}

impl Replaying {
    fn take(&mut self, segment: OpenedSegment, at: Option<Timestamp>) -> Result<(), RestoreError> {
        let mut frames: Vec<TappedFrame> = Vec::new();
        let place = segment.at;
        for entry in segment.entries {
            match entry {
                SegmentEntry::Files { files, .. } => self.files = Some(files),
                // What comes after it lacks what is between.
                SegmentEntry::Snapshot(snapshot) if snapshot.begins_anew => {
                    self.done |=
                        snapshot.place != self.reached && snapshot.place.number > self.reached.number;
                }
                SegmentEntry::Snapshot(_) => {}
                SegmentEntry::Frame(frame) if self.done || frame.number <= self.reached.number => {}
                SegmentEntry::Frame(frame) if at.is_some_and(|at| frame.at > at) => self.done = true,
                SegmentEntry::Frame(frame) => {
                    let follows = frame.number == self.reached.number + 1;
                    if !follows || frame.previous != self.reached.digest {
                        let (term, segment) = (place.term, place.number);
                        return Err(HistoryError::Frame { number: frame.number, term, segment }.into());
                    }
                    self.reached = FramePlace { number: frame.number, digest: frame.digest };
                    self.last = self.last.max(frame.at);
                    frames.push(frame);
                }
            }
        }
        Ok(self.restoring.replay(frames.iter())?)
    }
}
