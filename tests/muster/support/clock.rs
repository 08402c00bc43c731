//! A wall clock that is off, for one process: a preloaded library that answers `clock_gettime`. The monotonic clock
//! stays as it is, as it does when somebody sets the clock of a machine, unless a test has the process run for hours.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

/// Off by `CLOCK_OFF_SECONDS` from the start, or as `CLOCK_FILE` says at the moment: nanoseconds to add, the
/// nanosecond since 1970 at which the clock stands still (0 when it goes), and nanoseconds to add to the monotonic clock.
const SOURCE: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile long long *setting;

__attribute__((constructor)) static void read_setting(void) {
    const char *path = getenv("CLOCK_FILE");
    if (!path) return;
    void *at = mmap(0, 24, PROT_READ, MAP_SHARED, open(path, O_RDONLY | O_CLOEXEC), 0);
    if (at == MAP_FAILED) abort();
    setting = at;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_MONOTONIC && setting) {
        long long now = at->tv_sec * SECOND + at->tv_nsec + setting[2];
        at->tv_sec = now / SECOND;
        at->tv_nsec = now % SECOND;
    }
    if (failed || id != CLOCK_REALTIME) return failed;
    const char *off = getenv("CLOCK_OFF_SECONDS");
    if (off) at->tv_sec += atol(off);
    if (setting) {
        long long still = setting[1];
        long long now = still ? still : at->tv_sec * SECOND + at->tv_nsec + setting[0];
        at->tv_sec = now / SECOND;
        at->tv_nsec = now % SECOND;
    }
    return 0;
}
"#;

/// Builds the library in `dir`; where it is.
pub fn shim(dir: &Path) -> PathBuf {
    preloaded(dir, "clock", SOURCE)
}

/// Builds a library to preload, with the compiler that Rust links with.
pub fn preloaded(dir: &Path, name: &str, source: &str) -> PathBuf {
    let (code, library) = (dir.join(format!("{name}.c")), dir.join(format!("{name}.so")));
    std::fs::write(&code, source).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &code]).status();
    assert!(built.unwrap().success());
    library
}

/// The wall clock of a process that is started with [`Clock::env`]. It goes right until it is set.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    setting: File,
    _room: TempDir,
}

impl Clock {
    pub fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("setting");
        std::fs::write(&path, [0; 24]).unwrap();
        let setting = File::options().write(true).open(&path).unwrap();
        Self { library: shim(room.path()), path, setting, _room: room }
    }

    pub fn env(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("CLOCK_FILE", self.path.to_str().unwrap())]
    }

    /// From now on it is off by this much, and goes on.
    pub fn set_off(&self, by: SignedDuration) {
        self.write(0, by.as_nanos());
        self.write(1, 0);
    }

    /// From now on it is this moment.
    pub fn stand_still_at(&self, moment: Timestamp) {
        self.write(1, moment.as_nanosecond());
    }

    /// From now on it has run for so much longer than it has.
    pub fn has_run_longer(&self, by: SignedDuration) {
        self.write(2, by.as_nanos());
    }

    fn write(&self, word: u64, nanoseconds: i128) {
        let value = i64::try_from(nanoseconds).unwrap();
        self.setting.write_all_at(&value.to_ne_bytes(), 8 * word).unwrap();
    }
}
