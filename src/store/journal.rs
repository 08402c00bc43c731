//! The revocation journal: an append-only file beside the database, which outlives it.
//!
//! Whoever puts an older copy of the database in place, by a restore or by hand, would bring revoked agents
//! back. So every step of the deny list is also a line of this file: JSON, beginning with eight octets of
//! SHA-256 over the rest of the line. At every opening the two are compared, and what one lacks it learns from
//! the other. Only the last line may be damaged, because only that can be the work of a crash.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::ReadError;
use super::view::View;
use crate::domain::deny::{Denial, Identity};
use crate::domain::enrollment::{RevocationReason, past_not_after};
use crate::domain::ids::TenantId;
use crate::domain::serial::Serial;
use crate::domain::spiffe::AgentId;

/// No line of ours comes near this many octets.
const LINE_MAX: u64 = 4096;

/// How long after a certificate's expiry its revocation can still matter: longer than any grace for late
/// rotations.
const MATTERS_FOR: SignedDuration = SignedDuration::from_hours(100 * 24);

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("cannot use the revocation journal {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "the revocation journal {} is damaged at line {line}; move it away if the store beside it is the newest \
         one, and it is written anew",
        path.display()
    )]
    Damaged { path: PathBuf, line: u64 },
    #[error("{} is not a regular file, so it cannot be the revocation journal", .0.display())]
    NotAFile(PathBuf),
    #[error("cannot compare the revocation journal with the store")]
    Read(#[from] ReadError),
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Serial { serial: Serial, not_after: Timestamp, since: Timestamp, reason: RevocationReason },
    Identity { tenant: TenantId, agent: AgentId, since: Timestamp },
    Lifted { tenant: TenantId, agent: AgentId, at: Timestamp },
}

impl From<&Denial> for Entry {
    fn from(denial: &Denial) -> Self {
        match denial.clone() {
            Denial::Serial { serial, not_after, since, reason } => {
                Self::Serial { serial, not_after, since, reason }
            }
            Denial::Identity { identity: Identity { tenant, agent }, since } => {
                Self::Identity { tenant, agent, since }
            }
            Denial::Lifted { identity: Identity { tenant, agent }, at } => Self::Lifted { tenant, agent, at },
        }
    }
}

impl From<Entry> for Denial {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Serial { serial, not_after, since, reason } => {
                Self::Serial { serial, not_after, since, reason }
            }
            Entry::Identity { tenant, agent, since } => {
                Self::Identity { identity: Identity { tenant, agent }, since }
            }
            Entry::Lifted { tenant, agent, at } => Self::Lifted { identity: Identity { tenant, agent }, at },
        }
    }
}

impl Journal {
    /// Opens the journal, creating it if there is none, and writes into it what only the database knows.
    /// Returns with it what only the journal knows and is still of use.
    pub(super) fn open(
        path: &Path,
        view: &View<'_>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Denial>), JournalError> {
        let io = |source| JournalError::Io { path: path.to_owned(), source };
        let (file, created) = open_file(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(JournalError::NotAFile(path.to_owned()));
        }
        let mut comparison = Comparison::begin(view, now)?;
        if let Some(whole) = read(path, &file, |denial| comparison.journal_says(denial))? {
            tracing::warn!(
                journal = %path.display(),
                "the last line of the revocation journal was not written to its end; it is cut off"
            );
            file.set_len(whole).and_then(|()| file.sync_data()).map_err(io)?;
        }
        let (unwritten, unknown) = comparison.end();
        let mut journal = Self { path: path.to_owned(), file };
        if created && !unwritten.is_empty() {
            tracing::warn!(
                journal = %path.display(),
                "THE REVOCATION JOURNAL WAS MISSING; it is written anew from the store. If the store is an older \
                 copy, revocations since then are lost"
            );
        }
        journal.append(&unwritten)?;
        Ok((journal, unknown))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines, on disk when this returns.
    pub(super) fn append(&mut self, denials: &[Denial]) -> Result<(), JournalError> {
        if denials.is_empty() {
            return Ok(());
        }
        let lines: String = denials.iter().map(line_of).collect();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| JournalError::Io { path: self.path.clone(), source })
    }
}

