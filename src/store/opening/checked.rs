//! The way in: an opening that is only rehearsed, what is proved of the file before it is opened for good, and the copy that is
//! kept before its layout changes.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{Database, DatabaseError, ReadableDatabase};

use crate::error_chain::chain;
use crate::store::journal::file::{JournalError, unknown_to};
use crate::store::layers::overlay::Overlay;
use crate::store::layers::snapshot::{FileView, Snapshot};
use crate::store::log::change_log::ChangeLog;
use crate::store::log::position;
use crate::store::opening::dry_run::Rehearsal;
use crate::store::opening::migrate::LAYOUT;
use crate::store::opening::open::{
    OpenError, Opened, builder, changes_beside, known_layout, recover, unnamed,
};
use crate::store::proof::check::check_vital;
use crate::store::rows::Table;
use crate::store::view::View;
use crate::store::{JOURNAL_NAME, ReadError};

/// Files up to so many octets are walked with all their checksums before anything is read from them. Larger ones are opened as
/// they are, or a start would grow with the history: each record has a checksum that is verified when it is read, and what walks
/// all of them follows behind ([`crate::store::proof`]).
#[cfg(not(test))]
const WALKED_UP_TO: u64 = 16 << 20;
#[cfg(test)]
const WALKED_UP_TO: u64 = 1;

/// Where the store as it was in an older layout is kept: beside it, so that the older program can be put back.
fn copy_of_layout(path: &Path, layout: u32) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".layout-{layout}"));
    path.with_file_name(name)
}

/// Keeps a copy of a store that nobody has open, before its layout changes.
fn keep_copy(path: &Path, layout: u32) -> Result<(), OpenError> {
    let copy = copy_of_layout(path, layout);
    let failed = |source| OpenError::Copy { path: copy.clone(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = unnamed(directory).map_err(failed)?;
    std::fs::File::open(path)
        .and_then(|mut store| io::copy(&mut store, &mut file.as_file()))
        .and_then(|_| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(&copy).map_err(|e| failed(e.error))?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    tracing::info!(copy = %copy.display(), "the store was copied before its layout changes");
    Ok(())
}

/// Works on a file whose pages may make no sense, on a thread of its own: redb may panic on one, and there a
/// panic is one more way to find damage. `None` when it did.
pub(crate) fn apart<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let path = path.to_owned();
    let working = std::thread::Builder::new().name(CHECK_THREAD.to_owned()).spawn(move || work(&path))?;
    Ok(working.join().ok())
}

/// Opens without a change to the file.
fn rehearse(path: &Path) -> Result<Database, OpenError> {
    let rehearsal = Rehearsal::of(path).map_err(|e| opening(path, e))?;
    builder().create_with_backend(rehearsal).map_err(|e| opening(path, e))
}

/// Walks the whole file with all its checksums.
fn walk(rehearsed: &mut Database, path: &Path) -> Result<(), OpenError> {
    match rehearsed.check_integrity() {
        Ok(true) => Ok(()),
        Ok(false) => Err(damaged(path, "its checksums do not match")),
        Err(error) => Err(damaged(path, &error.to_string())),
    }
}

/// Proves the structure of a whole file that nobody has open, however large it is.
pub(crate) fn prove(path: &Path) -> Result<(), OpenError> {
    let walked = apart(path, |path| walk(&mut rehearse(path)?, path))?;
    walked.unwrap_or_else(|| Err(damaged(path, NONSENSE)))
}

/// Reads what the journal is compared with once the file is open: by then it has been touched. What the comparison comes to is
/// nobody's business here.
fn compare_with_journal(view: &View<'_>, path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let unreadable = |error: ReadError| Err(damaged(path, &chain(&error)));
    if let Err(JournalError::Read(error)) =
        unknown_to(view, &path.with_file_name(JOURNAL_NAME), (now, now), now)
    {
        return unreadable(error);
    }
    let secrets = view.any_tenant().enrollment_secrets(None, |_| ControlFlow::Continue(()));
    secrets.or_else(unreadable)
}

/// Opens the file, after an opening that was only rehearsed: so a file that is refused has not been touched. Returns with it
/// the layout that it has.
pub(crate) fn checked(path: &Path, now: Timestamp) -> Result<(Opened, u32), OpenError> {
    let opened = apart(path, move |path| {
        let mut rehearsed = rehearse(path)?;
        let is_small = path.metadata().is_ok_and(|file| file.len() <= WALKED_UP_TO);
        if is_small {
            walk(&mut rehearsed, path)?;
        }
        let found = known_layout(&rehearsed, path)?;
        // What is brought to another layout is written from one end to the other.
        let walked = is_small || found < LAYOUT;
        if walked && !is_small {
            walk(&mut rehearsed, path)?;
        }
        let position = position::of(&rehearsed)?;
        let tail = if position.in_use {
            // A store whose log is refused has not been touched either.
            ChangeLog::recover(changes_beside(path), position)?.1
        } else {
            Overlay::default()
        };
        if !walked {
            let transaction = rehearsed.begin_read().map_err(|e| Table::Meta.error(e))?;
            let snapshot = Snapshot::new(Arc::new(FileView::new(transaction)), vec![Arc::new(tail)]);
            check_vital(&snapshot).map_err(|damage| damaged(path, &chain(&damage)))?;
            compare_with_journal(&View::new(&snapshot), path, now)?;
        }
        drop(rehearsed);
        let open = || {
            let database = builder().open(path).map_err(|e| opening(path, e))?;
            recover(database, changes_beside(path))
        };
        if found < LAYOUT {
            if position.in_use {
                // What was promised belongs into the copy.
                open()?.whole()?;
            }
            keep_copy(path, found)?;
        }
        Ok((Opened { walked, ..open()? }, found))
    })?;
    opened.unwrap_or_else(|| Err(damaged(path, NONSENSE)))
}

const NONSENSE: &str = "its pages make no sense";

/// The thread on which a panic means "damaged", not "a bug"; the panic hook stays silent on it.
pub const CHECK_THREAD: &str = "store-check";

pub(crate) fn damaged(path: &Path, damage: &str) -> OpenError {
    OpenError::Damaged { path: path.to_owned(), damage: damage.to_owned() }
}

fn opening(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
        DatabaseError::Storage(redb::StorageError::Io(source))
            if source.kind() != io::ErrorKind::InvalidData
                && source.kind() != io::ErrorKind::UnexpectedEof =>
        {
            OpenError::Io { path: path.to_owned(), source }
        }
        other => damaged(path, &other.to_string()),
    }
}
