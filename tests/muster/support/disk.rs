//! A disk that fails at a moment of the test's choice, for one process: a preloaded library that counts what is synced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::clock::preloaded;

/// `DISK_FILE` holds how many syncs have been asked for, at which of them it happens (0: at none), and what happens.
const SOURCE: &str = r#"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile long long *setting;

__attribute__((constructor)) static void read_setting(void) {
    const char *path = getenv("DISK_FILE");
    if (!path) return;
    void *at = mmap(0, 24, PROT_READ | PROT_WRITE, MAP_SHARED, open(path, O_RDWR | O_CLOEXEC), 0);
    if (at == MAP_FAILED) abort();
    setting = at;
}

static int sync_by(long call, int fd) {
    if (!setting) return syscall(call, fd);
    long long number = __sync_add_and_fetch(&setting[0], 1);
    int due = number == setting[1];
    if (due && setting[2] == 1) kill(getpid(), SIGKILL);
    if (due && setting[2] == 2) { errno = EIO; return -1; }
    return syscall(call, fd);
}

int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }
int fsync(int fd) { return sync_by(SYS_fsync, fd); }
"#;

/// What happens at a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The process is killed.
    Killed = 1,
    /// The disk reports an error (EIO), once, and has synced nothing.
    Failed = 2,
}

/// The disk of a process that is started with [`Disk::env`]. It works until it is told otherwise.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    path: PathBuf,
    setting: File,
    _room: TempDir,
}

impl Disk {
    pub fn new() -> Self {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("setting");
        std::fs::write(&path, [0; 24]).unwrap();
        let setting = File::options().read(true).write(true).open(&path).unwrap();
        Self { library: preloaded(room.path(), "disk", SOURCE), path, setting, _room: room }
    }

    pub fn env(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", self.library.to_str().unwrap()), ("DISK_FILE", self.path.to_str().unwrap())]
    }

    /// How many syncs there have been.
    pub fn syncs(&self) -> u64 {
        self.read(0)
    }

    /// Has this happen at the `number`th sync from now on.
    pub fn at_sync(&self, number: u64, mishap: Mishap) {
        self.write(2, mishap as u64);
        self.write(1, self.syncs() + number);
    }

    /// Whether what was asked for has not happened yet; then it does not happen any more.
    pub fn has_been_spared(&self) -> bool {
        let due = self.read(1);
        self.write(1, 0);
        self.syncs() < due
    }

    fn read(&self, word: u64) -> u64 {
        let mut value = [0; 8];
        self.setting.read_exact_at(&mut value, 8 * word).unwrap();
        u64::from_ne_bytes(value)
    }

    fn write(&self, word: u64, value: u64) {
        self.setting.write_all_at(&value.to_ne_bytes(), 8 * word).unwrap();
    }
}