/// What a journal knows that the database does not, without touching the journal; `None` when there is none.
pub(super) fn unknown_to(
    view: &View<'_>,
    path: &Path,
    now: Timestamp,
) -> Result<Option<Vec<Denial>>, JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).custom_flags(FLAGS.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !file.metadata().map_err(io)?.is_file() {
        return Err(JournalError::NotAFile(path.to_owned()));
    }
    let mut comparison = Comparison::begin(view, now)?;
    read(path, &file, |denial| comparison.journal_says(denial))?;
    let (_, unknown) = comparison.end();
    Ok(Some(unknown))
}

/// Reads every line. When a crash has left the last one half-written, says how many octets before it are whole.
fn read(
    path: &Path,
    file: &File,
    mut visit: impl FnMut(Denial) -> Result<(), ReadError>,
) -> Result<Option<u64>, JournalError> {
    let io = |source| JournalError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let (mut number, mut offset) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(io)?;
        if length == 0 {
            return Ok(None);
        }
        number += 1;
        if let Some(denial) = denial_of(&line) {
            visit(denial)?;
            offset += length as u64;
        } else if reader.fill_buf().map_err(io)?.is_empty() {
            return Ok(Some(offset));
        } else {
            return Err(JournalError::Damaged { path: path.to_owned(), line: number });
        }
    }
}

/// Links are not followed, and a FIFO does not hold us up.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Opens or creates the file, for its owner alone; whether it was created.
fn open_file(path: &Path) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600).custom_flags(FLAGS.bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok((file, false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
            Ok((file, true))
        }
        Err(error) => Err(error),
    }
}

/// What the database and the journal know, side by side.
struct Comparison<'v, 'r> {
    view: &'v View<'r>,
    now: Timestamp,
    /// What the database denies and the journal has not mentioned yet.
    unwritten_serials: BTreeMap<Serial, Denial>,
    denied_identities: BTreeMap<Identity, Timestamp>,
    /// What the journal denies in the end.
    journal_identities: BTreeMap<Identity, Timestamp>,
    unknown_serials: Vec<Denial>,
    seen: HashSet<Serial>,
}

impl<'v, 'r> Comparison<'v, 'r> {
    fn begin(view: &'v View<'r>, now: Timestamp) -> Result<Self, ReadError> {
        let mut this = Self {
            view,
            now,
            unwritten_serials: BTreeMap::new(),
            denied_identities: BTreeMap::new(),
            journal_identities: BTreeMap::new(),
            unknown_serials: Vec::new(),
            seen: HashSet::new(),
        };
        view.denials(|denial| match denial {
            Denial::Serial { serial, .. } => {
                this.unwritten_serials.insert(serial, denial);
            }
            Denial::Identity { identity, since } => {
                this.denied_identities.insert(identity, since);
            }
            Denial::Lifted { .. } => {}
        })?;
        Ok(this)
    }

    fn journal_says(&mut self, denial: Denial) -> Result<(), ReadError> {
        match denial {
            Denial::Serial { serial, not_after, .. } => {
                if self.unwritten_serials.remove(&serial).is_none()
                    && self.lacks(serial, not_after)?
                    && self.seen.insert(serial)
                {
                    self.unknown_serials.push(denial);
                }
            }
            Denial::Identity { identity, since } => {
                self.journal_identities.insert(identity, since);
            }
            Denial::Lifted { identity, .. } => {
                self.journal_identities.remove(&identity);
            }
        }
        Ok(())
    }

    /// Whether the database does not know of a revocation that can still matter. What it has forgotten after
    /// the certificate's expiry, it still knows from the enrollment.
    fn lacks(&self, serial: Serial, not_after: Timestamp) -> Result<bool, ReadError> {
        if past_not_after(not_after, self.now - MATTERS_FOR) || self.view.serial_denied(serial)? {
            return Ok(false);
        }
        Ok(match self.view.enrollment(serial)? {
            Some(enrollment) => enrollment.revocation.is_none(),
            None => !past_not_after(not_after, self.now),
        })
    }

