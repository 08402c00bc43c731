//! What is remembered of an output: what was written, and what its command has been told. `outputs --status` reads it.
//!
//! It is a convenience and no authority: without it files are written once more and the command is run once more.

use std::collections::BTreeSet;
use std::fs;
use std::io;
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

/// Where records are.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

impl Records {
    /// `state_dir` of the settings, else what the service manager says, else the usual place.
    pub(crate) fn of(config: &OutputsConfig) -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let given = config.state_dir.clone().or_else(|| var("STATE_DIRECTORY"));
        let usual = || {
            if rustix::process::geteuid().is_root() {
                return PathBuf::from(STATE_DIRECTORY);
            }
            let state = var("XDG_STATE_HOME").or_else(|| var("HOME").map(|home| home.join(".local/state")));
            state.unwrap_or_else(|| PathBuf::from("/tmp")).join("muster-agent-outputs")
        };
        Self(given.unwrap_or_else(usual))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes their place, for their owner alone.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        if let Some(parent) = self.0.parent() {
            fs::create_dir_all(parent)?;
        }
        durable::private_directory(&self.0)
    }

    /// What is known of the output in a directory; nothing, where nothing can be read.
    pub(crate) fn read(&self, dir: &Path) -> OutputRecord {
        let path = self.file(dir);
        let short = fs::metadata(&path).is_ok_and(|found| found.len() <= LENGTH_MAX);
        let text = if short { fs::read(path).unwrap_or_default() } else { Vec::new() };
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
        durable::replace(&self.file(&record.dir), durable::OWNER_ONLY, &text)
    }

    fn file(&self, dir: &Path) -> PathBuf {
        let name = sha256(&[dir.as_os_str().as_encoded_bytes()]);
        let name = data_encoding::HEXLOWER.encode(name.get(..16).unwrap_or_default());
        self.0.join(format!("{name}.json"))
    }
}
