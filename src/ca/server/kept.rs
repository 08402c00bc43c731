//! The server's certificate, its key and their CA as a backup holds them, and as a restore puts them back: with them the
//! agents go on trusting the server.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{
    CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, FILE_OCTETS_MAX, KEY_FILE, ServerCaError, held_if_there, read,
    write,
};
use crate::domain::network::pin::Pin;
use crate::durable::{Held, OWNER_ONLY, WORLD_READABLE};
use crate::pem;

/// The files, each with its name in a backup.
const KEPT: [(&str, &str); 4] = [
    (CA_FILE, "tls/ca.crt"),
    (CA_KEY_FILE, "tls/ca.key.age"),
    // Before the key: where a new pair was only half written, the second look shows it.
    (CERTIFICATE_FILE, "tls/server.crt"),
    (KEY_FILE, "tls/server.key"),
];

/// How often files are read that change under the reader.
const LOOKS: usize = 5;

/// The contents of those of the files that are there.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct KeptServerFiles([Option<Zeroizing<Vec<u8>>>; 4]);

impl std::fmt::Debug for KeptServerFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.named().map(|(name, _)| name)).finish()
    }
}

/// What stands in the way of putting the files back.
#[derive(Debug, thiserror::Error)]
pub enum PutBackError {
    /// Its owner may still want them.
    #[error(
        "{} has another server certificate ({here}) than the backup ({backup}), which is the one that agents trust",
        directory.display()
    )]
    Other { directory: PathBuf, here: String, backup: String },
    #[error(transparent)]
    Files(#[from] ServerCaError),
}

const CA: usize = 0;
const CA_KEY: usize = 1;
const CERTIFICATE: usize = 2;
const KEY: usize = 3;

impl KeptServerFiles {
    /// Reads those that are there. A link in the place of one leads to something that is not ours, and is left out.
    pub fn read(directory: &Path) -> Result<Self, ServerCaError> {
        let Some(held) = held_if_there(directory)? else { return Ok(Self::default()) };
        let mut found = Self::look(&held)?;
        for _ in 1..LOOKS {
            let again = Self::look(&held)?;
            if again == found {
                break;
            }
            found = again;
        }
        Ok(found)
    }

    fn look(held: &Held) -> Result<Self, ServerCaError> {
        let mut found = Self::default();
        for ((name, _), content) in KEPT.iter().zip(&mut found.0) {
            if held.file(name).symlink_metadata().is_ok_and(|file| file.is_file()) {
                *content = read(held, name)?.map(Zeroizing::new);
            }
        }
        Ok(found)
    }

