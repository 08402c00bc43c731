//! Hardening: what every command does to its own process before it touches a secret.

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::process::ProcessError;

/// No core dump, and no debugger of the same user. Most commands hold a key, a token or a password at some time, so
/// all of them are without; whoever adds one need not think of it.
pub fn keep_memory_private() -> Result<(), ProcessError> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(refused)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(refused)
}

/// Umask of 077: files that are made from now on are their owner's alone.
pub fn keep_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}

/// Every agent holds a connection open; the hard limit is what the machine's owner allows. Says how many may be open now.
pub fn allow_descriptors() -> Result<u64, ProcessError> {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(refused)?;
    Ok(files.maximum.unwrap_or(u64::MAX))
}

fn refused(error: Errno) -> ProcessError {
    ProcessError::Limits(error.into())
}
