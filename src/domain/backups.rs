//! Scheduled backups: when one is due, what its file is called, which files make way, and whether there is room for one.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use crate::domain::duration;
use crate::domain::ids::TenantId;

/// How often the server backs up by itself, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSchedule {
    /// The time between two.
    pub every: SignedDuration,
    /// How many are kept.
    pub keep: usize,
    /// The directory; `None`: one in the data directory.
    pub dir: Option<PathBuf>,
}

/// The text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotABackupSchedule {
    /// A part is none of `every=`, `keep=` and `dir=`.
    #[error("'{0}' is none of every, keep and dir")]
    Unknown(String),
    /// Shorter than a minute, longer than 90 days, or no duration.
    #[error("'every' is not between 1m and 90d")]
    Every,
    /// None, or more than anybody can look through.
    #[error("'keep' is not between 1 and 1000")]
    Keep,
    /// It means another place with each start.
    #[error("'dir' is not a path that begins with /")]
    Dir,
}

/// Shortest and longest time between two backups.
const EVERY: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_mins(1)..=SignedDuration::from_hours(90 * 24);
/// How many may be kept.
const KEEP: std::ops::RangeInclusive<usize> = 1..=1000;

impl Default for BackupSchedule {
    fn default() -> Self {
        Self { every: SignedDuration::from_hours(24), keep: 14, dir: None }
    }
}

impl BackupSchedule {
    /// Reads `off`, or parts such as `every=24h,keep=14,dir=/mnt/nas/muster`; what is left out is as by default. A directory
    /// comes last, and may have commas in it.
    pub fn read(text: &str) -> Result<Option<Self>, NotABackupSchedule> {
        let mut schedule = Self::default();
        let mut rest = text.trim();
        if rest == "off" || rest == "false" {
            return Ok(None);
        }
        while !rest.is_empty() {
            if let Some(dir) = rest.strip_prefix("dir=") {
                let dir = PathBuf::from(dir);
                schedule.dir =
                    Some(if dir.is_absolute() { dir } else { return Err(NotABackupSchedule::Dir) });
                break;
            }
            let (part, more) = rest.split_once(',').unwrap_or((rest, ""));
            rest = more.trim_start();
            match part.trim().split_once('=') {
                Some(("every", every)) => {
                    let every = duration::parse(every).ok().filter(|every| EVERY.contains(every));
                    schedule.every = every.ok_or(NotABackupSchedule::Every)?;
                }
                Some(("keep", keep)) => {
                    let keep = keep.parse().ok().filter(|keep| KEEP.contains(keep));
                    schedule.keep = keep.ok_or(NotABackupSchedule::Keep)?;
                }
                _ => return Err(NotABackupSchedule::Unknown(part.trim().to_owned())),
            }
        }
        Ok(Some(schedule))
    }

    /// When the next one is due: after the newest, or soon after the store was born. What a clock that was ahead has left
    /// behind holds nothing up.
    pub fn next(&self, born: Timestamp, kept: &[BackupFile], now: Timestamp) -> Timestamp {
        let newest = kept.iter().map(|file| file.at).filter(|at| *at <= now + CLOCK_SLACK).max();
        let after = newest.map_or((born, self.every.min(FIRST_AFTER)), |newest| (newest, self.every));
        after.0.saturating_add(after.1).unwrap_or(Timestamp::MAX)
    }

    /// From when on the newest one is too old.
    pub fn overdue_after(&self) -> SignedDuration {
        self.every.saturating_mul(2).max(SignedDuration::from_hours(25))
    }
}

/// How long after its birth a store is backed up for the first time, at the latest.
const FIRST_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// A file may be so much younger than the clock says that it is now.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);

/// A scheduled backup that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupFile {
    /// When it was begun, as its name says.
    pub at: Timestamp,
    /// How long it is.
    pub octets: u64,
}

impl BackupFile {
    /// What the one of this deployment is called that is begun now. Several may share a directory.
    pub fn name_at(of: TenantId, at: Timestamp) -> String {
        // The first half of the id is the time of its making, the second is random.
        let [.., a, b, c, d] = *of.as_bytes();
        format!("muster-{:08x}-{}.age", u32::from_be_bytes([a, b, c, d]), at.strftime("%Y%m%dT%H%M%SZ"))
    }

    /// When the one of this name was begun; `None`: it is none of ours.
    pub fn begun(of: TenantId, name: &str) -> Option<Timestamp> {
        let (_, at) = name.strip_suffix(".age")?.rsplit_once('-')?;
        let at = at.parse().ok()?;
        (Self::name_at(of, at) == name).then_some(at)
    }
}

/// The disk that backups are written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupDisk {
    /// All that it holds, in octets.
    pub octets: u64,
    /// What is free of it for us.
    pub free: u64,
}

/// What a backup may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRoom {
    /// More octets than these it must not have.
    pub most: u64,
    /// These go first, the oldest ones.
    pub go_first: Vec<BackupFile>,
}

/// Why there is no room for a backup, whatever older ones go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBackupRoom {
    /// Backups must not be what fills a disk.
    #[error("it would take about {}, and backups take no more than a tenth of a disk: here {}", size(*needed), size(*tenth))]
    Tenth {
        /// About so many octets.
        needed: u64,
        /// All that backups may take of this disk.
        tenth: u64,
    },
    /// The store comes first.
    #[error("it would take about {} of {} that are free, and leave less than three times the store's size", size(*needed), size(*free))]
    Free {
        /// About so many octets.
        needed: u64,
        /// Of so many.
        free: u64,
    },
}

/// How many times the store's size stays free.
const STORES_FREE: u64 = 3;

/// As people read it.
pub fn size(octets: u64) -> String {
    if octets < 10 << 20 { format!("{} KiB", octets >> 10) } else { format!("{} MiB", octets >> 20) }
}

