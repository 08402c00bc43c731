//! What the kernel may refuse this process.

use std::io;

/// The process can't be set up as it must be; the source is the kernel's reason.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("cannot set the process's limits")]
    Limits(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}
