//! What every command does to its own process before it touches a secret.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::cli::output::error::CliError;

/// No core dump, and no debugger of the same user. Most commands hold a key, a token or a password at some time, so
/// all of them are without; whoever adds one need not think of it.
pub(crate) fn keep_memory_private() -> Result<(), CliError> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}

/// Every agent holds a connection open; the hard limit is what the machine's owner allows.
pub(crate) fn allow_descriptors() -> Result<(), CliError> {
    let files = rustix::process::getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(failed)
}

fn failed(error: rustix::io::Errno) -> CliError {
    CliError::new(format!("cannot set the process's limits: {error}"))
}
