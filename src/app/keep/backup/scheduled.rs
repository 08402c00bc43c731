//! What is known of the backups that the server makes by itself, and what there is to see to about backups.
//!
//! They lie in a directory that may be on another machine, so it is looked into by the server's own task and never for a
//! page; a command that has opened the store itself looks once.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use super::{Backup, BackupError, EnvelopeSettings};
use crate::app::{App, Unavailable};
use crate::domain::backups::{BackupFile, BackupSchedule};
use crate::domain::ids::TenantId;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::finding::{Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;
use crate::store::Change;

/// The directory for them in the data directory.
const DIRECTORY: &str = "backups";

/// A store younger than this has nothing that a backup would be missed for.
const YOUNG: SignedDuration = SignedDuration::from_hours(24);
/// Where the server makes none, somebody does at least this often.
const ASKED_FOR_WITHIN: SignedDuration = SignedDuration::from_hours(8 * 24);

/// What was last seen of them.
#[derive(Debug, Default)]
pub(crate) struct ScheduledBackups(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    seen: Option<Seen>,
    failed: Option<BackupFailure>,
}

/// What lies in the directory.
#[derive(Debug, Clone, Default)]
struct Seen {
    files: Vec<BackupFile>,
    /// Whether it is on the disk that it is to outlive.
    same_disk: bool,
}

/// The last attempt came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFailure {
    /// When it was.
    pub at: Timestamp,
    /// What was in the way, as a clause.
    pub why: String,
}

/// How the deployment's backups stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFigures {
    /// When the newest was begun, by whomever.
    pub newest: Option<Timestamp>,
    /// How long the newest is that the server made by itself.
    pub octets: Option<u64>,
    /// Whether the server's last attempt came to nothing.
    pub failed: bool,
}

impl App {
    /// How often the server backs up by itself.
    pub const fn backup_schedule(&self) -> Option<&BackupSchedule> {
        self.policy.backups.as_ref()
    }

    /// Where those backups go; `None`: there are none.
    pub fn backup_dir(&self) -> Option<PathBuf> {
        let schedule = self.backup_schedule()?;
        Some(schedule.dir.clone().unwrap_or_else(|| self.data_dir.join(DIRECTORY)))
    }

    /// Looks what is there, for those who ask later. Blocking.
    pub fn look_at_backups(&self) -> io::Result<Vec<BackupFile>> {
        let Some(dir) = self.backup_dir() else { return Ok(Vec::new()) };
        let of = self.default_tenant().map_err(io::Error::other)?;
        let seen = look(&dir, &self.data_dir, of)?;
        self.backups.0.lock().seen = Some(seen.clone());
        Ok(seen.files)
    }

    /// Begins a backup that nobody asked for.
    pub async fn begin_scheduled_backup(
        self: &Arc<Self>,
        name: &str,
        settings: &EnvelopeSettings,
    ) -> Result<Backup, BackupError> {
        let event = AuditEvent::by_muster("schedule", AuditAction::StoreBackup, None, name);
        self.begin(event, settings, false).await
    }

    /// Whether the last attempt came to nothing.
    pub fn backup_has_failed(&self) -> bool {
        self.backups.0.lock().failed.is_some()
    }

    /// Takes note of what came of the last attempt.
    pub fn note_scheduled_backup(&self, failed: Option<BackupFailure>) {
        self.backups.0.lock().failed = failed;
    }

    /// Puts on record that a backup was made. That this fails makes it no worse.
    pub(crate) async fn note_backup(&self, at: Timestamp, asked_for: bool) {
        if let Err(error) = self.record(vec![Change::BackedUp { at, asked_for }]).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "that a backup was made is not on record; it is whole all the same");
        }
    }

    /// When the store was made.
    pub fn store_born(&self) -> Result<Timestamp, Unavailable> {
        Ok(self.query(|view| view.born())?.unwrap_or(Timestamp::UNIX_EPOCH))
    }

    fn seen_backups(&self) -> Seen {
        if let Some(seen) = &self.backups.0.lock().seen {
            return seen.clone();
        }
        // Nothing is there, as far as can be told.
        let _ = self.look_at_backups();
        self.backups.0.lock().seen.clone().unwrap_or_default()
    }

    /// For those who watch it all.
    pub(crate) fn backup_figures(&self) -> Result<BackupFigures, Unavailable> {
        let (seen, now) = (self.seen_backups(), self.clock.now());
        let (asked_for, noted) = self.query(|view| Ok((view.backed_up()?, view.backed_up_by_itself()?)))?;
        let newest = newest_of(&seen.files, now);
        Ok(BackupFigures {
            newest: newest.map(|file| file.at).or(noted).max(asked_for),
            octets: newest.map(|file| file.octets),
            failed: self.backups.0.lock().failed.is_some(),
        })
    }

    /// What there is to see to about backups. A store that can't be read says nothing here.
    pub(crate) fn backup_findings(&self) -> Vec<Finding> {
        let stored = self.query(|view| Ok((view.born()?, view.backed_up()?, view.backed_up_by_itself()?)));
        let Ok((Some(born), asked_for, noted)) = stored else { return Vec::new() };
        let seen = self.seen_backups();
        let about = About {
            schedule: self.backup_schedule(),
            dir: self.backup_dir(),
            born,
            // A command does not know where the server's settings have them.
            scheduled: newest_of(&seen.files, self.clock.now()).map(|file| file.at).or(noted),
            asked_for,
            same_disk: seen.same_disk,
            failed: self.backups.0.lock().failed.clone(),
        };
        about.findings(self.clock.now())
    }
}

