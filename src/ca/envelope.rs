//! The envelope: the age key that seals CA keys before they touch the disk, kept outside the database.
//!
//! It is an X25519 identity file as `age-keygen` writes it, or a passphrase. Whoever has both the envelope
//! and what it sealed has the CA, so a key file that others can read is refused, not warned about.

pub mod recovery;

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::{fmt, iter};

use age::secrecy::{ExposeSecret, SecretString};
use age::stream::StreamWriter;
use age::{Decryptor, Encryptor, scrypt, x25519};
use aws_lc_rs::signature::Ed25519KeyPair;
use jiff::Timestamp;
pub use recovery::{NotARecipient, RECOVERY_FILE, RecoveryRecipient};
use zeroize::Zeroizing;

use super::seal::{self, Sealer};
use crate::durable;
use crate::secret_file::{SecretFileError, SecretReader};

/// The name of the key file in the data directory and of the systemd credential.
const FILE_NAME: &str = "envelope.key";
/// Where the key that was replaced is kept.
const OLD_FILE_NAME: &str = "envelope.key.old";

/// What the envelope seals beside the store.
const SEALED_FILE: &str = "tls/ca.key.age";

/// Key files are a few lines.
const FILE_LENGTH_MAX: u64 = 64 * 1024;

/// The base-2 logarithm of scrypt's cost. Fixed, so that what one machine seals another opens.
const WORK_FACTOR: u8 = 17;
/// Higher costs are refused rather than waited for.
const WORK_FACTOR_MAX: u8 = 20;

/// Where the envelope may be, from the settings.
#[derive(Debug, Clone, Default)]
pub struct EnvelopeSettings {
    pub data_dir: PathBuf,
    /// An age identity file.
    pub key_file: Option<PathBuf>,
    /// A file whose only line is a passphrase.
    pub passphrase_file: Option<PathBuf>,
    /// Where systemd puts the unit's credentials.
    pub credentials_directory: Option<PathBuf>,
    /// Files that the unit's credential is made of, and where a running unit has it: for commands outside of the unit.
    pub of_the_unit: Vec<PathBuf>,
}

