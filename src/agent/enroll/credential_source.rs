//! Where the agent's first credential comes from: a file, standard input, the environment, or the caller.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::secret_file::{SecretFileError, SecretReader};

/// More than any credential or join link with generous white space around it, in bytes.
const BYTES_MAX: u64 = 16 * 1024;

/// Text that must not be shown.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Keeps a text without the white space and the byte-order mark around it, which editors and shells add.
    pub fn new(text: &str) -> Self {
        let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        Self(Zeroizing::new(trimmed.to_owned()))
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A place that holds one credential of a known kind.
#[derive(Debug, Clone)]
pub struct CredentialSource {
    pub kind: CredentialKind,
    pub place: CredentialPlace,
}

#[derive(Debug, Clone)]
pub enum CredentialPlace {
    Given(SecretText),
    File(PathBuf),
    Stdin,
}

impl CredentialPlace {
    /// A file on the command line, where `-` is standard input.
    pub fn named(path: PathBuf) -> Self {
        if path == Path::new("-") { Self::Stdin } else { Self::File(path) }
    }
}

/// Why no credential could be had. The text itself is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the {what} file {} does not exist", .path.display())]
    Absent { what: &'static str, path: PathBuf },
    #[error("the {what} file {} can't be read", .path.display())]
    Unreadable { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; use '-' to read standard input", .0.display())]
    NotAFile(PathBuf),
    #[error("standard input can't be read")]
    Stdin(#[source] io::Error),
    #[error("the {expected} given is empty")]
    Empty { expected: &'static str },
    #[error("the {expected} given is damaged: it starts with '{prefix}_' and must be whole")]
    Malformed { expected: &'static str, prefix: &'static str },
    #[error("the {found} given stands where the {expected} is expected")]
    OtherKind { expected: &'static str, found: &'static str },
}

impl CredentialSource {
    pub fn read(&self) -> Result<Credential, CredentialError> {
        let text = match &self.place {
            CredentialPlace::Given(text) => text.clone(),
            CredentialPlace::File(path) => read_file(path, name(self.kind))?,
            CredentialPlace::Stdin => read_stdin()?,
        };
        parse(self.kind, text.reveal())
    }

    /// Whether there is something to read: a file that is configured may be removed after its first use.
    pub fn present(&self) -> bool {
        match &self.place {
            CredentialPlace::Given(_) | CredentialPlace::Stdin => true,
            CredentialPlace::File(path) => path.exists(),
        }
    }
}

/// Standard input up to its end, trimmed.
pub fn read_stdin() -> Result<SecretText, CredentialError> {
    let mut text = Zeroizing::new(String::new());
    io::stdin().lock().take(BYTES_MAX).read_to_string(&mut text).map_err(CredentialError::Stdin)?;
    Ok(SecretText::new(&text))
}

/// A regular file up to its end, trimmed.
pub fn read_file(path: &Path, what: &'static str) -> Result<SecretText, CredentialError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CredentialError::Absent { what, path: path.to_owned() },
        _ => CredentialError::Unreadable { what, path: path.to_owned(), source },
    };
    let read = SecretReader::named().read_text_of_anybody(path, BYTES_MAX).map_err(|error| match error {
        SecretFileError::Read { source, .. } => unreadable(source),
        SecretFileError::NotAFile { path } => CredentialError::NotAFile(path),
        error => unreadable(io::Error::new(io::ErrorKind::InvalidData, error)),
    });
    let (text, exposed) = read?;
    if let Some(exposed) = exposed {
        tracing::warn!("the {what} can be had by others: {exposed}");
    }
    Ok(SecretText::new(&text))
}

fn parse(kind: CredentialKind, text: &str) -> Result<Credential, CredentialError> {
    let expected = name(kind);
    if text.is_empty() {
        return Err(CredentialError::Empty { expected });
    }
    if let Some(found) = Credential::claimed_kind(text).filter(|found| *found != kind) {
        return Err(CredentialError::OtherKind { expected, found: name(found) });
    }
    Credential::parse(kind, text).ok_or(CredentialError::Malformed { expected, prefix: kind.prefix() })
}

const fn name(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::JoinToken => "join token",
        CredentialKind::EnrollmentSecret => "enrollment secret",
        CredentialKind::ApiToken => "API token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::CredentialId;

    fn credential(kind: CredentialKind) -> Zeroizing<String> {
        Credential::new(kind, CredentialId::from_bytes([7; 10]), Zeroizing::new([9; 32])).reveal()
    }

    fn from_file(path: &Path) -> Result<Credential, String> {
        let source = CredentialSource {
            kind: CredentialKind::JoinToken,
            place: CredentialPlace::File(path.to_owned()),
        };
        source.read().map_err(|error| error.to_string())
    }

    #[test]
    fn white_space_around_a_token_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = credential(CredentialKind::JoinToken);
        for text in [
            token.to_string(),
            format!("{}\n", *token),
            format!("\u{feff}  {}\r\n\r\n", *token),
            format!("{}{}", " ".repeat(4096), *token),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert_eq!(*from_file(&path).unwrap().reveal(), *token);
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let token = credential(CredentialKind::JoinToken);
        let check = |text: &str, says: &str| {
            std::fs::write(&path, text).unwrap();
            let error = from_file(&path).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(text.len() < 5 || !error.contains(text.trim()), "{error}");
        };
        check("", "is empty");
        check(" \r\n", "is empty");
        check("hunter2", "starts with 'mjt_'");
        check(&token[..40], "starts with 'mjt_'");
        check(&credential(CredentialKind::EnrollmentSecret), "the enrollment secret given");
        assert!(from_file(&dir.path().join("none")).unwrap_err().contains("does not exist"));
        assert!(from_file(dir.path()).unwrap_err().contains("not a regular file"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(from_file(&fifo).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn debug_shows_nothing() {
        let text = SecretText::new("hunter2");
        let source =
            CredentialSource { kind: CredentialKind::JoinToken, place: CredentialPlace::Given(text) };
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