    /// What the journal lacks, and what the database lacks.
    fn end(self) -> (Vec<Denial>, Vec<Denial>) {
        let absent_from = |from: &BTreeMap<Identity, Timestamp>, of: &BTreeMap<Identity, Timestamp>| {
            let absent = of.iter().filter(|(identity, _)| !from.contains_key(identity));
            let denial = |(identity, since): (&Identity, &Timestamp)| Denial::Identity {
                identity: identity.clone(),
                since: *since,
            };
            absent.map(denial).collect::<Vec<_>>()
        };
        let mut unwritten: Vec<_> = self.unwritten_serials.into_values().collect();
        unwritten.extend(absent_from(&self.journal_identities, &self.denied_identities));
        let mut unknown = self.unknown_serials;
        unknown.extend(absent_from(&self.denied_identities, &self.journal_identities));
        (unwritten, unknown)
    }
}

/// Octets of the checksum, twice as many as hex.
const SUM: usize = 8;
const SUM_BEGINS: &str = "{\"sum\":\"";
const SUM_ENDS: &str = "\",";

fn sum(rest: &str) -> String {
    let whole = digest::digest(&digest::SHA256, rest.as_bytes());
    HEXLOWER.encode(whole.as_ref().get(..SUM).unwrap_or_default())
}

fn line_of(denial: &Denial) -> String {
    let entry = serde_json::to_string(&Entry::from(denial)).expect("entries are plain data and become JSON");
    // What follows the opening brace, which the checksum comes behind.
    let rest = entry.get(1..).unwrap_or_default();
    format!("{SUM_BEGINS}{}{SUM_ENDS}{rest}\n", sum(rest))
}

fn denial_of(line: &[u8]) -> Option<Denial> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (stated, rest) = line.strip_prefix(SUM_BEGINS)?.split_at_checked(2 * SUM)?;
    let rest = rest.strip_prefix(SUM_ENDS)?;
    if stated != sum(rest) {
        return None;
    }
    serde_json::from_str::<Entry>(&format!("{{{rest}")).ok().map(Denial::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denials() -> Vec<Denial> {
        let identity =
            |agent: &str| Identity { tenant: TenantId::from_bytes([7; 16]), agent: agent.parse().unwrap() };
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let reason = RevocationReason::Revoked;
        vec![
            Denial::Serial { serial: Serial::new(at, [1; 10]), not_after: at, since: at, reason },
            Denial::Identity { identity: identity("a"), since: at },
            Denial::Lifted { identity: identity("b"), at },
        ]
    }

    /// What is read from a journal with these octets in it.
    fn read_from(content: &[u8]) -> (Result<Option<u64>, JournalError>, Vec<Denial>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut found = Vec::new();
        let cut = read(file.path(), &file.reopen().unwrap(), |denial| {
            found.push(denial);
            Ok(())
        });
        (cut, found)
    }

    fn lines() -> Vec<u8> {
        denials().iter().map(line_of).collect::<String>().into_bytes()
    }

    /// Where the last line begins.
    fn last_line(lines: &[u8]) -> usize {
        lines[..lines.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1
    }

    #[test]
    fn lines_are_json_and_read_back() {
        let lines = lines();
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["sum"].is_string() && value["kind"].is_string(), "{line}");
        }
        let (cut, found) = read_from(&lines);
        assert_eq!((cut.unwrap(), found), (None, denials()));
    }

    #[test]
    fn a_torn_last_line_is_told_apart() {
        let whole = lines();
        let last = last_line(&whole);
        for length in last + 1..whole.len() {
            let (cut, found) = read_from(&whole[..length]);
            assert_eq!((cut.unwrap(), &found[..]), (Some(last as u64), &denials()[..2]), "cut at {length}");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused() {
        let whole = lines();
        for at in 0..last_line(&whole) - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x11;
            let (cut, _) = read_from(&damaged);
            assert!(matches!(cut, Err(JournalError::Damaged { .. })), "flipped at {at}");
        }
    }
}