/// Why the envelope can't be found, made or used. The texts hold nothing of a key file's content.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    #[error("both an envelope key file and an envelope passphrase file are set; set one of them")]
    BothSet,
    #[error("the envelope can't be used")]
    File(#[from] SecretFileError),
    #[error("the envelope file {path} {problem}")]
    Unusable { path: PathBuf, problem: &'static str },
    #[error("there are sealed keys here already, and the envelope key that opens them is not found")]
    NotFound,
    #[error("can't create the envelope key {path}")]
    Create { path: PathBuf, source: io::Error },
    #[error("can't seal with the envelope")]
    Seal(#[source] age::EncryptError),
    #[error("can't write what was sealed")]
    Output(#[source] io::Error),
    #[error("the envelope is a passphrase, and nothing can be sealed for a passphrase and for a key at once")]
    Passphrase,
    #[error("the envelope key is not the one in the data directory, so the new one must be given as a file")]
    KeptElsewhere,
    #[error("{path} holds an earlier envelope key; destroy it or move it away first")]
    OldKeyThere { path: PathBuf },
    #[error("can't write the envelope key {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("can't open what another envelope sealed; set the envelope it was sealed with")]
    OtherEnvelope,
    #[error("it is not authenticated, so whoever knows the envelope's public key could have made it")]
    Unauthenticated,
    #[error("it was sealed by another envelope ({sealer}) than the one in use, which only opens it")]
    OtherSealer { sealer: Sealer },
    #[error("{} has a line that is no recovery recipient (age1…, as age-keygen prints it)", path.display())]
    Recovery { path: PathBuf, source: NotARecipient },
    #[error("can't open what was sealed: it is damaged, or not of this envelope")]
    Damaged(#[source] age::DecryptError),
}

/// A key that seals and unseals.
pub struct Envelope {
    key: Key,
    /// Who opens everything that is sealed from now on, too.
    recovery: Vec<RecoveryRecipient>,
    /// Whose seals count as ours beside the key's own: an identity file says so where it recovers from another envelope.
    trusted: Vec<Sealer>,
}

enum Key {
    X25519(x25519::Identity),
    Passphrase(SecretString),
}

impl Envelope {
    /// Reads the envelope from where the settings say, or from where it is found unless they say.
    /// `None` when nothing is set and nothing is there.
    pub fn find(settings: &EnvelopeSettings) -> Result<Option<Self>, EnvelopeError> {
        Self::find_key(settings)?.map(|envelope| envelope.with_recovery(&settings.data_dir)).transpose()
    }

    fn find_key(settings: &EnvelopeSettings) -> Result<Option<Self>, EnvelopeError> {
        let credentials = settings.credentials_directory.as_deref();
        match (&settings.key_file, &settings.passphrase_file) {
            (Some(_), Some(_)) => return Err(EnvelopeError::BothSet),
            (Some(path), None) => return Self::from_key_file(path, credentials).map(Some),
            (None, Some(path)) => return Self::from_passphrase_file(path, credentials).map(Some),
            (None, None) => {}
        }
        let near =
            credentials.into_iter().chain([&*settings.data_dir]).map(|directory| directory.join(FILE_NAME));
        for path in near.chain(settings.of_the_unit.iter().cloned()) {
            match Self::from_key_file(&path, credentials) {
                Err(error) if error.is_absence() => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    /// As [`Envelope::find`]; where that finds nothing, makes a key file in the data directory and says where.
    ///
    /// Where something is sealed already there is an envelope, too, which was not found; a second one would open
    /// nothing of it. Whether the store holds anything sealed is the caller's to know.
    pub fn find_or_create(
        settings: &EnvelopeSettings,
        now: Timestamp,
    ) -> Result<(Self, Option<PathBuf>), EnvelopeError> {
        // A key of the unit is for what the unit has sealed, and not for a new data directory elsewhere.
        let sealed = settings.data_dir.join(SEALED_FILE).symlink_metadata().is_ok();
        let of_the_unit = if sealed { settings.of_the_unit.clone() } else { Vec::new() };
        if let Some(found) = Self::find(&EnvelopeSettings { of_the_unit, ..settings.clone() })? {
            return Ok((found, None));
        }
        if sealed {
            return Err(EnvelopeError::NotFound);
        }
        let path = settings.data_dir.join(FILE_NAME);
        let identity = x25519::Identity::generate();
        match durable::create(&path, durable::OWNER_ONLY, identity_file(&identity, now).as_bytes()) {
            Ok(()) => Ok((Self::of(Key::X25519(identity)).with_recovery(&settings.data_dir)?, Some(path))),
            // Another command was quicker; there must not be two envelopes.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Ok((Self::from_key_file(&path, None)?.with_recovery(&settings.data_dir)?, None))
            }
            Err(source) => Err(EnvelopeError::Create { path, source }),
        }
    }

    const fn of(key: Key) -> Self {
        Self { key, recovery: Vec::new(), trusted: Vec::new() }
    }

    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let mut sealing = self.encrypting(Vec::new())?;
        sealing.write_all(plaintext).map_err(EnvelopeError::Output)?;
        sealing.finish().map_err(EnvelopeError::Output)
    }

    pub fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        // Large enough from the start: a buffer that grows leaves copies behind.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.len()));
        let read = self.decrypting(sealed)?.read_to_end(&mut plaintext);
        read.map_err(|error| EnvelopeError::Damaged(error.into()))?;
        Ok(plaintext)
    }

    /// Seals so that each of these envelopes opens it, and each of their recovery recipients. Passphrases seal alone or not
    /// at all.
    pub fn seal_for(envelopes: &[&Self], plaintext: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        if let [envelope] = envelopes {
            return envelope.seal(plaintext);
        }
        let mut recipients = Vec::new();
        for envelope in envelopes {
            recipients.push(envelope.recipient().ok_or(EnvelopeError::Passphrase)?);
            recipients.extend(envelope.recovery.iter().cloned());
        }
        let mut sealing = encrypting_for(recipients, Vec::new())?;
        sealing.write_all(plaintext).map_err(EnvelopeError::Output)?;
        sealing.finish().map_err(EnvelopeError::Output)
    }

    /// Encrypts what is written, as it is written. Nothing of it says who wrote it: that is for [`super::seal`].
    pub(crate) fn encrypting<W: Write>(&self, output: W) -> Result<StreamWriter<W>, EnvelopeError> {
        match (&self.key, self.recipient()) {
            (Key::Passphrase(passphrase), _) => {
                let recipient = scrypt_recipient(passphrase);
                let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
                    .map_err(EnvelopeError::Seal)?;
                encryptor.wrap_output(output).map_err(EnvelopeError::Output)
            }
            (Key::X25519(_), own) => {
                encrypting_for(own.into_iter().chain(self.recovery.iter().cloned()).collect(), output)
            }
        }
    }

    /// Decrypts, as it is read. An end that comes too early is an error.
    pub(crate) fn decrypting<'r, R: BufRead + 'r>(
        &self,
        sealed: R,
    ) -> Result<impl Read + use<'r, R>, EnvelopeError> {
        let decryptor = Decryptor::new_buffered(sealed).map_err(EnvelopeError::Damaged)?;
        let opened = match &self.key {
            Key::X25519(identity) => decryptor.decrypt(iter::once(identity as &dyn age::Identity)),
            Key::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(WORK_FACTOR_MAX);
                decryptor.decrypt(iter::once(&identity as &dyn age::Identity))
            }
        };
        opened.map_err(|error| match error {
            age::DecryptError::NoMatchingKeys => EnvelopeError::OtherEnvelope,
            error => EnvelopeError::Damaged(error),
        })
    }

    /// What says that content was sealed by whoever has this envelope.
    pub(crate) fn signing_key(&self) -> Ed25519KeyPair {
        match &self.key {
            Key::X25519(identity) => seal::signing_key(identity.to_string().expose_secret().as_bytes()),
            Key::Passphrase(passphrase) => seal::signing_key(passphrase.expose_secret().as_bytes()),
        }
    }

    /// By whom this envelope's seals say they were made.
    pub fn sealer(&self) -> Sealer {
        Sealer::of(&self.signing_key())
    }

    /// Whether a seal by these is one of ours.
    pub(crate) fn trusts(&self, sealer: Sealer) -> bool {
        self.sealer() == sealer || self.trusted.contains(&sealer)
    }

    /// The public key, to which anyone can seal. A passphrase has none.
    pub fn recipient(&self) -> Option<RecoveryRecipient> {
        match &self.key {
            Key::X25519(identity) => Some(RecoveryRecipient::new(identity.to_public())),
            Key::Passphrase(_) => None,
        }
    }

    fn from_key_file(path: &Path, credentials: Option<&Path>) -> Result<Self, EnvelopeError> {
        let unusable = |problem| EnvelopeError::Unusable { path: path.to_owned(), problem };
        let text = read(path, credentials)?;
        let mut keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let key = keys.next().ok_or_else(|| unusable("holds no key"))?;
        if keys.next().is_some() {
            return Err(unusable("holds more than one line that is not a comment; leave one age identity"));
        }
        let identity = key.parse().map_err(|_| {
            unusable("holds no age identity (a line AGE-SECRET-KEY-1…, as age-keygen writes it)")
        })?;
        let sealers = text.lines().filter_map(|line| line.trim().strip_prefix(Sealer::LINE));
        let trusted = sealers.map(|sealer| sealer.trim().parse()).collect::<Result<_, _>>();
        let trusted =
            trusted.map_err(|_| unusable("has a line '# muster envelope:' without 64 hexadecimal digits"))?;
        Ok(Self { trusted, ..Self::of(Key::X25519(identity)) })
    }

    fn from_passphrase_file(path: &Path, credentials: Option<&Path>) -> Result<Self, EnvelopeError> {
        let unusable = |problem| EnvelopeError::Unusable { path: path.to_owned(), problem };
        let text = read(path, credentials)?;
        let passphrase = text.trim_end_matches(['\r', '\n']);
        if passphrase.trim().is_empty() {
            return Err(unusable("is empty"));
        }
        if passphrase.contains(['\r', '\n']) {
            return Err(unusable("has more than one line"));
        }
        Ok(Self::of(Key::Passphrase(SecretString::from(passphrase.to_owned()))))
    }
}

/// A key that is to take the envelope key's place.
#[derive(Debug)]
pub struct Successor {
    envelope: Envelope,
    /// The files of the key in use and of the one it becomes, where they are ours to replace.
    files: Option<(PathBuf, PathBuf)>,
    created: Timestamp,
}

impl Successor {
    /// Reads the new key from a file, or makes one. Changes nothing yet.
    pub fn prepare(
        settings: &EnvelopeSettings,
        new_key_file: Option<&Path>,
        now: Timestamp,
    ) -> Result<Self, EnvelopeError> {
        if settings.passphrase_file.is_some() {
            return Err(EnvelopeError::Passphrase);
        }
        let credential = settings.credentials_directory.as_ref().map(|directory| directory.join(FILE_NAME));
        let (current, old) = (settings.data_dir.join(FILE_NAME), settings.data_dir.join(OLD_FILE_NAME));
        let of_the_unit = || !current.exists() && settings.of_the_unit.iter().any(|path| path.exists());
        let elsewhere =
            settings.key_file.is_some() || credential.is_some_and(|path| path.exists()) || of_the_unit();
        if !elsewhere && old.symlink_metadata().is_ok() {
            return Err(EnvelopeError::OldKeyThere { path: old });
        }
        let envelope = match new_key_file {
            Some(path) => Envelope::from_key_file(path, settings.credentials_directory.as_deref())?,
            None if elsewhere => return Err(EnvelopeError::KeptElsewhere),
            None => Envelope::of(Key::X25519(x25519::Identity::generate())),
        };
        let envelope = envelope.with_recovery(&settings.data_dir)?;
        Ok(Self { envelope, files: (!elsewhere).then_some((current, old)), created: now })
    }

    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Puts the key in the place of the one in use and says where that is kept; `None` when the key in use is not
    /// ours to replace.
    pub fn take_over(&self) -> Result<Option<PathBuf>, EnvelopeError> {
        let Some((current, old)) = &self.files else {
            return Ok(None);
        };
        let Key::X25519(identity) = &self.envelope.key else {
            return Err(EnvelopeError::Passphrase);
        };
        let text = read(current, None)?;
        durable::create(old, durable::OWNER_ONLY, text.as_bytes())
            .map_err(|source| EnvelopeError::Write { path: old.clone(), source })?;
        durable::replace(current, durable::OWNER_ONLY, identity_file(identity, self.created).as_bytes())
            .map_err(|source| EnvelopeError::Write { path: current.clone(), source })?;
        Ok(Some(old.clone()))
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.key {
            Key::X25519(_) => "Envelope([age identity])",
            Key::Passphrase(_) => "Envelope([passphrase])",
        })
    }
}

fn scrypt_recipient(passphrase: &SecretString) -> scrypt::Recipient {
    let mut recipient = scrypt::Recipient::new(passphrase.clone());
    recipient.set_work_factor(WORK_FACTOR);
    recipient
}

/// Encrypts for each of these, who are named once each.
fn encrypting_for<W: Write>(
    mut recipients: Vec<RecoveryRecipient>,
    output: W,
) -> Result<StreamWriter<W>, EnvelopeError> {
    recipients.sort();
    recipients.dedup();
    let recipients = recipients.iter().map(|recipient| recipient.as_age() as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients).map_err(EnvelopeError::Seal)?;
    encryptor.wrap_output(output).map_err(EnvelopeError::Output)
}

/// As `age-keygen` writes it, so that age's own tools read it.
fn identity_file(identity: &x25519::Identity, created: Timestamp) -> Zeroizing<String> {
    let secret = identity.to_string();
    Zeroizing::new(format!(
        "# created: {created}\n# public key: {}\n{}\n",
        identity.to_public(),
        secret.expose_secret()
    ))
}

impl EnvelopeError {
    fn is_absence(&self) -> bool {
        matches!(self, Self::File(SecretFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    }
}

fn read(path: &Path, credentials: Option<&Path>) -> Result<Zeroizing<String>, EnvelopeError> {
    Ok(SecretReader::named().credentials(credentials).read_text(path, FILE_LENGTH_MAX)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown};

    use tempfile::TempDir;

    use super::*;
    use crate::ca::testing::now;

    /// A data directory and the settings that name it.
    fn place() -> (TempDir, EnvelopeSettings) {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().to_owned();
        (directory, EnvelopeSettings { data_dir, ..EnvelopeSettings::default() })
    }

    fn secret_file(path: &Path, content: &str, mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn key_text() -> String {
        let identity = x25519::Identity::generate();
        identity_file(&identity, now()).to_string()
    }

    #[test]
    fn a_new_key_is_private_and_found_again() {
        let (directory, settings) = place();
        assert!(Envelope::find(&settings).unwrap().is_none());
        let (made, path) = Envelope::find_or_create(&settings, now()).unwrap();
        let path = path.unwrap();
        assert_eq!(path, directory.path().join("envelope.key"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "# created: 2026-11-21T10:00:00.987Z");
        assert_eq!(lines[1], format!("# public key: {}", made.recipient().unwrap()));
        assert!(lines[2].starts_with("AGE-SECRET-KEY-1") && lines.len() == 3);

        let (found, path) = Envelope::find_or_create(&settings, now()).unwrap();
        assert_eq!((found.recipient(), path), (made.recipient(), None));
        assert_eq!(&**found.unseal(&made.seal(b"key").unwrap()).unwrap(), b"key");
        assert_eq!(format!("{found:?}"), "Envelope([age identity])");
    }

    #[test]
    fn only_the_same_envelope_opens_and_nothing_damaged_is_opened() {
        let (_one, settings) = place();
        let (envelope, _) = Envelope::find_or_create(&settings, now()).unwrap();
        let (_two, settings) = place();
        let (other, _) = Envelope::find_or_create(&settings, now()).unwrap();
        let sealed = envelope.seal(b"the issuing key").unwrap();
        assert!(matches!(other.unseal(&sealed), Err(EnvelopeError::OtherEnvelope)));
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(envelope.unseal(&damaged).is_err(), "byte {at}");
        }
        for length in 0..sealed.len() {
            assert!(envelope.unseal(&sealed[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn passphrases_seal_and_open() {
        let (directory, mut settings) = place();
        let path = directory.path().join("passphrase");
        secret_file(&path, "correct horse\n", 0o600);
        settings.passphrase_file = Some(path.clone());
        let envelope = Envelope::find(&settings).unwrap().unwrap();
        assert_eq!(envelope.recipient(), None);
        let sealed = envelope.seal(b"key").unwrap();
        assert!(String::from_utf8_lossy(&sealed).contains(" 17\n"), "the work factor is fixed");
        assert_eq!(&**envelope.unseal(&sealed).unwrap(), b"key");
        secret_file(&path, "\u{feff}correct horse\r\n", 0o600);
        let marked = Envelope::find(&settings).unwrap().unwrap();
        assert_eq!(&**marked.unseal(&sealed).unwrap(), b"key", "a byte-order mark is no part of it");
        secret_file(&path, "correct horses", 0o600);
        let other = Envelope::find(&settings).unwrap().unwrap();
        assert!(other.unseal(&sealed).is_err());
        assert_eq!(format!("{other:?}"), "Envelope([passphrase])");
        // With a passphrase there is nothing to create.
        assert_eq!(Envelope::find_or_create(&settings, now()).unwrap().1, None);
        assert!(!directory.path().join("envelope.key").exists());
    }

    #[test]
    fn settings_come_before_the_credential_and_that_before_the_data_directory() {
        let (directory, mut settings) = place();
        let credentials = tempfile::tempdir().unwrap();
        let recipient = |settings: &EnvelopeSettings| Envelope::find(settings).unwrap().unwrap().recipient();
        let (in_data, _) = Envelope::find_or_create(&settings, now()).unwrap();
        settings.credentials_directory = Some(credentials.path().to_owned());
        assert_eq!(recipient(&settings), in_data.recipient());

        // systemd makes credentials readable by the unit in its own way.
        secret_file(&credentials.path().join("envelope.key"), &key_text(), 0o444);
        let as_credential = recipient(&settings);
        assert_ne!(as_credential, in_data.recipient());

        let explicit = directory.path().join("explicit.key");
        secret_file(&explicit, &key_text(), 0o400);
        settings.key_file = Some(explicit);
        assert_ne!(recipient(&settings), as_credential);
        settings.key_file = Some(credentials.path().join("envelope.key"));
        assert_eq!(recipient(&settings), as_credential);

        settings.passphrase_file = Some(directory.path().join("passphrase"));
        assert!(matches!(Envelope::find(&settings), Err(EnvelopeError::BothSet)));
        settings.key_file = None;
        assert!(matches!(Envelope::find(&settings), Err(error) if error.is_absence()), "it is missing");
        assert!(Envelope::find_or_create(&settings, now()).is_err());
    }

    #[test]
    fn a_second_key_is_never_made_beside_what_is_sealed() {
        let (directory, mut settings) = place();
        let (made, path) = Envelope::find_or_create(&settings, now()).unwrap();
        let elsewhere = directory.path().join("credstore.key");
        fs::rename(path.unwrap(), &elsewhere).unwrap();
        fs::create_dir(directory.path().join("tls")).unwrap();
        fs::write(directory.path().join(SEALED_FILE), made.seal(b"key").unwrap()).unwrap();
        assert!(matches!(Envelope::find_or_create(&settings, now()), Err(EnvelopeError::NotFound)));
        assert!(!directory.path().join(FILE_NAME).exists());

        // Outside of the unit, its credential is found where it comes from, for what it has sealed.
        settings.of_the_unit = vec![directory.path().join("not here"), elsewhere];
        let (found, created) = Envelope::find_or_create(&settings, now()).unwrap();
        assert_eq!((found.recipient(), created), (made.recipient(), None));
        assert_eq!(Envelope::find(&settings).unwrap().unwrap().recipient(), made.recipient());
        let successor = Successor::prepare(&settings, None, now());
        assert!(matches!(successor, Err(EnvelopeError::KeptElsewhere)));
        fs::remove_file(directory.path().join(SEALED_FILE)).unwrap();
        assert_ne!(Envelope::find_or_create(&settings, now()).unwrap().0.recipient(), made.recipient());
    }

    #[test]
    fn unusable_files_are_refused_by_name_and_without_their_content() {
        let (directory, mut settings) = place();
        let path = directory.path().join("key");
        settings.key_file = Some(path.clone());
        let two = key_text() + &key_text();
        for content in ["", "# only a comment\n", "hunter2", "AGE-SECRET-KEY-1HUNTER2", &two] {
            secret_file(&path, content, 0o600);
            let error = Envelope::find(&settings).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(matches!(error, EnvelopeError::Unusable { .. }), "{text}");
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert!(!text.to_lowercase().contains("hunter2"), "{text}");
        }
        let refused = |settings: &EnvelopeSettings| match Envelope::find(settings).unwrap_err() {
            EnvelopeError::File(error) => error,
            other => unreachable!("{other}"),
        };
        fs::write(&path, "#".repeat(70_000)).unwrap();
        assert!(matches!(refused(&settings), SecretFileError::TooLong { .. }));
        fs::write(&path, b"\xff\xfe\x00").unwrap();
        assert!(matches!(refused(&settings), SecretFileError::NotText { .. }));
        settings.key_file = Some(directory.path().to_owned());
        assert!(matches!(refused(&settings), SecretFileError::NotAFile { .. }));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        settings.key_file = Some(fifo);
        assert!(matches!(refused(&settings), SecretFileError::NotAFile { .. }));

        settings.key_file = None;
        settings.passphrase_file = Some(path.clone());
        for content in ["", "\n", " \n", "two\nlines\n"] {
            secret_file(&path, content, 0o600);
            assert!(matches!(Envelope::find(&settings), Err(EnvelopeError::Unusable { .. })), "{content:?}");
        }
    }

    #[test]
    fn files_that_others_can_open_are_refused() {
        let (directory, settings) = place();
        let path = directory.path().join("envelope.key");
        for mode in [0o640, 0o604, 0o620, 0o601, 0o644, 0o777] {
            secret_file(&path, &key_text(), mode);
            let Err(EnvelopeError::File(error)) = Envelope::find(&settings) else {
                unreachable!("{mode:o} was taken")
            };
            assert!(matches!(error, SecretFileError::Exposed { .. }), "{mode:o}: {error}");
            assert!(error.to_string().ends_with(&format!("chmod 600 {}", path.display())), "{error}");
        }
        secret_file(&path, &key_text(), 0o600);
        // Only root can give files away.
        if chown(&path, Some(4321), None).is_ok() {
            let error = Envelope::find(&settings).unwrap_err();
            let foreign = SecretFileError::ForeignOwner { path, owner: 4321, ours: 0 };
            assert!(
                matches!(&error, EnvelopeError::File(found) if found.to_string() == foreign.to_string()),
                "{error}"
            );
        }
    }
}
