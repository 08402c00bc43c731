//! Recovery recipients: who opens what the envelope seals beside the envelope's own key.
//!
//! They are public keys and lie in the data directory, one a line, where everything that seals finds them. Their identities
//! are kept elsewhere by people.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::x25519;

use super::{Envelope, EnvelopeError, EnvelopeSettings, FILE_LENGTH_MAX, FILE_NAME, Key};
use crate::ca::seal::Sealer;
use crate::durable;
use crate::secret_file::{SecretFileError, SecretReader};

/// The name of their file in the data directory.
pub const RECOVERY_FILE: &str = "envelope.recovery";

const HEAD: &str = "# Whoever has the identity of one of these opens all that Muster seals. Change with: muster envelope recovery\n";

/// A public key to which everything that is sealed is sealed as well.
#[derive(Clone, PartialEq, Eq)]
pub struct RecoveryRecipient(x25519::Recipient);

/// The text is no age recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an age recipient (age1…, as age-keygen prints it)")]
pub struct NotARecipient;

impl RecoveryRecipient {
    pub(super) const fn new(recipient: x25519::Recipient) -> Self {
        Self(recipient)
    }

    pub(super) const fn as_age(&self) -> &x25519::Recipient {
        &self.0
    }
}

impl FromStr for RecoveryRecipient {
    type Err = NotARecipient;

    fn from_str(text: &str) -> Result<Self, NotARecipient> {
        text.trim().parse().map(Self).map_err(|_| NotARecipient)
    }
}

impl fmt::Display for RecoveryRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RecoveryRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecoveryRecipient").field(&format_args!("{self}")).finish()
    }
}

impl Ord for RecoveryRecipient {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
    }
}

impl PartialOrd for RecoveryRecipient {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The recovery recipients of a data directory, in the order in which they were added.
fn read(data_dir: &Path) -> Result<Vec<RecoveryRecipient>, EnvelopeError> {
    let path = data_dir.join(RECOVERY_FILE);
    let text = match SecretReader::inside().read_text(&path, FILE_LENGTH_MAX) {
        Ok(text) => text,
        Err(SecretFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error.into()),
    };
    parse(&text).map_err(|source| EnvelopeError::Recovery { path, source })
}

/// What a backup holds of them; `None` where there are none.
pub fn backed_up(data_dir: &Path) -> Result<Option<String>, EnvelopeError> {
    let recipients = read(data_dir)?;
    Ok((!recipients.is_empty()).then(|| file(&recipients)))
}

/// Puts back what a backup held of them. A file that is there stays.
pub fn put_back(data_dir: &Path, text: &str) -> Result<(), EnvelopeError> {
    let path = data_dir.join(RECOVERY_FILE);
    let recipients = parse(text).map_err(|source| EnvelopeError::Recovery { path: path.clone(), source })?;
    match durable::create(&path, durable::OWNER_ONLY, file(&recipients).as_bytes()) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(EnvelopeError::Write { path, source })
        }
        _ => Ok(()),
    }
}

fn file(recipients: &[RecoveryRecipient]) -> String {
    let lines = recipients.iter().map(|recipient| format!("{recipient}\n"));
    std::iter::once(HEAD.to_owned()).chain(lines).collect()
}

/// What such a file says.
fn parse(text: &str) -> Result<Vec<RecoveryRecipient>, NotARecipient> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::parse).collect()
}

impl Envelope {
    /// With the recovery recipients of a data directory. A passphrase can have none.
    pub(super) fn with_recovery(self, data_dir: &Path) -> Result<Self, EnvelopeError> {
        self.sealing_for(read(data_dir)?)
    }

    /// With other recovery recipients than before.
    pub fn sealing_for(self, recovery: Vec<RecoveryRecipient>) -> Result<Self, EnvelopeError> {
        match self.key {
            Key::Passphrase(_) if !recovery.is_empty() => Err(EnvelopeError::Passphrase),
            _ => Ok(Self { recovery, ..self }),
        }
    }

    /// Who opens what is sealed from now on, too.
    pub fn recovery(&self) -> &[RecoveryRecipient] {
        &self.recovery
    }

    /// Whether somebody else opens what is sealed, too: a server may run with a recovery identity.
    pub fn has_recovery(&self) -> bool {
        let own = self.recipient();
        self.recovery.iter().any(|recipient| Some(recipient) != own.as_ref())
    }

    /// The line by which the file of a recovery identity says that it believes this envelope's seals.
    pub fn sealer_line(&self) -> String {
        format!("{}{}", Sealer::LINE, self.sealer())
    }

    /// Writes down who the recovery recipients are: from now on whatever is sealed, by whichever command, is sealed to them.
    pub fn keep_recovery(&self, data_dir: &Path) -> Result<(), EnvelopeError> {
        let path = data_dir.join(RECOVERY_FILE);
        durable::replace(&path, durable::OWNER_ONLY, file(&self.recovery).as_bytes())
            .map_err(|source| EnvelopeError::Write { path, source })
    }
}

impl EnvelopeSettings {
    /// Whether the only place where the envelope's key is known to be is the data directory that it seals.
    pub fn lies_beside_the_data(&self) -> bool {
        let inside = |path: &PathBuf| match (path.canonicalize(), self.data_dir.canonicalize()) {
            (Ok(path), Ok(data_dir)) => path.starts_with(data_dir),
            _ => false,
        };
        if let Some(path) = self.key_file.as_ref().or(self.passphrase_file.as_ref()) {
            return inside(path);
        }
        let credential = self.credentials_directory.as_ref().map(|directory| directory.join(FILE_NAME));
        !credential.is_some_and(|path| path.exists()) && inside(&self.data_dir.join(FILE_NAME))
    }
}
