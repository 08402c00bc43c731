//! A root's private key under a passphrase: an age file, in armour, as the `age` program reads and writes it.

use std::io::{Read, Write};
use std::iter;

use age::secrecy::SecretString;
use age::{DecryptError, Decryptor, Encryptor, scrypt};
use zeroize::Zeroizing;

use crate::pem::{self, PemError};

/// How age's armour is labelled.
const ARMOUR: &str = "AGE ENCRYPTED FILE";
/// The first line of an age file that is not armoured.
const AGE: &[u8] = b"age-encryption.org/";

/// The base-2 logarithm of scrypt's cost: what `age -p` takes on a usual machine.
const WORK_FACTOR: u8 = 18;
/// Higher costs are refused rather than waited for.
const WORK_FACTOR_MAX: u8 = 22;

/// Why an encrypted root key is of no use. Nothing of key or passphrase is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error("the passphrase does not open the root key")]
    WrongPassphrase,
    #[error(
        "the root key is encrypted for an age identity, and not under a passphrase; decrypt it on the way in: age -d -i IDENTITY \
         FILE | muster …"
    )]
    ForAnIdentity,
    #[error("the root key's age file is damaged, or cut short")]
    Damaged,
    #[error("opening the root key's age file would take too much work; encrypt it anew with less")]
    TooCostly,
    #[error("a passphrase for a root key needs at least {PASSPHRASE_MIN} characters")]
    TooShort,
    #[error("the root key can't be encrypted")]
    Encrypting(#[source] std::io::Error),
}

/// Whoever finds the file can guess for years.
pub const PASSPHRASE_MIN: usize = 12;

/// Whether a root key, as it comes from a file, is an age file.
pub fn is_encrypted(text: &[u8]) -> bool {
    text.starts_with(AGE) || armoured(text).is_some()
}

/// A text that begins as armour does, whether or not it goes on like that.
fn armoured(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let other = matches!(pem::single(text, &[ARMOUR]), Err(PemError::NoBlock { .. } | PemError::TooLong));
    (!other).then_some(text)
}

/// What is in an age file: a root key as it comes from any other file.
pub fn decrypt(text: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
    let opened;
    let sealed = match armoured(text) {
        Some(text) => {
            opened = pem::single(text, &[ARMOUR]).map_err(|_| RootKeyError::Damaged)?;
            &opened[..]
        }
        None => text,
    };
    let decryptor = Decryptor::new_buffered(sealed).map_err(|_| RootKeyError::Damaged)?;
    if !decryptor.is_scrypt() {
        return Err(RootKeyError::ForAnIdentity);
    }
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(WORK_FACTOR_MAX);
    let reading = decryptor.decrypt(iter::once(&identity as &dyn age::Identity));
    let mut reading = reading.map_err(|error| match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            RootKeyError::WrongPassphrase
        }
        DecryptError::ExcessiveWork { .. } => RootKeyError::TooCostly,
        _ => RootKeyError::Damaged,
    })?;
    // Large enough from the start: a buffer that grows leaves copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reading.read_to_end(&mut plain).map_err(|_| RootKeyError::Damaged)?;
    Ok(plain)
}

/// The age file of a root key (PEM).
pub fn encrypt(key_pem: &str, passphrase: &str) -> Result<String, RootKeyError> {
    if passphrase.chars().count() < PASSPHRASE_MIN {
        return Err(RootKeyError::TooShort);
    }
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(WORK_FACTOR);
    let encryptor = Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient))
        .map_err(|error| RootKeyError::Encrypting(std::io::Error::other(error)))?;
    let mut writing = encryptor.wrap_output(Vec::new()).map_err(RootKeyError::Encrypting)?;
    writing.write_all(key_pem.as_bytes()).map_err(RootKeyError::Encrypting)?;
    let sealed = writing.finish().map_err(RootKeyError::Encrypting)?;
    Ok(pem::encode(ARMOUR, &sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_with_its_passphrase_and_nothing_else() {
        let (key, passphrase) = ("-----BEGIN PRIVATE KEY-----\n…", "correct horse battery");
        let file = encrypt(key, passphrase).unwrap();
        assert!(is_encrypted(file.as_bytes()) && !is_encrypted(key.as_bytes()));
        assert_eq!(*decrypt(file.as_bytes(), passphrase).unwrap(), key.as_bytes());
        let binary = pem::single(&file, &[ARMOUR]).unwrap();
        assert!(is_encrypted(&binary));
        assert_eq!(*decrypt(&binary, passphrase).unwrap(), key.as_bytes());
        let wrong = decrypt(file.as_bytes(), "correct horse batterz").unwrap_err();
        assert!(matches!(wrong, RootKeyError::WrongPassphrase), "{wrong}");
        let turned = file.replacen('A', "B", 40);
        for damaged in [&file[..file.len() / 2], &turned, "-----BEGIN AGE ENCRYPTED FILE-----\n"] {
            let error = decrypt(damaged.as_bytes(), passphrase).unwrap_err();
            assert!(matches!(error, RootKeyError::Damaged | RootKeyError::WrongPassphrase), "{error}");
        }
        assert!(matches!(encrypt(key, "short"), Err(RootKeyError::TooShort)));
    }

    #[test]
    fn a_file_for_an_identity_says_what_to_do() {
        let identity = age::x25519::Identity::generate().to_public();
        let encryptor = Encryptor::with_recipients(iter::once(&identity as &dyn age::Recipient)).unwrap();
        let mut writing = encryptor.wrap_output(Vec::new()).unwrap();
        writing.write_all(b"key").unwrap();
        let error = decrypt(&writing.finish().unwrap(), "any passphrase").unwrap_err();
        assert!(matches!(error, RootKeyError::ForAnIdentity), "{error}");
    }
}
