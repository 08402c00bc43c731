//! Where the test's store lies: a directory of its own, which is gone with it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::cli::output::error::CliError;
use crate::clock;
use crate::store;

/// How its name begins.
const PREFIX: &str = "muster-selftest-";
/// How often the disk is asked how long a write takes to be there for good, and of how much.
const SYNCS: usize = 40;
const SYNC_OCTETS: usize = 4096;
/// What statfs(2) calls a file system that lies in memory.
const TMPFS: u32 = 0x0102_1994;

/// A directory that only its owner may enter.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    within: PathBuf,
}

/// `/tmp` often lies in memory, where there is no disk to measure.
pub(crate) fn usual_directory() -> PathBuf {
    std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

impl Place {
    pub(crate) fn make(within: &Path) -> Result<Self, CliError> {
        let made = std::path::absolute(within)
            .and_then(|within| Ok((tempfile::Builder::new().prefix(PREFIX).tempdir_in(&within)?, within)));
        // What is in the way is the directory that was named, not the one that was to be made in it.
        let (directory, within) = made.map_err(|error| {
            let error = io::Error::from(error.kind());
            CliError::cannot_write(&within.join(PREFIX.trim_end_matches('-')), &error)
        })?;
        Ok(Self { directory, within })
    }

    /// Where it was made.
    pub(crate) fn within(&self) -> &Path {
        &self.within
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("server.log")
    }

    pub(crate) fn lies_in_memory(&self) -> bool {
        rustix::fs::statfs(self.path()).is_ok_and(|found| i128::from(found.f_type) == i128::from(TMPFS))
    }

    /// How long each of some small writes takes until it is there for good.
    pub(crate) fn sync_times(&self) -> io::Result<Vec<Duration>> {
        let path = self.path().join("synced");
        let mut file = File::create(&path)?;
        let times = (0..SYNCS).map(|_| {
            let begun = clock::monotonic();
            file.write_all(&[0; SYNC_OCTETS])?;
            file.sync_data()?;
            Ok(begun.elapsed())
        });
        let times = times.collect();
        fs::remove_file(path)?;
        times
    }

    pub(crate) fn store_octets(&self) -> u64 {
        fs::metadata(self.data_dir().join(store::FILE_NAME)).map_or(0, |file| file.len())
    }

    /// Of the change log, which is there while a server runs.
    pub(crate) fn change_log_octets(&self) -> u64 {
        let segments =
            fs::read_dir(self.data_dir().join(store::CHANGES_NAME)).into_iter().flatten().flatten();
        segments.filter_map(|segment| Some(segment.metadata().ok()?.len())).sum()
    }

    /// Removes everything.
    pub(crate) fn clear(self) -> Result<(), CliError> {
        let path = self.path().to_owned();
        self.directory.close().map_err(|error| {
            CliError::new(format!("{} could not be removed: {error}", path.display()))
                .hint("remove it: nothing needs what is in it")
        })
    }
}
