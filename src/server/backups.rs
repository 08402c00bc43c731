//! The backups that the server makes by itself: when one is due, into a file that is there whole or not at all.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::app::keep::backup::BackupError;
use crate::app::keep::backup::scheduled::BackupFailure;
use crate::app::{App, Unavailable};
use crate::ca::envelope::EnvelopeSettings;
use crate::clock;
use crate::domain::backups::{BackupDisk, BackupFile, BackupRoom, NoBackupRoom, room_for, too_many};
use crate::domain::ids::TenantId;
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::durable::{self, Unfinished};
use crate::error_chain::chain;
use crate::server::background::warn_of;
use crate::store;

/// How often is looked whether one is due.
const LOOKED_AT: Duration = Duration::from_secs(2);
/// How often the directory is looked into: somebody may have put files there, or taken them away.
const DIRECTORY_LOOKED_AT: Duration = Duration::from_secs(600);
/// After a failure it is tried again so soon, or when the next one is due.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// What was being written so long ago is written by nobody any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScheduledBackupError {
    #[error("the directory {dir} cannot be used")]
    Directory { dir: String, source: io::Error },
    #[error(transparent)]
    NoRoom(#[from] NoBackupRoom),
    #[error("it could not be written into {dir}")]
    Write { dir: String, source: io::Error },
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Backs up whenever it is time, until the server ends.
pub(crate) async fn back_up_by_itself(app: Arc<App>, envelope: EnvelopeSettings, ending: CancellationToken) {
    let (Some(schedule), Ok(born)) = (app.backup_schedule().cloned(), app.store_born()) else { return };
    let mut due = tokio::time::interval(LOOKED_AT);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut looked: Option<std::time::Instant> = None;
    let mut not_before: Option<std::time::Instant> = None;
    let mut files = Vec::new();
    let backing_up = async {
        loop {
            due.tick().await;
            let now = clock::monotonic();
            if looked.is_none_or(|looked| now.duration_since(looked) >= DIRECTORY_LOOKED_AT) {
                looked = Some(now);
                files = look(&app).await.unwrap_or(files);
            }
            let waits = not_before.is_some_and(|not_before| now < not_before);
            if waits || schedule.next(born, &files, app.clock.now()) > app.clock.now() {
                continue;
            }
            let done = back_up(&app, &envelope, schedule.keep, &ending).await;
            note(&app, done.as_ref().err()).await;
            not_before = done
                .is_err()
                .then(|| clock::monotonic() + TRIED_AGAIN_AFTER.min(schedule.every.unsigned_abs()));
            files = look(&app).await.unwrap_or(files);
        }
    };
    // A disk that does not answer keeps no server from ending.
    tokio::select! {
        () = ending.cancelled() => {}
        () = backing_up => {}
    }
}

async fn note(app: &Arc<App>, failed: Option<&ScheduledBackupError>) {
    if let Some(error) = failed {
        tracing::error!(error = error as &dyn std::error::Error, "the server could not back itself up");
    }
    let failure = |error: &ScheduledBackupError| BackupFailure { at: app.clock.now(), why: chain(error) };
    let failed = failed.map(failure);
    // Again and again the same is no news.
    let news = failed.clone().filter(|_| !app.backup_has_failed());
    app.note_scheduled_backup(failed);
    if let Some(BackupFailure { at, why }) = news {
        let event = WebhookEvent::of_all(WebhookEventKind::BackupFailed, at, &[("why", why)]);
        warn_of(app.tell_webhooks(vec![event]).await, "webhooks were not told that a backup failed");
    }
}

async fn look(app: &Arc<App>) -> Option<Vec<BackupFile>> {
    let app = Arc::clone(app);
    let looked = tokio::task::spawn_blocking(move || app.look_at_backups()).await.ok()?;
    looked
        .inspect_err(
            |error| tracing::warn!(%error, "the directory of the server's own backups cannot be read"),
        )
        .ok()
}

async fn back_up(
    app: &Arc<App>,
    envelope: &EnvelopeSettings,
    keep: usize,
    ending: &CancellationToken,
) -> Result<(), ScheduledBackupError> {
    let Some(dir) = app.backup_dir() else { return Ok(()) };
    let begun_at = app.clock.now();
    let of = app.default_tenant()?;
    let name = BackupFile::name_at(of, begun_at);
    let failed = |source| ScheduledBackupError::Write { dir: dir.display().to_string(), source };
    let prepared = {
        let (app, dir, path) = (Arc::clone(app), dir.clone(), dir.join(&name));
        tokio::task::spawn_blocking(move || prepare(&app, &dir, &path)).await
    };
    let (file, room) = prepared.map_err(|_| Unavailable::Failed)??;
    for gone in &room.go_first {
        remove(&dir, of, gone);
    }
    let backup = app.begin_scheduled_backup(&name, envelope).await?;
    let shared = Arc::new(parking_lot::Mutex::new(Some(file)));
    let output = Bounded { file: Arc::clone(&shared), left: room.most, ending: ending.clone() };
    backup.write_to(output).await?;
    let written =
        tokio::task::spawn_blocking(move || shared.lock().take().map_or(Ok(()), Unfinished::finish));
    written.await.map_err(|_| Unavailable::Failed)?.map_err(failed)?;
    app.note_backup(begun_at, false).await;
    tracing::info!(file = %dir.join(&name).display(), "the server has backed itself up");
    let files = look(app).await.unwrap_or_default();
    too_many(keep, &files).iter().for_each(|gone| remove(&dir, of, gone));
    Ok(())
}

/// Makes the directory, looks for room and begins the file. Blocking.
fn prepare(app: &App, dir: &Path, path: &Path) -> Result<(Unfinished, BackupRoom), ScheduledBackupError> {
    let unusable = |source| ScheduledBackupError::Directory { dir: dir.display().to_string(), source };
    if !dir.is_dir() {
        durable::private_directory(dir).map_err(unusable)?;
    }
    drop_abandoned(dir).map_err(unusable)?;
    let kept = app.look_at_backups().map_err(unusable)?;
    let disk = rustix::fs::statvfs(dir).map_err(|error| unusable(error.into()))?;
    let octets = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    let disk = BackupDisk { octets: octets(disk.f_blocks), free: octets(disk.f_bavail) };
    let store = store_size(&app.data_dir).map_err(unusable)?;
    let newest = kept.iter().max().map(|file| file.octets);
    // A store grows between two, and what is sealed is no longer than the file that it comes from.
    let needed = newest.map_or(store, |newest| newest.saturating_add(newest / 10));
    let room = room_for(needed, store, disk, &kept)?;
    Ok((Unfinished::begin(path).map_err(unusable)?, room))
}

/// What the store and what belongs to it take of the disk.
fn store_size(data_dir: &Path) -> io::Result<u64> {
    let file = |name: &str| data_dir.join(name).metadata().map_or(0, |metadata| metadata.len());
    let mut size = file(store::FILE_NAME) + file(store::JOURNAL_NAME);
    if let Ok(changes) = fs::read_dir(data_dir.join(store::CHANGES_NAME)) {
        for change in changes {
            size += change?.metadata().map_or(0, |metadata| metadata.len());
        }
    }
    Ok(size)
}

/// Removes what a crash has left of backups that were being written.
fn drop_abandoned(dir: &Path) -> io::Result<()> {
    let now = SystemTime::from(clock::Clock::now(&clock::SystemClock));
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_unfinished = durable::is_unfinished(&entry.file_name());
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.ok().and_then(|written| now.duration_since(written).ok());
        if is_unfinished && age.is_some_and(|age| age > ABANDONED_AFTER) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove(dir: &Path, of: TenantId, file: &BackupFile) {
    let path = dir.join(BackupFile::name_at(of, file.at));
    match fs::remove_file(&path) {
        Ok(()) => tracing::info!(file = %path.display(), "an old backup of the server's own made way"),
        Err(error) => tracing::warn!(file = %path.display(), %error, "an old backup cannot be removed"),
    }
}

/// A file that takes no more than there is room for, and nothing once the server ends.
struct Bounded {
    /// Whoever finishes it has it, too.
    file: Arc<parking_lot::Mutex<Option<Unfinished>>>,
    left: u64,
    ending: CancellationToken,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.ending.is_cancelled() {
            return Err(io::Error::other("the server is stopping"));
        }
        self.left = self.left.checked_sub(part.len() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::StorageFull, "it grew beyond what backups may take of this disk")
        })?;
        match self.file.lock().as_mut() {
            Some(file) => file.write_all(part).map(|()| part.len()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.lock().as_mut().map_or(Ok(()), Write::flush)
    }
}
