//! An identity directory that is written to: claimed, exchanged step by step, and put right after a crash.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use zeroize::Zeroizing;

use super::files::{check_directory, read_key};
use super::place::{IdentityDir, Pair, next, parse_key};
use super::{Identity, IdentityError, NewIdentity};
use crate::agent::state_file::AgentState;
use crate::durable::{self, OWNER_ONLY};

/// An identity directory that this process alone may write to.
#[derive(Debug)]
pub struct OwnedDir {
    place: IdentityDir,
    /// Held open for its lock, which ends with the process.
    _lock: File,
}

impl IdentityDir {
    /// Claims the directory for writing, creates it if need be, and finishes what a crash interrupted.
    pub fn lock(self) -> Result<OwnedDir, IdentityError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.path())
            .map_err(|error| IdentityError::Create(self.path().to_owned(), error))?;
        let unreadable = |error| IdentityError::Unreadable(self.path().to_owned(), error);
        let dir = File::open(self.path()).map_err(unreadable)?;
        check_directory(self.path(), &dir)?;
        match dir.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse(self.path().to_owned())),
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let owned = OwnedDir { place: self, _lock: dir };
        owned.finish_exchange()?;
        Ok(owned)
    }
}

/// One durable change to the directory. A crash falls between two of them.
#[derive(Debug)]
pub(crate) enum Step {
    Write(PathBuf, Zeroizing<Vec<u8>>),
    Rename { from: PathBuf, to: PathBuf },
}

impl OwnedDir {
    pub fn place(&self) -> &IdentityDir {
        &self.place
    }

    pub fn read(&self) -> Result<Option<Identity>, IdentityError> {
        self.place.read()
    }

    /// The key of the next request: the one whose answer is still awaited, else a new one. Also whether it is
    /// such an old one.
    pub fn pending_key(&self) -> Result<(KeyPair, bool), IdentityError> {
        let path = next(self.place.key());
        let kept = read_key(&path)?.and_then(|text| parse_key(&text));
        if let Some(key) = kept {
            return Ok((key, true));
        }
        let key = KeyPair::generate().map_err(IdentityError::KeyGeneration)?;
        perform(&Step::Write(path, key_text(&key)))?;
        Ok((key, false))
    }

    /// Forgets the key whose answer was awaited.
    pub fn discard_pending_key(&self) -> Result<(), IdentityError> {
        let path = next(self.place.key());
        remove(&path).map_err(|error| IdentityError::Unwritable(path, error))
    }

    /// Puts a new identity in place of the one in use.
    pub fn install(&self, new: &NewIdentity<'_>) -> Result<Identity, IdentityError> {
        self.install_steps(new).iter().try_for_each(perform)?;
        self.read()?.ok_or_else(|| IdentityError::NotAKey(self.place.key().to_owned()))
    }

    pub fn write_notes(&self, notes: &AgentState) -> Result<(), IdentityError> {
        perform(&self.write_notes_step(notes))
    }

    /// Writes a file for people to edit, unless there is one.
    pub fn write_if_absent(&self, name: &str, text: &str) -> Result<PathBuf, IdentityError> {
        let path = self.place.path().join(name);
        if !path.exists() {
            perform(&Step::Write(path.clone(), Zeroizing::new(text.as_bytes().to_vec())))?;
        }
        Ok(path)
    }

    fn write_notes_step(&self, notes: &AgentState) -> Step {
        Step::Write(self.place.notes_file(), Zeroizing::new(notes.to_text()))
    }

    /// The certificate is staged last of all files: from then on the new pair counts, whole as it is.
    pub(crate) fn install_steps(&self, new: &NewIdentity<'_>) -> Vec<Step> {
        let place = &self.place;
        let text = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let mut steps = vec![
            Step::Write(place.agent_ca(), text(new.agent_ca)),
            self.write_notes_step(new.notes),
            Step::Write(next(place.key()), key_text(new.key)),
            Step::Write(next(place.cert()), text(new.chain)),
        ];
        if let Some(server_ca) = new.server_ca {
            steps.insert(0, Step::Write(place.server_ca(), text(server_ca)));
        }
        steps.extend(self.exchange_steps());
        steps
    }

    fn exchange_steps(&self) -> [Step; 2] {
        let rename = |to: &Path| Step::Rename { from: next(to), to: to.to_owned() };
        [rename(self.place.cert()), rename(self.place.key())]
    }

    fn finish_exchange(&self) -> Result<(), IdentityError> {
        let [cert, key] = self.exchange_steps();
        let newest = self.place.newest_pair().ok().flatten().map(|(pair, _)| pair);
        if newest == Some(Pair::Staged) {
            perform(&cert)?;
        }
        if matches!(newest, Some(Pair::Staged | Pair::HalfExchanged)) {
            perform(&key)?;
        }
        // What stays makes no pair and is overwritten; where nothing can be written, the identity still works.
        let _ = remove(&next(self.place.cert()));
        let _ = durable::sweep(self.place.path());
        Ok(())
    }
}

fn key_text(key: &KeyPair) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.serialize_pem().into_bytes())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(crate) fn perform(step: &Step) -> Result<(), IdentityError> {
    let (done, path) = match step {
        // A symbolic link is replaced, not followed.
        Step::Write(path, text) => (durable::replace(path, OWNER_ONLY, text), path),
        Step::Rename { from, to } => (durable::rename(from, to), to),
    };
    done.map_err(|error| IdentityError::Unwritable(path.clone(), error))
}
