//! Standard output, by what is lost when it does not arrive.
//!
//! A list or a page may be cut off by `head`: that ends a command quietly. A whole (a bundle, a backup, a trail) that
//! was cut off is worth nothing, and a secret that nobody has seen must not have been made: both are failures.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::OFlags;

use crate::cli::output::error::CliError;

/// Writes text that may be cut off. A reader that went away is no reason to fail.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(&error)),
        _ => Ok(()),
    }
}

/// Writes text that goes on; whether somebody still reads.
pub(crate) fn print_on(text: &str) -> Result<bool, CliError> {
    match write(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(failed(&error)),
        Ok(()) => Ok(true),
    }
}

/// Writes what is of use only as a whole.
pub(crate) fn print_whole(content: &[u8]) -> Result<(), CliError> {
    write(content).map_err(|error| failed(&error))
}

pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// How many columns it has, where it is a terminal.
pub(crate) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(size.ws_col.into())
}

/// Standard output that will take a secret. It is asked for before the secret is made.
#[derive(Debug)]
#[must_use = "a secret is printed where it was announced"]
pub(crate) struct SecretOutput {
    file: File,
    on_disk: bool,
}

impl SecretOutput {
    /// Refuses an output that leads nowhere, and warns of one that others can read.
    pub(crate) fn open() -> Result<Self, CliError> {
        let nowhere = |why: &str| {
            CliError::new(format!(
                "standard output {why}, and this command prints a secret there this one time"
            ))
            .hint("give it a pipe, a terminal, or a file of your own: umask 077; muster … > FILE")
        };
        let file = stdout().map_err(|_| nowhere("is closed"))?;
        let metadata = file.metadata().map_err(|_| nowhere("is closed"))?;
        let flags = rustix::fs::fcntl_getfl(&file).map_err(|_| nowhere("is closed"))?;
        match flags & OFlags::RWMODE {
            OFlags::RDONLY => return Err(nowhere("can't be written")),
            // What the runtime opens in place of a closed descriptor. A shell's own `> /dev/null` is for writing only.
            OFlags::RDWR if is_null(&metadata) => return Err(nowhere("is closed")),
            _ => {}
        }
        let on_disk = metadata.is_file();
        let mode = metadata.mode() & 0o7777;
        if on_disk && mode & 0o077 != 0 {
            eprintln!(
                "warning: the file that standard output goes to can be read by others (mode {mode:04o})."
            );
            eprintln!("  Take it from them before it holds the secret: umask 077, or chmod 600 FILE.");
        }
        Ok(Self { file, on_disk })
    }

    /// Writes the secret, and to the disk where it goes to one. A failure is one even when the reader went away.
    pub(crate) fn print(&mut self, secret: &str) -> io::Result<()> {
        self.file.write_all(secret.as_bytes())?;
        if self.on_disk { self.file.sync_all() } else { Ok(()) }
    }

    /// The same for commands that have nothing to take back.
    pub(crate) fn reveal(mut self, secret: &str) -> Result<(), CliError> {
        self.print(secret).map_err(|error| {
            CliError::new(format!("the secret could not be printed: {error}"))
                .hint("nobody has seen it; revoke or void what was made, and make another")
        })
    }
}

/// A handle of our own: the standard library's takes a failure for success where the descriptor can't be written.
fn stdout() -> io::Result<File> {
    Ok(File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?))
}

fn write(content: &[u8]) -> io::Result<()> {
    stdout()?.write_all(content)
}

fn is_null(metadata: &std::fs::Metadata) -> bool {
    let null = std::fs::metadata("/dev/null");
    metadata.file_type().is_char_device() && null.is_ok_and(|null| null.rdev() == metadata.rdev())
}

fn failed(error: &io::Error) -> CliError {
    CliError::new(format!("cannot write to standard output: {error}"))
}
