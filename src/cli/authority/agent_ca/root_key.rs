//! Root keys as commands take and print them: in the clear, or in an age file under a passphrase.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::ca::hierarchy;
use crate::ca::root::key::{self, RootKeyError};
use crate::cli::output::error::CliError;
use crate::pem::file::PrivateKey;
use crate::secret_file::SecretReader;

/// A root key is a few hundred octets, and a few more in an age file.
const ROOT_KEY_MAX: u64 = 16 * 1024;
const PASSPHRASE_MAX: u64 = 4 * 1024;

/// Where the root key is.
#[derive(Debug, Args)]
pub(crate) struct RootKey {
    /// A file with the root's private key: PKCS#8 or SEC 1 PEM, or an age file under a passphrase [default: stdin]
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct Passphrase {
    /// A file with the passphrase of an encrypted root key [default: ask for it]
    #[arg(
        long = "root-key-passphrase-file",
        value_name = "FILE",
        env = "MUSTER_ROOT_KEY_PASSPHRASE_FILE",
        hide_env_values = true
    )]
    file: Option<PathBuf>,
}

/// Whether a new root key is printed encrypted.
#[derive(Debug, Args)]
pub(crate) struct Encryption {
    /// Encrypt the root key under a passphrase: an age file, which every command takes in the key's place
    #[arg(long)]
    pub(super) encrypt: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

impl RootKey {
    pub(super) const fn is_given(&self) -> bool {
        self.root_key.is_some()
    }

    /// Reads it, and asks for its passphrase if it has one.
    pub(super) fn read(&self) -> Result<PrivateKey, CliError> {
        let text = match self.root_key.as_deref().filter(|file| file.as_os_str() != "-") {
            Some(file) => SecretReader::named().read(file, ROOT_KEY_MAX)?,
            None => from_stdin()?,
        };
        self.passphrase.open(&text)
    }
}

fn from_stdin() -> Result<Zeroizing<Vec<u8>>, CliError> {
    if std::io::stdin().is_terminal() {
        eprintln!("Paste the root's private key (PEM), then press Ctrl-D:");
    }
    let mut root_key = Zeroizing::new(Vec::with_capacity(usize::try_from(ROOT_KEY_MAX).unwrap_or(0)));
    let read = std::io::stdin().lock().take(ROOT_KEY_MAX).read_to_end(&mut root_key);
    read.map_err(|error| CliError::new(format!("cannot read the root key from stdin: {error}")))?;
    Ok(root_key)
}

impl Passphrase {
    /// The root key of a file.
    pub(super) fn open_file(&self, file: &Path) -> Result<PrivateKey, CliError> {
        self.open(&SecretReader::named().read(file, ROOT_KEY_MAX)?)
    }

    fn open(&self, text: &[u8]) -> Result<PrivateKey, CliError> {
        if !key::is_encrypted(text) {
            return Ok(hierarchy::read_root_key(text)?);
        }
        let passphrase = match &self.file {
            Some(file) => from_file(file)?,
            None => ask("Passphrase of the root key: ")?,
        };
        let opened = key::decrypt(text, &passphrase).map_err(|error| match error {
            RootKeyError::WrongPassphrase => {
                CliError::caused(&error).hint("nothing was done; try again with the passphrase of this key")
            }
            error => CliError::caused(&error),
        })?;
        Ok(hierarchy::read_root_key(&opened)?)
    }

    /// For a key that is made.
    fn choose(&self) -> Result<Zeroizing<String>, CliError> {
        let passphrase = match &self.file {
            Some(file) => from_file(file)?,
            None => {
                let first = ask("Passphrase for the new root key: ")?;
                if *first != *ask("Again: ")? {
                    return Err(
                        CliError::new("the two passphrases differ").hint("nothing was made; try again")
                    );
                }
                first
            }
        };
        if passphrase.chars().count() < key::PASSPHRASE_MIN {
            return Err(CliError::caused(&RootKeyError::TooShort).hint("nothing was made; take a longer one"));
        }
        Ok(passphrase)
    }
}

fn from_file(file: &Path) -> Result<Zeroizing<String>, CliError> {
    let text = SecretReader::named().read_text(file, PASSPHRASE_MAX)?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(['\r', '\n']) {
        return Err(CliError::new(format!("{} does not hold one line, the passphrase", file.display())));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// At the terminal, also where standard input is something else.
fn ask(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
        CliError::usage(format!("cannot ask for the passphrase: {error}"))
            .hint("give it in a file: --root-key-passphrase-file FILE")
    })
}

/// How a new root key leaves.
pub(super) enum Lock {
    Open,
    Passphrase(Zeroizing<String>),
}

impl Lock {
    pub(super) fn close(&self, key_pem: &str) -> Result<String, RootKeyError> {
        match self {
            Self::Open => Ok(key_pem.to_owned()),
            Self::Passphrase(passphrase) => key::encrypt(key_pem, passphrase),
        }
    }
}

impl Encryption {
    /// Asks for the passphrase, before anything is made.
    pub(super) fn lock(&self) -> Result<Lock, CliError> {
        if self.encrypt { self.passphrase.choose().map(Lock::Passphrase) } else { Ok(Lock::Open) }
    }

    /// The root key of a file that is there.
    pub(super) fn open_file(&self, file: &Path) -> Result<PrivateKey, CliError> {
        self.passphrase.open_file(file)
    }
}
