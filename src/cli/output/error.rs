//! What a failed command says: one line about what failed, and perhaps what to do next.

use std::error::Error;
use std::io;
use std::path::Path;

use crate::agent::config::AgentConfigError;
use crate::agent::enroll::first_enrollment::FirstEnrollmentError;
use crate::agent::identity::IdentityError;
use crate::agent::install::service::InstallError;
use crate::agent::outputs::config::OutputsConfigError;
use crate::agent::outputs::run::OnceError;
use crate::agent::run::runtime::RunError;
use crate::error_chain::chain;
use crate::server::StartError;

/// Printed by the caller as `error: <message>` and `hint: <hint>`. Exit status 1, or 2 where the command line itself
/// lacks something or asks for what can't be. It is no `Error` itself, so that every error can become one with `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    pub message: String,
    pub hint: Option<String>,
    /// Wrong usage, as an unknown flag is.
    pub usage: bool,
}

impl CliError {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, usage: false }
    }

    /// For a missing argument or credential, and for a combination that can't work.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(message) }
    }

    /// From an error with all its causes, on one line, and what its type advises.
    pub fn caused(error: &(dyn Error + 'static)) -> Self {
        let hint = advice(error).map(str::to_owned);
        Self { hint, ..Self::new(chain(error).replace('\n', " ")) }
    }

    /// A file that cannot be made; its error is told in the words of whoever looks for the reason.
    pub fn cannot_write(path: &Path, error: &io::Error) -> Self {
        let error_of = |why: &str| Self::new(format!("cannot write {}: {why}", path.display()));
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        match (error.kind(), parent) {
            (io::ErrorKind::NotFound, Some(parent)) if !parent.exists() => {
                error_of(&format!("there is no directory {}", parent.display()))
                    .hint("make the directory first, or name another one")
            }
            (io::ErrorKind::NotADirectory, Some(parent)) => {
                error_of(&format!("{} is not a directory", parent.display())).hint("name another place")
            }
            (io::ErrorKind::IsADirectory, _) => error_of("it is a directory").hint("name a file in it"),
            (io::ErrorKind::PermissionDenied, _) => {
                error_of("permission denied").hint("name a place where you may write")
            }
            (io::ErrorKind::ReadOnlyFilesystem, _) => {
                error_of("the file system is read-only").hint("name a place on another file system")
            }
            (io::ErrorKind::StorageFull, _) => error_of("the disk is full").hint("make room for it"),
            _ => error_of(&error.to_string()),
        }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<E: Error + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::caused(&error)
    }
}

/// What an error's type says to do about it.
fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let start = error.downcast_ref().and_then(StartError::hint);
    start
        .or_else(|| error.downcast_ref().map(AgentConfigError::hint))
        .or_else(|| error.downcast_ref().map(FirstEnrollmentError::hint))
        .or_else(|| error.downcast_ref().map(IdentityError::hint))
        .or_else(|| error.downcast_ref().map(InstallError::hint))
        .or_else(|| error.downcast_ref().map(RunError::hint))
        .or_else(|| error.downcast_ref().map(OutputsConfigError::hint))
        .or_else(|| error.downcast_ref().map(OnceError::hint))
}
