//! A wall clock that is off, for one process: a preloaded library that answers `clock_gettime`. The monotonic clock
//! stays as it is, as it does when somebody sets the clock of a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    const char *off = getenv("CLOCK_OFF_SECONDS");
    if (!failed && id == CLOCK_REALTIME && off) at->tv_sec += atol(off);
    return failed;
}
"#;

/// Builds the library in `dir`, with the compiler that Rust links with; where it is.
pub fn shim(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    library
}
