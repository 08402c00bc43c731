//! Opening: create, migrate, and prove the file whole before anything is read from it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use jiff::Timestamp;
use redb::{Builder, Database, DatabaseError, ReadableDatabase};

use super::ReadError;
use super::apply::Batch;
use super::record::decode;
use super::rows::{Rows, Snapshot, Table};
use super::view::meta;
use super::writer::Durability;
use crate::domain::ids::TenantId;
use crate::domain::tenant::{DEFAULT_TENANT, Tenant};

/// The layout this version reads and writes. A migration raises it by one.
const SCHEMA: u32 = 1;

/// redb's page cache. Its default of 1 GiB is no faster here, and the server should stay small.
const CACHE_BYTES: usize = 64 << 20;

/// Why the store did not open. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("the store {} is damaged ({damage}); restore a backup, or move it away to start anew", path.display())]
    Damaged { path: PathBuf, damage: String },
    #[error("{} is not a regular file, so it cannot be the store", .0.display())]
    NotAFile(PathBuf),
    #[error(
        "the store {} has layout {found}, but this version of muster reads up to {SCHEMA}; use a newer muster",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("cannot open the store {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot start the store")]
    Start(#[from] io::Error),
    #[error("cannot read the store")]
    Read(#[from] ReadError),
}

pub(super) fn open(path: &Path, now: Timestamp) -> Result<Database, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_file() => {
            return Err(OpenError::NotAFile(path.to_owned()));
        }
        Ok(found) if found.size() == 0 => {
            return Err(OpenError::Damaged { path: path.to_owned(), damage: "it is empty".to_owned() });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, now)?,
        Err(error) => return Err(io(error)),
    }
    open_existing(path)
}

/// Opens a store that is there.
pub(super) fn open_existing(path: &Path) -> Result<Database, OpenError> {
    let database = checked(path)?;
    migrate(&database, path)?;
    Ok(database)
}

/// Opens a cleanly closed store for reading alone.
pub(super) fn read_only(path: &Path) -> Option<redb::ReadOnlyDatabase> {
    builder().open_read_only(path).ok()
}

/// Works on a file whose pages may make no sense, on a thread of its own: redb may panic on one, and there a
/// panic is one more way to find damage. `None` when it did.
pub(super) fn apart<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let path = path.to_owned();
    let working = std::thread::Builder::new().name(CHECK_THREAD.to_owned()).spawn(move || work(&path))?;
    Ok(working.join().ok())
}

/// Creates the store under a temporary name, so that a file of the right name is always a whole store.
fn create(path: &Path, now: Timestamp) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let directory = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".muster.redb.")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .tempfile_in(directory)
        .map_err(io)?;
    let database = builder().create(file.path()).map_err(|e| opening(path, e))?;
    initialise(&database, now)?;
    drop(database);
    file.persist_noclobber(path).map_err(|e| io(e.error))?;
    std::fs::File::open(directory).and_then(|dir| dir.sync_all()).map_err(io)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Opens the file and walks all of it.
fn checked(path: &Path) -> Result<Database, OpenError> {
    let opened = apart(path, |path| {
        let mut database = builder().open(path).map_err(|e| opening(path, e))?;
        match database.check_integrity() {
            Ok(true) => Ok(database),
            Ok(false) => Err(damaged(path, "its checksums do not match")),
            Err(error) => Err(damaged(path, &error.to_string())),
        }
    })?;
    opened.unwrap_or_else(|| Err(damaged(path, "its pages make no sense")))
}

/// The thread on which a panic means "damaged", not "a bug"; the panic hook stays silent on it.
pub const CHECK_THREAD: &str = "store-check";

fn damaged(path: &Path, damage: &str) -> OpenError {
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

pub(super) fn initialise(database: &Database, now: Timestamp) -> Result<(), OpenError> {
    let failed = |error: redb::Error| OpenError::Start(io::Error::other(error));
    let mut entropy = [0; 10];
    rand::fill(&mut entropy).map_err(|_| io::Error::other("the system gave no random bytes"))?;
    let name = DEFAULT_TENANT.parse().expect("the default tenant's name is a valid label");
    let tenant = Tenant { id: TenantId::new(now, entropy), name, created_at: now };
    let mut transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    Durability::QuickRepair.prepare(&mut transaction);
    let mut batch = Batch::open(&transaction)?;
    batch.first_rows(&tenant, SCHEMA)?;
    drop(batch);
    transaction.commit().map_err(|e| failed(e.into()))
}

/// Brings an older layout up to date, one version at a time. There is only one layout so far.
fn migrate(database: &Database, path: &Path) -> Result<(), OpenError> {
    let transaction = database.begin_read().map_err(|e| Table::Meta.error(e))?;
    let snapshot = Snapshot { transaction };
    let Ok(Some(content)) = snapshot.get(Table::Meta, meta::SCHEMA) else {
        return Err(damaged(path, "it does not say which layout it has"));
    };
    match decode::<u32>(Table::Meta, &content)? {
        SCHEMA => {
            drop(snapshot);
            complete(database)
        }
        found if found > SCHEMA => Err(OpenError::Newer { path: path.to_owned(), found }),
        found => Err(damaged(path, &format!("it claims layout {found}, which never existed"))),
    }
}

/// Adds the tables that this version has and the file lacks, so that readers find them all.
fn complete(database: &Database) -> Result<(), OpenError> {
    let failed = |error: redb::Error| OpenError::Start(io::Error::other(error));
    let transaction = database.begin_read().map_err(|e| Table::Meta.error(e))?;
    let tables = transaction.list_tables().map_err(|e| Table::Meta.error(e))?;
    if tables.count() >= Table::ALL.len() {
        return Ok(());
    }
    drop(transaction);
    let mut transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    Durability::QuickRepair.prepare(&mut transaction);
    drop(Batch::open(&transaction)?);
    transaction.commit().map_err(|e| failed(e.into()))
}
