//! What reaches the device that a store lies on, by its own counters. `/proc/PID/io` counts a whole folio of the page cache for
//! each octet that changes in it, which is wrong by more than ten where little is written at a time.

use std::fmt;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The length of a sector in the kernel's counters, whatever the device's own is.
const SECTOR: u64 = 512;

/// The device under a directory. It counts what everybody writes to it.
#[derive(Debug)]
pub struct Device(Option<PathBuf>);

/// What a device has been given, since it was attached or by each operation.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    pub kib: f64,
    pub flushes: f64,
}

impl Device {
    /// None where the directory lies on no device of its own, as in memory.
    pub fn of(directory: &Path) -> Self {
        let device = std::fs::metadata(directory).map(|found| found.st_dev()).unwrap_or_default();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let counters = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/stat"));
        Self(Some(counters).filter(|counters| counters.exists()))
    }

    pub fn written(&self) -> Option<Written> {
        let counters = std::fs::read_to_string(self.0.as_ref()?).ok()?;
        // Documentation/block/stat.rst of the kernel: sectors written are the seventh, flushes completed the sixteenth.
        let counters: Vec<u64> = counters.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        let (sectors, flushes) = (counters.get(6)?, counters.get(15)?);
        Some(Written { kib: (sectors * SECTOR) as f64 / 1024.0, flushes: *flushes as f64 })
    }
}

impl Written {
    /// By each of so many operations, since an earlier moment.
    pub fn each(self, earlier: Self, count: usize) -> Self {
        let each = |now: f64, before: f64| (now - before) / count as f64;
        Self { kib: each(self.kib, earlier.kib), flushes: each(self.flushes, earlier.flushes) }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} KiB and {:.2} flushes to the device", self.kib, self.flushes)
    }
}