    /// Those that are there, as a backup calls them.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &Zeroizing<Vec<u8>>)> {
        KEPT.iter().zip(&self.0).filter_map(|((_, name), content)| Some((*name, content.as_ref()?)))
    }

    /// Takes a piece of a file out of a backup; whether it is one of these.
    pub fn take(&mut self, name: &str, piece: &[u8]) -> io::Result<bool> {
        let Some(at) = KEPT.iter().position(|(_, kept)| *kept == name) else { return Ok(false) };
        let content = self.0.get_mut(at).map(|content| content.get_or_insert_default());
        let Some(content) = content else { return Ok(false) };
        let room = usize::try_from(FILE_OCTETS_MAX).unwrap_or(usize::MAX);
        if content.len() + piece.len() > room {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it has a file that is too long"));
        }
        content.extend_from_slice(piece);
        Ok(true)
    }

    pub fn is_empty(&self) -> bool {
        self.named().next().is_none()
    }

    /// The pin of the CA, else of the certificate.
    pub fn pin(&self) -> Option<Pin> {
        let certificate = self.get(CA).or(self.get(CERTIFICATE))?;
        let der = pem::file::certificates(certificate).ok()?.into_iter().next()?;
        Some(Pin::of(&der))
    }

    fn get(&self, file: usize) -> Option<&[u8]> {
        self.0.get(file)?.as_deref().map(Vec::as_slice)
    }

    /// Whether whoever trusts the one trusts the other.
    fn is_as_good_as(&self, other: &Self) -> bool {
        let of = if self.get(CA).is_some() && other.get(CA).is_some() { CA } else { KEY };
        self.get(of) == other.get(of)
    }

    /// What is to be written into a directory; nothing that is there is replaced, unless it is of no use without what is
    /// written.
    pub fn to_put_back(&self, directory: &Path) -> Result<Self, PutBackError> {
        let here = Self::read(directory)?;
        if here.is_empty() {
            return Ok(self.clone());
        }
        if self.is_empty() {
            return Ok(Self::default());
        }
        if !here.is_as_good_as(self) {
            let told = |files: &Self| {
                files.pin().map_or_else(|| "no certificate".to_owned(), |pin| format!("pin {pin}"))
            };
            let (here, backup) = (told(&here), told(self));
            return Err(PutBackError::Other { directory: directory.to_owned(), here, backup });
        }
        let mut put = Self::default();
        let lacks = |file| here.get(file).is_none();
        let mut take = |file: usize| {
            if let (Some(to), Some(from)) = (put.0.get_mut(file), self.0.get(file)) {
                to.clone_from(from);
            }
        };
        if lacks(CA) && lacks(CA_KEY) {
            take(CA);
            take(CA_KEY);
        } else if lacks(CA_KEY) {
            take(CA_KEY);
        }
        // A certificate without its key is of no use, and a key that is there keeps its certificate.
        if lacks(KEY) {
            take(KEY);
            take(CERTIFICATE);
        } else if lacks(CERTIFICATE) && here.get(KEY) == self.get(KEY) {
            take(CERTIFICATE);
        }
        Ok(put)
    }

    /// Writes them, keys first.
    pub fn put_back(&self, directory: &Path) -> Result<(), ServerCaError> {
        if self.is_empty() {
            return Ok(());
        }
        let held = Held::make(directory)
            .map_err(|source| ServerCaError::Directory { path: directory.to_owned(), source })?;
        for (file, mode) in
            [(CA_KEY, OWNER_ONLY), (CA, WORLD_READABLE), (KEY, OWNER_ONLY), (CERTIFICATE, WORLD_READABLE)]
        {
            if let (Some((name, _)), Some(content)) = (KEPT.get(file), self.get(file)) {
                write(&held, name, mode, content)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ca::server::{NewKey, generate};
    use crate::ca::testing::{envelope, now};

    fn made(directory: &Path) -> KeptServerFiles {
        let names = ["localhost".parse().unwrap()];
        generate(directory, &names, &envelope(), NewKey::IfNone, now()).unwrap();
        KeptServerFiles::read(directory).unwrap()
    }

    #[test]
    fn what_was_kept_is_put_back_where_nothing_else_is() {
        let room = tempfile::tempdir().unwrap();
        let (one, two, three) = (room.path().join("one"), room.path().join("two"), room.path().join("three"));
        let kept = made(&one);
        assert_eq!(kept.named().count(), 4);
        let mut read = KeptServerFiles::default();
        for (name, content) in kept.named() {
            for piece in content.chunks(100).chain([&[][..]]) {
                assert!(read.take(name, piece).unwrap());
            }
        }
        assert!(!read.take("tls/other", b"x").unwrap() && read == kept);
        assert!(read.take("tls/ca.crt", &[0; 70_000]).is_err());

        kept.to_put_back(&two).unwrap().put_back(&two).unwrap();
        assert!(KeptServerFiles::read(&two).unwrap() == kept);
        assert!(kept.to_put_back(&two).unwrap().is_empty(), "all of it is there");
        // What was renewed since stays; what is of no use by itself does not.
        fs::write(two.join(CERTIFICATE_FILE), "renewed").unwrap();
        assert!(kept.to_put_back(&two).unwrap().is_empty());
        fs::remove_file(two.join(KEY_FILE)).unwrap();
        fs::remove_file(two.join(CA_KEY_FILE)).unwrap();
        kept.to_put_back(&two).unwrap().put_back(&two).unwrap();
        assert!(KeptServerFiles::read(&two).unwrap() == kept);

        made(&three);
        let refused = kept.to_put_back(&three).unwrap_err().to_string();
        assert!(refused.contains("which is the one that agents trust"), "{refused}");
        assert!(KeptServerFiles::default().to_put_back(&three).unwrap().is_empty());
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let room = tempfile::tempdir().unwrap();
        let tls = room.path().join("tls");
        made(&tls);
        fs::rename(tls.join(KEY_FILE), room.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(room.path().join("elsewhere"), tls.join(KEY_FILE)).unwrap();
        let kept = KeptServerFiles::read(&tls).unwrap();
        assert!(kept.named().all(|(name, _)| name != "tls/server.key"));
    }
}
