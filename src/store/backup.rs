//! A backup: the files that belong beside the store, and every row of every table, from one snapshot, as a stream.
//!
//! The stream is a magic text, a head in JSON, files in pieces, tables with their rows, and an end that counts the rows. It
//! is not protected by itself: it only ever exists inside what seals it. Backups of 0.1.0 hold no files.

mod inspect;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub use inspect::{Inspected, inspect};
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::layers::snapshot::Snapshot;
use super::rows::{Rows, Span, Table};
use super::{JOURNAL_NAME, ReadError};

const MAGIC: &[u8; 16] = b"muster backup 2\n";
/// Of 0.1.0, without files.
const MAGIC_1: &[u8; 16] = b"muster backup 1\n";

const TABLE: u8 = 1;
const ROW: u8 = 2;
const END: u8 = 3;
const FILE: u8 = 4;

/// Octets of a file in one piece.
const PIECE: usize = 64 << 10;

/// More octets than any name, head, key or value of ours has; what says otherwise is no backup.
const SHORT_MAX: u32 = 64 << 10;
const VALUE_MAX: u32 = 64 << 20;

/// Why no backup was made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotWriteError {
    /// A row could not be read: it is damaged, or the store is being opened anew.
    #[error("cannot read what is to be backed up")]
    Read(#[from] ReadError),
    /// What the backup goes into took no more of it.
    #[error("cannot write the backup")]
    Write(#[source] io::Error),
    /// It belongs beside the store and could not be read.
    #[error("cannot read {name}, which belongs into the backup")]
    File {
        /// As the backup calls it.
        name: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

/// A file that a backup holds beside the store.
pub struct BackedUpFile {
    /// What the backup calls it.
    pub name: &'static str,
    /// All of it.
    pub content: Box<dyn Read + Send>,
}

impl std::fmt::Debug for BackedUpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackedUpFile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The revocation journal of a data directory, as far as it is written now; `None` where there is none.
pub fn journal(directory: &Path) -> io::Result<Option<BackedUpFile>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(directory.join(JOURNAL_NAME)) {
        Ok(file) => {
            let length = file.metadata()?.len();
            let content = Box::new(<File as Read>::take(file, length));
            Ok(Some(BackedUpFile { name: JOURNAL_NAME, content }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// Of all tables together, as the end of the backup counts them.
    pub rows: u64,
}

/// What a backup says about itself.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    /// Everything answered before this moment is in it.
    pub(crate) created_at: Timestamp,
    /// The version of the program that made it; one of 0.1.0 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made_by: Option<String>,
}

pub(crate) fn write(
    snapshot: &Snapshot,
    files: Vec<BackedUpFile>,
    now: Timestamp,
    to: &mut dyn Write,
) -> Result<BackedUp, SnapshotWriteError> {
    let head = Head { created_at: now, made_by: Some(env!("CARGO_PKG_VERSION").to_owned()) };
    let head = serde_json::to_vec(&head).map_err(|error| SnapshotWriteError::Write(error.into()))?;
    to.write_all(MAGIC).and_then(|()| write_short(to, &head)).map_err(SnapshotWriteError::Write)?;
    for file in files {
        write_file(file, to)?;
    }
    let mut rows: u64 = 0;
    for &table in Table::ALL {
        let name = table.name().as_bytes();
        to.write_all(&[TABLE]).and_then(|()| write_short(to, name)).map_err(SnapshotWriteError::Write)?;
        let mut failed = None;
        snapshot.scan(table, &Span::all(), &mut |key, content| {
            rows += 1;
            let written = to
                .write_all(&[ROW])
                .and_then(|()| write_short(to, key))
                .and_then(|()| write_short(to, content));
            failed = written.err();
            Ok(if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        if let Some(error) = failed {
            return Err(SnapshotWriteError::Write(error));
        }
    }
    let end = [&[END], rows.to_be_bytes().as_slice()].concat();
    to.write_all(&end).map_err(SnapshotWriteError::Write)?;
    Ok(BackedUp { rows })
}

/// Piece by piece, an empty one last.
fn write_file(
    BackedUpFile { name, mut content }: BackedUpFile,
    to: &mut dyn Write,
) -> Result<(), SnapshotWriteError> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = match content.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(|source| SnapshotWriteError::File { name, source })?,
        };
        let written = to.write_all(&[FILE]).and_then(|()| write_short(to, name.as_bytes()));
        let written = written.and_then(|()| write_short(to, piece.get(..length).unwrap_or_default()));
        written.map_err(SnapshotWriteError::Write)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn write_short(to: &mut dyn Write, octets: &[u8]) -> io::Result<()> {
    let length = u32::try_from(octets.len()).map_err(|_| io::Error::other("a record is too long"))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(octets)
}

/// The next thing in a backup.
#[derive(Debug)]
pub(crate) enum Item {
    Table(String),
    Row {
        key: Vec<u8>,
        content: Vec<u8>,
    },
    /// A piece of a file; an empty one ends it.
    File {
        name: String,
        piece: Vec<u8>,
    },
    End {
        rows: u64,
    },
}

/// Reads the magic text and the head.
pub(crate) fn read_head(from: &mut impl Read) -> io::Result<Head> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    if magic != *MAGIC && magic != *MAGIC_1 {
        return Err(invalid("it is no backup of a muster store, or one of a newer muster"));
    }
    let head = read_counted(from, SHORT_MAX)?;
    serde_json::from_slice(&head).map_err(|_| invalid("its head cannot be understood"))
}

pub(crate) fn read_item(from: &mut impl Read) -> io::Result<Item> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    match kind {
        [TABLE] => {
            let name = String::from_utf8(read_counted(from, SHORT_MAX)?);
            name.map(Item::Table).map_err(|_| invalid("it names a table that makes no sense"))
        }
        [ROW] => {
            let key = read_counted(from, SHORT_MAX)?;
            Ok(Item::Row { key, content: read_counted(from, VALUE_MAX)? })
        }
        [FILE] => {
            let name = String::from_utf8(read_counted(from, SHORT_MAX)?);
            let name = name.map_err(|_| invalid("it names a file that makes no sense"))?;
            Ok(Item::File { name, piece: read_counted(from, SHORT_MAX)? })
        }
        [END] => {
            let mut rows = [0; 8];
            from.read_exact(&mut rows)?;
            match from.read(&mut [0])? {
                0 => Ok(Item::End { rows: u64::from_be_bytes(rows) }),
                _ => Err(invalid("it goes on after its end")),
            }
        }
        _ => Err(invalid("it has a part of an unknown kind")),
    }
}

fn read_counted(from: &mut impl Read, max: u32) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > max {
        return Err(invalid("it has a part that is too long"));
    }
    let mut octets = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut octets)?;
    if octets.len() as u64 == u64::from(length) {
        Ok(octets)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
