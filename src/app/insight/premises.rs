//! Where the server lives: the disk of the data directory, who else may read what lies there, and the clock.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::app::App;
use crate::domain::backups::size as in_words;
use crate::domain::insight::finding::{Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;

/// Files that are looked at; a data directory has a few dozen.
const FILES_MAX: usize = 1_000;
/// A clock that is set by so little is being kept right.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(5);
/// With less than this free on its disk, nothing that the server does is certain.
const FREE_LEAST: u64 = 64 << 20;
/// Nobody has to be told of a disk with more free than this, however small a part of it that is.
const FREE_PLENTY: u64 = 5 << 30;

/// The latest time that is known to have been.
#[derive(Debug, Default)]
pub(crate) struct LatestSeen(Mutex<Option<Timestamp>>);

impl LatestSeen {
    /// By how much the clock is behind what was seen before, if it is.
    fn behind(&self, now: Timestamp, known: Option<Timestamp>) -> Option<(SignedDuration, Timestamp)> {
        let mut latest = self.0.lock();
        let seen = latest.into_iter().chain(known).chain([now]).max().unwrap_or(now);
        *latest = Some(seen);
        let behind = seen.duration_since(now);
        (behind > CLOCK_SLACK).then_some((behind, seen))
    }
}

impl App {
    /// What is amiss with the machine's part in it. `secrets`: files outside the data directory that are the server's alone.
    pub(crate) fn premises_findings(&self, secrets: &[PathBuf]) -> Vec<Finding> {
        let now = self.clock.now();
        let known = self.woke.as_ref().map(|woke| woke.from);
        let clock = self.latest_seen.behind(now, known).map(|(by, seen)| of_clock(now, by, seen));
        let disk = Disk::of(&self.data_dir).and_then(|disk| of_disk(disk, self.store.file_octets()));
        let files = of_files(&open_to_others(&self.data_dir, secrets));
        clock.into_iter().chain(disk).chain(files).collect()
    }
}

fn of_clock(now: Timestamp, by: SignedDuration, seen: Timestamp) -> Finding {
    let minutes = by.as_mins();
    Finding::new(
        FindingCode::Clock,
        Severity::Critical,
        format!("The clock shows {now:.0}, and the server has seen {seen:.0} already: it is {minutes} minutes behind, or was ahead"),
        "Put the clock right and keep it right (timedatectl set-ntp true). If it was ahead and is right now, restart the server.",
    )
    .at(seen)
}

/// What a file system has, in octets.
#[derive(Debug, Clone, Copy)]
struct Disk {
    size: u64,
    free: u64,
}

impl Disk {
    fn of(dir: &Path) -> Option<Self> {
        let disk = rustix::fs::statvfs(dir).ok()?;
        Some(Self {
            size: disk.f_blocks.saturating_mul(disk.f_frsize),
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
        })
    }
}

/// Backups want three times the store free, and everything else goes on for as long as a twentieth is.
fn of_disk(Disk { size, free }: Disk, store: u64) -> Option<Finding> {
    let wanted = store.saturating_mul(3).max(size / 20).clamp(FREE_LEAST * 4, FREE_PLENTY);
    let severity = match free {
        free if free < FREE_LEAST.max(store / 10) => Severity::Critical,
        free if free < wanted => Severity::Soon,
        _ => return None,
    };
    let message = format!("The data directory's disk has {} free of {}", in_words(free), in_words(size));
    let hint = "Make room: when it is full, nobody can enroll or rotate and no revocation is taken. docs/runbooks/disk-full.md \
                says what may go.";
    Some(Finding::new(FindingCode::Disk, severity, message, hint))
}

/// Files that users other than the server's may read or write, and whether a key lies open in one of them.
fn open_to_others(data_dir: &Path, secrets: &[PathBuf]) -> Vec<(PathBuf, bool)> {
    let beside = ["", "tls", "backups"].map(|dir| data_dir.join(dir));
    let inside = beside.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let inside = inside.map(|entry| entry.path()).take(FILES_MAX);
    let mut open: Vec<_> = inside
        .chain(secrets.iter().cloned())
        .filter(|path| path.extension().is_none_or(|kind| kind != "crt"))
        .filter_map(|path| {
            // Of what a link leads to, its own rights count.
            let found = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
            let key = path.extension().is_some_and(|kind| kind == "key" || kind == "pem");
            // What root owns may be lent to a group, as root:ssl-cert 0640 is, to be read.
            let lent = found.uid() == 0 && found.gid() != 0;
            let open = found.mode() & if lent { 0o026 } else { 0o066 };
            (open != 0).then_some((path, key && open & 0o044 != 0))
        })
        .collect();
    open.sort();
    open.dedup();
    open
}

fn of_files(open: &[(PathBuf, bool)]) -> Option<Finding> {
    let first = open.iter().find(|(_, key)| *key).or(open.first())?.0.display().to_string();
    let severity = if open.iter().any(|(_, key)| *key) { Severity::Critical } else { Severity::Soon };
    let message = match open.len() {
        1 => format!("Other users may read or write {first}"),
        many => format!("Other users may read or write {many} of the server's files, {first} among them"),
    };
    let hint =
        "Take their rights away (chmod go= FILE). A key that somebody else may have read is to be replaced.";
    let count = u64::try_from(open.len()).unwrap_or(u64::MAX);
    Some(Finding::new(FindingCode::FileMode, severity, message, hint).counting(count))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_disk_is_told_of_before_it_is_full() {
        let (mb, gb) = (1_u64 << 20, 1_u64 << 30);
        let check = |size, free, store, expected| {
            let found = of_disk(Disk { size, free }, store).map(|found| found.severity);
            assert_eq!(found, expected, "{size} {free} {store}");
        };
        check(100 * gb, 6 * gb, mb, None);
        check(100 * gb, 4 * gb, mb, Some(Severity::Soon));
        check(1_000 * gb, 6 * gb, mb, None);
        check(20 * gb, 2 * gb, mb, None);
        check(20 * gb, 2 * gb, gb, Some(Severity::Soon));
        check(gb, 300 * mb, mb, None);
        check(gb, 200 * mb, mb, Some(Severity::Soon));
        check(gb, 60 * mb, mb, Some(Severity::Critical));
        check(100 * gb, 90 * mb, gb, Some(Severity::Critical));
    }

    #[test]
    fn what_others_may_read_is_told_and_a_key_is_urgent() {
        let room = tempfile::tempdir().unwrap();
        fs::create_dir(room.path().join("tls")).unwrap();
        let put = |name: &str, mode: u32| {
            let path = room.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let found = |secrets: &[PathBuf]| {
            of_files(&open_to_others(room.path(), secrets)).map(|it| (it.severity, it.count, it.message))
        };
        put("muster.redb", 0o600);
        put("tls/server.crt", 0o644);
        put("tls/server.key", 0o600);
        assert_eq!(found(&[]), None);
        put("muster.redb", 0o640);
        let (severity, count, message) = found(&[]).unwrap();
        assert_eq!((severity, count), (Severity::Soon, 1), "{message}");
        put("tls/server.key", 0o604);
        let (severity, count, message) = found(&[put("elsewhere.key", 0o600)]).unwrap();
        assert_eq!((severity, count), (Severity::Critical, 2));
        assert!(message.contains("tls/server.key"), "{message}");
    }

    #[test]
    fn a_clock_that_goes_back_is_told() {
        let seen = LatestSeen::default();
        let at = |minutes: i64| Timestamp::from_second(1_800_000_000 + 60 * minutes).unwrap();
        assert_eq!(seen.behind(at(0), None), None);
        assert_eq!(seen.behind(at(-4), Some(at(-10))), None);
        assert_eq!(seen.behind(at(-60), None), Some((SignedDuration::from_mins(60), at(0))));
        assert_eq!(seen.behind(at(1), None), None);
        assert_eq!(
            LatestSeen::default().behind(at(0), Some(at(10))),
            Some((SignedDuration::from_mins(10), at(10)))
        );
    }
}