/// The room for a backup of about `needed` octets, of a store of `store` octets, beside those that are kept. Of those, the
/// newest never makes way.
pub fn room_for(
    needed: u64,
    store: u64,
    disk: BackupDisk,
    kept: &[BackupFile],
) -> Result<BackupRoom, NoBackupRoom> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let (tenth, reserve) = (disk.octets / 10, store.saturating_mul(STORES_FREE));
    for going in 0..kept.len().max(1) {
        let (go_first, stay) = kept.split_at(going);
        let sum = |files: &[BackupFile]| files.iter().map(|file| file.octets).sum::<u64>();
        let of_the_tenth = tenth.saturating_sub(sum(stay));
        let of_the_free = disk.free.saturating_add(sum(go_first)).saturating_sub(reserve);
        let most = of_the_tenth.min(of_the_free);
        if needed <= most {
            return Ok(BackupRoom { most, go_first: go_first.to_vec() });
        }
    }
    let newest = kept.last().map_or(0, |file| file.octets);
    if needed.saturating_add(newest) > tenth {
        return Err(NoBackupRoom::Tenth { needed, tenth });
    }
    Err(NoBackupRoom::Free { needed, free: disk.free })
}

/// Those that are too many, the oldest ones.
pub fn too_many(keep: usize, kept: &[BackupFile]) -> Vec<BackupFile> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    kept.truncate(kept.len().saturating_sub(keep));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(hours)
    }

    fn files(octets: &[u64]) -> Vec<BackupFile> {
        octets.iter().zip(0..).map(|(octets, day)| BackupFile { at: at(24 * day), octets: *octets }).collect()
    }

    #[test]
    fn a_schedule_is_read_and_what_is_none_is_named() {
        let read = |text: &str| BackupSchedule::read(text).map_err(|error| error.to_string());
        assert_eq!(read(""), Ok(Some(BackupSchedule::default())));
        assert_eq!((read("off"), read("false")), (Ok(None), Ok(None)));
        let all = BackupSchedule {
            every: SignedDuration::from_hours(6),
            keep: 3,
            dir: Some(PathBuf::from("/mnt/a,b=c")),
        };
        assert_eq!(read("every=6h, keep=3, dir=/mnt/a,b=c"), Ok(Some(all)));
        for (text, why) in [
            ("every=10s", "1m and 90d"),
            ("every=soon", "1m and 90d"),
            ("keep=0", "1 and 1000"),
            ("dir=backups", "begins with /"),
            ("often=1h", "'often=1h' is none of"),
            ("on", "'on' is none of"),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}");
        }
    }

    #[test]
    fn a_file_says_when_it_was_begun() {
        let of = TenantId::from_bytes([0xab; 16]);
        let name = BackupFile::name_at(of, at(0));
        assert_eq!(name, "muster-abababab-20270115T080000Z.age");
        assert_eq!(BackupFile::begun(of, &name), Some(at(0)));
        assert_eq!(BackupFile::begun(TenantId::from_bytes([1; 16]), &name), None, "of another deployment");
        for other in [
            "muster-abababab-2027.age",
            "muster-abababab-20270115T080000Z.age.part",
            "muster.age",
            "muster-abababab-2027-01-15T08:00:00Z.age",
        ] {
            assert_eq!(BackupFile::begun(of, other), None, "{other}");
        }
    }

    #[test]
    fn the_first_comes_soon_and_a_clock_that_was_ahead_holds_nothing_up() {
        let schedule = BackupSchedule::default();
        assert_eq!(schedule.next(at(0), &[], at(0)), at(1));
        assert_eq!(schedule.next(at(0), &files(&[1, 1]), at(100)), at(48));
        let ahead = [BackupFile { at: at(5000), octets: 1 }, BackupFile { at: at(3), octets: 1 }];
        assert_eq!(schedule.next(at(0), &ahead, at(10)), at(27));
    }

    #[test]
    fn backups_take_a_tenth_of_a_disk_and_leave_the_store_its_room() {
        let disk = |octets: u64, free: u64| BackupDisk { octets: octets * MIB, free: free * MIB };
        let kept = files(&[20 * MIB, 20 * MIB, 20 * MIB]);
        let room = |needed: u64, disk, kept: &[BackupFile]| room_for(needed * MIB, 50 * MIB, disk, kept);
        let gone =
            |room: Result<BackupRoom, NoBackupRoom>| room.map(|room| (room.most / MIB, room.go_first.len()));
        assert_eq!(gone(room(20, disk(2000, 1000), &kept)), Ok((140, 0)));
        assert_eq!(gone(room(20, disk(700, 600), &kept)), Ok((30, 1)), "the oldest makes way for the tenth");
        assert_eq!(gone(room(20, disk(2000, 150), &kept)), Ok((20, 1)), "and for the store");
        assert_eq!(gone(room(20, disk(2000, 165), &kept)), Ok((35, 1)));
        let tenth = room(20, disk(300, 290), &kept);
        assert_eq!(tenth, Err(NoBackupRoom::Tenth { needed: 20 * MIB, tenth: 30 * MIB }), "the newest stays");
        let free = room(20, disk(2000, 120), &kept[..1]);
        assert_eq!(free, Err(NoBackupRoom::Free { needed: 20 * MIB, free: 120 * MIB }));
        assert!(free.unwrap_err().to_string().contains("three times"));
        assert!(room(20, disk(0, 0), &[]).is_err());
    }

    #[test]
    fn the_oldest_go() {
        assert_eq!(too_many(2, &files(&[1, 2, 3, 4])), files(&[1, 2]));
        assert_eq!(too_many(5, &files(&[1, 2])), []);
    }
}