/// What the findings follow from.
struct About<'a> {
    schedule: Option<&'a BackupSchedule>,
    dir: Option<PathBuf>,
    born: Timestamp,
    scheduled: Option<Timestamp>,
    asked_for: Option<Timestamp>,
    same_disk: bool,
    failed: Option<BackupFailure>,
}

impl About<'_> {
    fn findings(&self, now: Timestamp) -> Vec<Finding> {
        self.failed().into_iter().chain(self.missing(now)).chain(self.same_disk(now)).collect()
    }

    fn failed(&self) -> Option<Finding> {
        let BackupFailure { at, why } = self.failed.as_ref()?;
        let message = format!("The server could not back itself up: {why}");
        let hint = "Make room or mend what is said; it is tried again by itself. 'backup' in muster.yml (MUSTER_BACKUP) says \
                    where they go and how many are kept.";
        Some(Finding::new(FindingCode::BackupFailed, Severity::Soon, message, hint).at(*at))
    }

    fn missing(&self, now: Timestamp) -> Option<Finding> {
        let newest = self.scheduled.max(self.asked_for);
        let within = self.schedule.map_or(ASKED_FOR_WITHIN, BackupSchedule::overdue_after);
        let age = now.duration_since(newest.unwrap_or(self.born));
        let message = match newest {
            _ if now.duration_since(self.born) <= YOUNG => return None,
            Some(_) if age <= within => return None,
            Some(newest) => format!("The newest backup is of {newest:.0}"),
            None => "There is no backup".to_owned(),
        };
        let hint = "Take one, to another disk: muster backup PATH. By itself the server makes them as 'backup' in muster.yml \
                    (MUSTER_BACKUP) says.";
        Some(Finding::new(FindingCode::BackupMissing, Severity::Soon, message, hint))
    }

    fn same_disk(&self, now: Timestamp) -> Option<Finding> {
        let elsewhere = self.asked_for.is_some_and(|at| now.duration_since(at) <= ASKED_FOR_WITHIN);
        if !self.same_disk || self.scheduled.is_none() || elsewhere {
            return None;
        }
        let dir = self.dir.as_ref()?.display();
        let message = format!("The server's own backups lie in {dir}, on the disk that they are to outlive");
        let hint = "Better than nothing, and no backup of that disk: point 'backup' (MUSTER_BACKUP) at another one, or copy \
                    them, or 'muster backup PATH', elsewhere.";
        Some(Finding::new(FindingCode::BackupSameDisk, Severity::Tidy, message, hint))
    }
}

/// What a clock that was ahead has left behind is not the newest.
fn newest_of(files: &[BackupFile], now: Timestamp) -> Option<BackupFile> {
    let files = files.iter().copied();
    files.filter(|file| file.at.duration_since(now) <= SignedDuration::from_mins(5)).max()
}

/// A directory that is not there has none.
fn look(dir: &Path, data_dir: &Path, of: TenantId) -> io::Result<Seen> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Seen::default()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(at) = entry.file_name().to_str().and_then(|name| BackupFile::begun(of, name))
            && let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.push(BackupFile { at, octets: metadata.len() });
        }
    }
    let same_disk = std::fs::metadata(dir)?.dev() == std::fs::metadata(data_dir)?.dev();
    Ok(Seen { files, same_disk })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_failed_or_in_the_wrong_place_is_told() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        let schedule = BackupSchedule::default();
        let about = |scheduled: Option<i64>, asked_for: Option<i64>| About {
            schedule: Some(&schedule),
            dir: Some(PathBuf::from("/data/backups")),
            born: ago(1000),
            scheduled: scheduled.map(ago),
            asked_for: asked_for.map(ago),
            same_disk: true,
            failed: None,
        };
        let told = |about: About<'_>| -> Vec<_> {
            about.findings(now).iter().map(|finding| (finding.code, finding.severity)).collect()
        };
        let missing = (FindingCode::BackupMissing, Severity::Soon);
        let same_disk = (FindingCode::BackupSameDisk, Severity::Tidy);
        assert_eq!(told(About { born: ago(23), ..about(None, None) }), []);
        assert_eq!(told(about(None, None)), [missing]);
        assert_eq!(told(about(Some(5), None)), [same_disk]);
        assert_eq!(told(About { same_disk: false, ..about(Some(5), None) }), []);
        assert_eq!(told(about(Some(5), Some(100))), [], "somebody takes them elsewhere");
        assert_eq!(told(about(Some(50), None)), [missing, same_disk]);
        assert_eq!(told(about(Some(50), Some(47))), []);
        let off = |asked_for| About { schedule: None, ..about(None, asked_for) };
        assert_eq!((told(off(Some(190))), told(off(Some(200)))), (vec![], vec![missing]));
        let failed = Some(BackupFailure { at: ago(1), why: "the disk is full".to_owned() });
        let about = About { failed, ..about(Some(5), Some(5)) };
        assert_eq!(told(about), [(FindingCode::BackupFailed, Severity::Soon)]);
    }
}
