//! What a server remembers of its replicas, beside its store: which segment it wrote last, so that it knows its own history there
//! from another's.
//!
//! It is written before each segment goes out, and not synced: after a crash of the process it is there, and after one of the
//! machine the change log mostly tells the same. A restore takes it away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::segment::SegmentDigest;
use crate::durable;

/// Its name in the data directory.
pub const FILE_NAME: &str = "replicas.json";

/// Each replica by its address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered(BTreeMap<String, LastWritten>);

/// What was written to one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWritten {
    /// The term in which.
    pub term: u64,
    /// The number of the last segment that is there.
    pub segment: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// The number of the next one, if it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// When the last frame there was written, in milliseconds since 1970.
    pub at_ms: i64,
}

impl LastWritten {
    /// Whether a segment is one that we wrote, or were about to.
    pub fn is_ours(&self, term: u64, number: u64, digest: &SegmentDigest) -> bool {
        let digest = HEXLOWER.encode(digest);
        let last = self.segment == number && self.sha256 == digest;
        let next = self.segment + 1 == number && self.next.as_ref() == Some(&digest);
        self.term == term && (last || next)
    }
}

/// The file of a data directory.
#[derive(Debug, Clone)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// Of this data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self(data_dir.join(FILE_NAME))
    }

    /// What it says of one replica; nothing, where it can't be read.
    pub fn read(&self, replica: &str) -> Option<LastWritten> {
        self.all().0.remove(replica)
    }

    fn all(&self) -> Remembered {
        let read = std::fs::read(&self.0).ok();
        read.and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or_default()
    }

    /// Notes it. Those who write take turns.
    pub fn write(&self, replica: &str, written: LastWritten, synced: bool) -> io::Result<()> {
        static TURN: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
        let _turn = TURN.lock();
        let mut all = self.all();
        all.0.insert(replica.to_owned(), written);
        let octets = serde_json::to_vec(&all).map_err(io::Error::other)?;
        if synced {
            durable::replace(&self.0, durable::OWNER_ONLY, &octets)
        } else {
            durable::replace_unsynced(&self.0, durable::OWNER_ONLY, &octets)
        }
    }

    /// What was written there is another history's from now on.
    pub fn forget(data_dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(data_dir.join(FILE_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}
