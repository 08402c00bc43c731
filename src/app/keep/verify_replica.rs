//! Verifying a replica: that all of it reads, that nothing is missing and nothing was changed, and what can be restored.

use std::collections::BTreeMap;
use std::io::{self, BufReader};
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::keep::backup::contents::BesideTheStore;
use crate::ca::envelope::Envelope;
use crate::ca::seal::Unauthenticated;
use crate::domain::withdrawal::StoreId;
use crate::error_chain::chain;
use crate::replica::hashed::Hashed;
use crate::replica::history::{HistoryError, ReplicaHistory};
use crate::replica::segment::{SegmentEntry, SnapshotEntry};
use crate::store;
use crate::store::FramePlace;

/// Why a replica is not as it was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyReplicaError {
    /// Something is missing, was changed, or can't be read.
    #[error(transparent)]
    ReplicaHistory(#[from] HistoryError),
    /// A snapshot does not read.
    #[error("the snapshot {name} can't be used: {why}")]
    Snapshot {
        /// Which.
        name: String,
        /// What is wrong with it, as a clause.
        why: String,
    },
    /// It panicked, or the process ends.
    #[error("the verification was not finished")]
    Failed,
}

/// A replica of which all can be read.
#[derive(Debug)]
pub struct VerifiedReplica {
    /// Whose it is.
    pub store: StoreId,
    /// Those that it has.
    pub terms: Vec<u64>,
    /// Segments that follow each other.
    pub segments: u64,
    /// Changes in them.
    pub frames: u64,
    /// Snapshots that are whole.
    pub snapshots: u64,
    /// The first moment that can be restored.
    pub from: Option<Timestamp>,
    /// The last.
    pub until: Option<Timestamp>,
    /// Times of which nothing can be restored.
    pub gaps: Vec<(Timestamp, Timestamp)>,
}

/// Reads all of a replica. Long.
pub async fn verify_replica(
    history: &ReplicaHistory,
    envelope: &Arc<Envelope>,
) -> Result<VerifiedReplica, VerifyReplicaError> {
    let mut verified = VerifiedReplica {
        store: history.store(),
        terms: history.terms().await?,
        segments: 0,
        frames: 0,
        snapshots: 0,
        from: None,
        until: None,
        gaps: Vec::new(),
    };
    for term in verified.terms.clone() {
        let (Some(first), Some(last)) = (history.first(term).await?, history.last(term).await?) else {
            continue;
        };
        let mut named: BTreeMap<String, SnapshotEntry> = BTreeMap::new();
        let mut reached: Option<FramePlace> = None;
        let found = &mut verified;
        history
            .walk::<HistoryError>(term, (first, last), |segment| {
                found.segments += 1;
                let number = segment.at.number;
                for entry in segment.entries {
                    match entry {
                        SegmentEntry::Files { .. } => {}
                        SegmentEntry::Snapshot(snapshot) => {
                            if snapshot.begins_anew {
                                if let (Some(until), Some(_)) = (found.until, reached) {
                                    found.gaps.push((until, snapshot.at));
                                }
                                reached = Some(snapshot.place);
                                found.until = found.until.max(Some(snapshot.at));
                            }
                            named.insert(snapshot.name.clone(), snapshot);
                        }
                        SegmentEntry::Frame(frame) => {
                            let follows = reached.is_none_or(|place| {
                                place.number + 1 == frame.number && place.digest == frame.previous
                            });
                            if !follows {
                                return Err(HistoryError::Frame {
                                    number: frame.number,
                                    term,
                                    segment: number,
                                });
                            }
                            reached = Some(FramePlace { number: frame.number, digest: frame.digest });
                            found.frames += 1;
                            found.until = found.until.max(Some(frame.at));
                        }
                    }
                }
                Ok(true)
            })
            .await?;
        for name in history.snapshots(term).await? {
            // One that no segment names was being written when its server ended.
            let Some(entry) = named.remove(&name.name) else { continue };
            read_snapshot(history, envelope, entry).await?;
            verified.snapshots += 1;
            verified.from = verified.from.map_or(Some(name.at), |from| Some(from.min(name.at)));
        }
        // What is too old is taken away, snapshots first; one of later that is gone was taken by somebody else.
        let missing = named.into_values().find(|entry| verified.from.is_none_or(|from| entry.at > from));
        if let Some(missing) = missing {
            return Err(HistoryError::Snapshot(missing.name).into());
        }
    }
    Ok(verified)
}

async fn read_snapshot(
    history: &ReplicaHistory,
    envelope: &Arc<Envelope>,
    entry: SnapshotEntry,
) -> Result<(), VerifyReplicaError> {
    let reader = history.place().reader(&entry.name).await.map_err(HistoryError::from)?;
    let reader = reader.ok_or_else(|| HistoryError::Snapshot(entry.name.clone()))?;
    let (envelope, name) = (Arc::clone(envelope), entry.name.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let mut hashed = Hashed::new(reader);
        let read = {
            let opening = envelope.opening(BufReader::new(&mut hashed), Unauthenticated::Refuse);
            let mut opening = opening.map_err(|error| chain(&error))?;
            let mut beside = BesideTheStore::default();
            store::backup::inspect(&mut opening, &mut |name, piece| match name {
                store::JOURNAL_NAME => Ok(true),
                _ => beside.take(name, piece),
            })
        };
        read.map_err(|error| chain(&error))?;
        io::copy(&mut hashed, &mut io::sink()).map_err(|error| error.to_string())?;
        Ok::<_, String>(hashed.finish())
    });
    let read = reading.await.map_err(|_| VerifyReplicaError::Failed)?;
    let digest = read.map_err(|why| VerifyReplicaError::Snapshot { name: name.clone(), why })?;
    if digest != entry.sha256 {
        return Err(HistoryError::Snapshot(name).into());
    }
    Ok(())
}
