//! What is remembered of an output: what was written, and what its command has been told. `outputs --status` reads it.
//!
//! It is a convenience and no authority: without it files are written once more and the command is run once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::outputs::config::{OutputFormat, OutputsConfig};
use crate::agent::outputs::files::set::ListNumbers;
use crate::domain::sha256::sha256;
use crate::durable;

/// The usual place for root, and for the unit with a user of its own.
pub(crate) const STATE_DIRECTORY: &str = "/var/lib/muster-agent-outputs";
/// Larger than a record with as many denied serials as are taken in.
const LENGTH_MAX: u64 = 64 * 1024 * 1024;

/// What is known of one output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutputRecord {
    pub dir: PathBuf,
    pub format: OutputFormat,
    /// The set that was written last, and what it was made from.
    pub set: Option<String>,
    pub visible: Vec<String>,
    pub written_at: Option<Timestamp>,
    pub identity_digest: String,
    pub lists_digest: String,
    pub settings_digest: String,
    pub spiffe_id: Option<String>,
    pub serial: Option<String>,
    pub not_after: Option<Timestamp>,
    /// When the first of its lists runs out.
    pub lists_until: Option<Timestamp>,
    pub numbers: ListNumbers,
    /// The numbers that owner and group were last found to have, by their names.
    pub users: BTreeMap<String, u32>,
    pub groups: BTreeMap<String, u32>,
    /// Why it is not as it should be.
    pub trouble: Option<Trouble>,
    /// Why lists are older than they should be.
    pub lists_trouble: Option<Trouble>,
    pub on_change: RunRecord,
}

/// What became of the command of an output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunRecord {
    pub last_run_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub failure: Option<Trouble>,
    pub failures: u32,
    /// What the last success was about.
    pub told_identity: String,
    pub told_lists: String,
    /// The denied serials that it knew of.
    pub told_denied: BTreeSet<String>,
}

/// What is wrong, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub since: Timestamp,
    pub what: String,
}

/// Where records are; nowhere, where nobody has said where and the user has no home.
#[derive(Debug, Clone)]
pub(crate) struct Records(Option<PathBuf>);

impl Records {
    /// `state_dir` of the settings, else what the service manager says, else the usual place.
    pub(crate) fn of(config: &OutputsConfig) -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let given = config.state_dir.clone().or_else(|| var("STATE_DIRECTORY"));
        let usual = || {
            if rustix::process::geteuid().is_root() {
                return Some(PathBuf::from(STATE_DIRECTORY));
            }
            let state = var("XDG_STATE_HOME").or_else(|| var("HOME").map(|home| home.join(".local/state")));
            Some(state?.join("muster-agent-outputs"))
        };
        Self(given.or_else(usual))
    }

    #[cfg(test)]
    pub(crate) fn at(place: &Path) -> Self {
        Self(Some(place.to_owned()))
    }

    /// The place, if it is fit: what stands there decides what commands are told, so nobody else may write there. Root looks
    /// at that of the user whose files they are.
    pub(crate) fn place(&self) -> io::Result<&Path> {
        let place = self.0.as_deref().ok_or_else(|| {
            io::Error::other("there is no place for it: set state_dir in the settings, or HOME")
        })?;
        let (found, ours) = (fs::symlink_metadata(place)?, rustix::process::geteuid());
        if !found.is_dir() || (found.uid() != ours.as_raw() && !ours.is_root()) || found.mode() & 0o022 != 0 {
            let what = format!("{} is no directory of this user's alone; move it away", place.display());
            return Err(io::Error::other(what));
        }
        Ok(place)
    }

    /// Makes their place, for their owner alone.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        if let Some(place) = &self.0 {
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            durable::private_directory(place)?;
        }
        self.place().map(|_| ())
    }

    /// What is known of the output in a directory; nothing, where nothing can be read.
    pub(crate) fn read(&self, dir: &Path) -> OutputRecord {
        let path = self.file(dir).ok();
        let short = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() <= LENGTH_MAX);
        let text = path.filter(short).and_then(|path| fs::read(path).ok()).unwrap_or_default();
        let record: OutputRecord = serde_json::from_slice(&text).unwrap_or_default();
        if record.dir == dir {
            record
        } else {
            OutputRecord { dir: dir.to_owned(), ..OutputRecord::default() }
        }
    }

    pub(crate) fn write(&self, record: &OutputRecord) -> io::Result<()> {
        let mut text = serde_json::to_vec(record)?;
        text.push(b'\n');
        durable::replace(&self.file(&record.dir)?, durable::OWNER_ONLY, &text)
    }

    fn file(&self, dir: &Path) -> io::Result<PathBuf> {
        let name = sha256(&[dir.as_os_str().as_encoded_bytes()]);
        let name = data_encoding::HEXLOWER.encode(name.get(..16).unwrap_or_default());
        Ok(self.place()?.join(format!("{name}.json")))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_place_where_others_write_is_no_place() {
        let room = tempfile::tempdir().unwrap();
        let place = room.path().join("state");
        let records = Records::at(&place);
        records.prepare().unwrap();
        let record =
            OutputRecord { dir: "/etc/a".into(), set: Some("s".to_owned()), ..OutputRecord::default() };
        records.write(&record).unwrap();
        assert_eq!(records.read(&record.dir), record);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(records.prepare().is_err() && records.write(&record).is_err());
        assert_eq!(records.read(&record.dir).set, None);
        fs::set_permissions(&place, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&place, room.path().join("link")).unwrap();
        assert!(Records::at(&room.path().join("link")).prepare().is_err());
        assert!(Records(None).prepare().unwrap_err().to_string().contains("state_dir"));
    }
}
