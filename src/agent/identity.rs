//! The identity directory: key, certificate and what they trust, on disk.
//!
//! Every file is replaced as a whole: written under another name, flushed, renamed. The key and the certificate
//! are two files, so a new pair is staged as `key.pem.next` and `cert.pem.next` first; after a crash at any
//! moment the newest complete pair is found and the interrupted exchange finished. A `key.pem.next` alone is
//! the key of a request whose answer has not come yet. It is used again for the next attempt, so that an answer
//! that was lost costs nothing.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::notes::Notes;
use super::svid::{NotAnSvid, Svid};
use crate::tls::client::certified_key;
use crate::tls::pem::{self, PemError};

const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
const AGENT_CA: &str = "ca.pem";
const SERVER_CA: &str = "server-ca.pem";
const NOTES: &str = "agent.json";
/// Appended to the names of a pair that is not in use yet.
const NEXT: &str = ".next";

/// Largest file of the directory that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How far SVIDs are dated back; tells when one was issued if nothing else does.
const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// A certificate chain and the private key that belongs to it.
pub struct Identity {
    pub svid: Svid,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

/// Where an identity is or will be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityDir {
    dir: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

/// An identity directory that this process alone may write to.
#[derive(Debug)]
pub struct OwnedDir {
    place: IdentityDir,
    /// Held open for its lock, which ends with the process.
    _lock: File,
}

/// What an enrollment or rotation leaves on disk.
#[derive(Debug)]
pub struct NewIdentity<'a> {
    pub key: &'a KeyPair,
    /// PEM, leaf first.
    pub chain: &'a str,
    /// PEM, the roots of the agent CA.
    pub agent_ca: &'a str,
    /// PEM, what vouched for the server, when that is news.
    pub server_ca: Option<&'a str>,
    pub notes: &'a Notes,
}

/// Why the directory can't be used. What to do about it is in [`IdentityError::hint`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cert_file and key_file are not two files of one directory")]
    Scattered,
    #[error("the identity directory {} can't be created", .0.display())]
    Create(PathBuf, #[source] io::Error),
    #[error("the identity directory {} can be written by other users", .0.display())]
    Exposed(PathBuf),
    #[error("another muster agent is using the identity directory {}", .0.display())]
    InUse(PathBuf),
    #[error("{} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{} can't be written", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
    #[error("{} is missing, but {} is there", missing.display(), present.display())]
    Half { missing: PathBuf, present: PathBuf },
    #[error("{} holds no certificate chain", .0.display())]
    NotPem(PathBuf, #[source] PemError),
    #[error("{} holds no agent certificate", .0.display())]
    NotAnSvid(PathBuf, #[source] NotAnSvid),
    #[error("{} holds no private key", .0.display())]
    NotAKey(PathBuf),
    #[error("the key in {} is not that of the certificate beside it", .0.display())]
    Mismatch(PathBuf),
    #[error("no key could be made")]
    KeyGeneration(#[source] rcgen::Error),
}

impl IdentityError {
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Scattered => "put both into one directory that belongs to the agent alone",
            Self::Exposed(_) => {
                "take the right to write from the others (chmod go-w), or choose another directory"
            }
            Self::InUse(_) => {
                "stop that agent first (systemctl stop muster-agent), or choose another directory"
            }
            Self::Create(..) | Self::Unreadable(..) | Self::Unwritable(..) => {
                "check that the directory belongs to the user the agent runs as, and that the disk has room"
            }
            Self::Half { .. }
            | Self::NotPem(..)
            | Self::NotAnSvid(..)
            | Self::NotAKey(_)
            | Self::Mismatch(_) => {
                "restore the pair from a backup, or move the directory aside and enroll again with a join token that names this agent id"
            }
            Self::KeyGeneration(_) => "try again; if it persists, the system's random source is broken",
        }
    }
}

impl Identity {
    /// What TLS presents.
    pub fn certified_key(&self) -> Result<CertifiedKey, rustls::Error> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialized_der().to_vec());
        certified_key(self.chain.clone(), PrivateKeyDer::from(key))
    }

    /// When the certificate was issued, by the server's clock.
    pub fn issued_at(&self, notes: &Notes) -> Timestamp {
        let told = notes.issued_at.filter(|_| notes.serial == Some(self.svid.serial));
        let guess = self.svid.not_before.saturating_add(BACKDATED).unwrap_or(self.svid.not_before);
        told.unwrap_or(guess).clamp(self.svid.not_before, self.svid.not_after)
    }

    fn holds_together(&self) -> bool {
        self.key.subject_public_key_info() == self.svid.public_key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("svid", &self.svid).finish_non_exhaustive()
    }
}

impl IdentityDir {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let dir = dir.into();
        Self { cert: dir.join(CERT), key: dir.join(KEY), dir }
    }

    /// The directory of a certificate and a key file that may have other names than ours.
    pub fn of_files(cert: &Path, key: &Path) -> Result<Self, IdentityError> {
        let dir = match cert.parent() {
            Some(dir) if dir == Path::new("") => Path::new("."),
            Some(dir) => dir,
            None => return Err(IdentityError::Scattered),
        };
        if cert == key || cert.parent() != key.parent() || key.file_name().is_none() {
            return Err(IdentityError::Scattered);
        }
        Ok(Self { dir: dir.to_owned(), cert: cert.to_owned(), key: key.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    pub fn cert(&self) -> &Path {
        &self.cert
    }

    pub fn key(&self) -> &Path {
        &self.key
    }

    pub fn agent_ca(&self) -> PathBuf {
        self.dir.join(AGENT_CA)
    }

    /// What vouches for the server after the first contact.
    pub fn server_ca(&self) -> PathBuf {
        self.dir.join(SERVER_CA)
    }

    pub fn notes(&self) -> Notes {
        let text = read(&self.dir.join(NOTES)).ok().flatten().unwrap_or_default();
        Notes::parse(&text)
    }

    /// The newest complete pair, or `None` where nobody has enrolled. Who reads while an agent exchanges the
    /// two files may see one of each; a second look then finds both.
    pub fn read(&self) -> Result<Option<Identity>, IdentityError> {
        let pair = self.newest_pair().or_else(|_| self.newest_pair())?;
        Ok(pair.map(|(_, identity)| identity))
    }

    fn newest_pair(&self) -> Result<Option<(Pair, Identity)>, IdentityError> {
        for pair in [Pair::Staged, Pair::HalfExchanged] {
            if let Some(identity) = self.complete(pair) {
                return Ok(Some((pair, identity)));
            }
        }
        let half = |missing: &Path, present: &Path| IdentityError::Half {
            missing: missing.to_owned(),
            present: present.to_owned(),
        };
        match (read(&self.cert)?, read(&self.key)?) {
            (None, None) => Ok(None),
            (Some(_), None) => Err(half(&self.key, &self.cert)),
            (None, Some(_)) => Err(half(&self.cert, &self.key)),
            (Some(cert), Some(key)) => {
                let identity = parse_pair((&self.cert, &cert), (&self.key, &key))?;
                Ok(Some((Pair::InUse, identity)))
            }
        }
    }

    /// A pair other than the one in use, if it is whole.
    fn complete(&self, pair: Pair) -> Option<Identity> {
        let (cert, key) = match pair {
            Pair::Staged => (next(&self.cert), next(&self.key)),
            Pair::HalfExchanged => (self.cert.clone(), next(&self.key)),
            Pair::InUse => (self.cert.clone(), self.key.clone()),
        };
        let (cert_text, key_text) = (read(&cert).ok()??, read(&key).ok()??);
        parse_pair((&cert, &cert_text), (&key, &key_text)).ok()
    }

    /// Claims the directory for writing, creates it if need be, and finishes what a crash interrupted.
    pub fn lock(self) -> Result<OwnedDir, IdentityError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|error| IdentityError::Create(self.dir.clone(), error))?;
        let unreadable = |error| IdentityError::Unreadable(self.dir.clone(), error);
        let dir = File::open(&self.dir).map_err(unreadable)?;
        if dir.metadata().map_err(unreadable)?.permissions().mode() & 0o022 != 0 {
            return Err(IdentityError::Exposed(self.dir));
        }
        match dir.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(IdentityError::InUse(self.dir)),
            Err(TryLockError::Error(error)) => return Err(unreadable(error)),
        }
        let owned = OwnedDir { place: self, _lock: dir };
        owned.finish_exchange()?;
        Ok(owned)
    }
}

/// Which two files make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    InUse,
    /// `cert.pem.next` and `key.pem.next`: nothing has been exchanged yet.
    Staged,
    /// `cert.pem` and `key.pem.next`: the certificate has been exchanged, the key has not.
    HalfExchanged,
}

/// One durable change to the directory. A crash falls between two of them.
#[derive(Debug)]
enum Step {
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
        let path = next(&self.place.key);
        let kept = read(&path)?.and_then(|text| parse_key(&text));
        if let Some(key) = kept {
            return Ok((key, true));
        }
        let key = KeyPair::generate().map_err(IdentityError::KeyGeneration)?;
        perform(&Step::Write(path, key_text(&key)))?;
        Ok((key, false))
    }

    /// Forgets the key whose answer was awaited.
    pub fn discard_pending_key(&self) -> Result<(), IdentityError> {
        let path = next(&self.place.key);
        remove(&path).map_err(|error| IdentityError::Unwritable(path, error))
    }

    /// Puts a new identity in place of the one in use.
    pub fn install(&self, new: &NewIdentity<'_>) -> Result<(), IdentityError> {
        self.install_steps(new).iter().try_for_each(perform)
    }

    pub fn write_notes(&self, notes: &Notes) -> Result<(), IdentityError> {
        perform(&self.write_notes_step(notes))
    }

    /// Writes a file for people to edit, unless there is one.
    pub fn write_if_absent(&self, name: &str, text: &str) -> Result<PathBuf, IdentityError> {
        let path = self.place.dir.join(name);
        if !path.exists() {
            perform(&Step::Write(path.clone(), Zeroizing::new(text.as_bytes().to_vec())))?;
        }
        Ok(path)
    }

    fn write_notes_step(&self, notes: &Notes) -> Step {
        Step::Write(self.place.dir.join(NOTES), Zeroizing::new(notes.to_text()))
    }

    /// The certificate is staged last of all files: from then on the new pair counts, whole as it is.
    fn install_steps(&self, new: &NewIdentity<'_>) -> Vec<Step> {
        let place = &self.place;
        let text = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        let mut steps = vec![
            Step::Write(place.agent_ca(), text(new.agent_ca)),
            self.write_notes_step(new.notes),
            Step::Write(next(&place.key), key_text(new.key)),
            Step::Write(next(&place.cert), text(new.chain)),
        ];
        if let Some(server_ca) = new.server_ca {
            steps.insert(0, Step::Write(place.server_ca(), text(server_ca)));
        }
        steps.extend(self.exchange_steps());
        steps
    }

    fn exchange_steps(&self) -> [Step; 2] {
        let rename = |to: &Path| Step::Rename { from: next(to), to: to.to_owned() };
        [rename(&self.place.cert), rename(&self.place.key)]
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
        let place = &self.place;
        let stale = next(&place.cert);
        let files =
            [&place.cert, &place.key, &stale, &next(&place.key), &place.agent_ca(), &place.server_ca()]
                .map(|path| unfinished(path));
        for path in files.into_iter().chain([unfinished(&place.dir.join(NOTES)), stale]) {
            // What stays makes no pair and is overwritten; where nothing can be written, the identity still works.
            let _ = remove(&path);
        }
        Ok(())
    }
}

fn parse_pair(
    (cert, cert_text): (&Path, &[u8]),
    (key, key_text): (&Path, &[u8]),
) -> Result<Identity, IdentityError> {
    let chain =
        pem::certificates(cert_text).map_err(|error| IdentityError::NotPem(cert.to_owned(), error))?;
    let leaf = chain.first().ok_or(IdentityError::NotPem(cert.to_owned(), PemError::NoCertificate))?;
    let svid = Svid::from_der(leaf).map_err(|error| IdentityError::NotAnSvid(cert.to_owned(), error))?;
    let parsed = parse_key(key_text).ok_or_else(|| IdentityError::NotAKey(key.to_owned()))?;
    let identity = Identity { svid, chain, key: parsed };
    if identity.holds_together() { Ok(identity) } else { Err(IdentityError::Mismatch(key.to_owned())) }
}

fn parse_key(text: &[u8]) -> Option<KeyPair> {
    KeyPair::from_pem(std::str::from_utf8(text).ok()?).ok()
}

fn key_text(key: &KeyPair) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(key.serialize_pem().into_bytes())
}

fn next(path: &Path) -> PathBuf {
    with_suffix(path, NEXT)
}

/// The name under which a file is written before it is renamed. One process writes here, so one name is enough,
/// and what a crash leaves behind is found again.
fn unfinished(path: &Path) -> PathBuf {
    with_suffix(path, ".unfinished")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
    let mut text = Zeroizing::new(Vec::new());
    match File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::Unreadable(path.to_owned(), error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn perform(step: &Step) -> Result<(), IdentityError> {
    let (done, path) = match step {
        Step::Write(path, text) => (write(path, text), path),
        Step::Rename { from, to } => (rename(from, to), to),
    };
    done.map_err(|error| IdentityError::Unwritable(path.clone(), error))
}

/// Replaces a file as a whole, readable by its owner only. A symbolic link is replaced, not followed.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(path);
    remove(&unfinished)?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| rename(&unfinished, path));
    if written.is_err() {
        // A full disk is the likely reason; what was written of the file would only make it fuller.
        let _ = remove(&unfinished);
    }
    written
}

/// Renames inside one directory and makes that durable.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let dir = match to.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::agent::test_server::TestCa;

    struct Pairs {
        dir: tempfile::TempDir,
        ca: TestCa,
    }

    impl Pairs {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), ca: TestCa::new() }
        }

        fn place(&self) -> IdentityDir {
            IdentityDir::new(self.dir.path())
        }

        fn issue(&self) -> (KeyPair, String, Notes) {
            let key = KeyPair::generate().unwrap();
            let issued =
                self.ca.issue(&key.subject_public_key_info(), "web-1", SignedDuration::from_hours(24));
            let notes = Notes { serial: Some(issued.serial), ..Notes::default() };
            (key, format!("{}{}", issued.certificate, self.ca.intermediate), notes)
        }
    }

    fn public(key: &KeyPair) -> Vec<u8> {
        key.subject_public_key_info()
    }

    #[test]
    fn a_crash_between_any_two_steps_leaves_a_working_pair() {
        let pairs = Pairs::new();
        let (old_key, old_chain, old_notes) = pairs.issue();
        let (new_key, new_chain, new_notes) = pairs.issue();
        let old = NewIdentity {
            key: &old_key,
            chain: &old_chain,
            agent_ca: "ca",
            server_ca: Some("server"),
            notes: &old_notes,
        };
        let new = NewIdentity { key: &new_key, chain: &new_chain, notes: &new_notes, ..old };
        for enrolled in [false, true] {
            let mut steps_total = 1;
            let mut performed = 0;
            while performed <= steps_total {
                let fresh = tempfile::tempdir().unwrap();
                let place = IdentityDir::new(fresh.path().join("identity"));
                let owned = place.clone().lock().unwrap();
                if enrolled {
                    owned.install(&old).unwrap();
                }
                let steps = owned.install_steps(&new);
                steps_total = steps.len();
                steps.iter().take(performed).try_for_each(perform).unwrap();
                drop(owned);

                let staged = performed >= steps_total - 2;
                let expected =
                    if staged { Some(public(&new_key)) } else { enrolled.then(|| public(&old_key)) };
                let seen = place.read().unwrap().map(|identity| public(&identity.key));
                assert_eq!(seen, expected, "read after {performed} steps");
                let owned = place.clone().lock().unwrap();
                let seen = owned.read().unwrap().map(|identity| public(&identity.key));
                assert_eq!(seen, expected, "recovered after {performed} steps");
                if staged {
                    assert!(!next(place.cert()).exists() && !next(place.key()).exists());
                    assert_eq!(fs::read_to_string(place.cert()).unwrap(), new_chain);
                }
                performed += 1;
            }
        }
    }

    #[test]
    fn leftovers_of_a_crash_are_swept_away() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let new = NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        let owned = pairs.place().lock().unwrap();
        owned.install(&new).unwrap();
        drop(owned);
        fs::write(unfinished(pairs.place().key()), "half").unwrap();
        fs::write(next(pairs.place().cert()), "damaged").unwrap();
        let before = public(&pairs.place().read().unwrap().unwrap().key);
        pairs.place().lock().unwrap();
        assert_eq!(public(&pairs.place().read().unwrap().unwrap().key), before);
        let mut names: Vec<_> =
            fs::read_dir(pairs.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["agent.json", "ca.pem", "cert.pem", "key.pem"]);
    }

    #[test]
    fn the_awaited_key_is_kept_until_it_is_used_or_discarded() {
        let pairs = Pairs::new();
        let owned = pairs.place().lock().unwrap();
        let (first, reused) = owned.pending_key().unwrap();
        assert!(!reused);
        drop(owned);
        let owned = pairs.place().lock().unwrap();
        let (again, reused) = owned.pending_key().unwrap();
        assert!(reused && public(&first) == public(&again));
        assert!(owned.read().unwrap().is_none());
        owned.discard_pending_key().unwrap();
        assert!(public(&owned.pending_key().unwrap().0) != public(&first));
    }

    #[test]
    fn half_an_identity_is_an_error_that_says_what_to_do() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let (other, ..) = pairs.issue();
        let new = NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        let place = pairs.place();
        let check = |damage: &dyn Fn(), says: &str| {
            place.clone().lock().unwrap().install(&new).unwrap();
            damage();
            let error = place.read().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
            assert!(error.hint().contains("enroll again"), "{}", error.hint());
        };
        check(&|| fs::remove_file(place.key()).unwrap(), "key.pem is missing");
        check(&|| fs::remove_file(place.cert()).unwrap(), "cert.pem is missing");
        check(&|| fs::write(place.key(), other.serialize_pem()).unwrap(), "is not that of the certificate");
        check(&|| fs::write(place.key(), "").unwrap(), "holds no private key");
        check(&|| fs::write(place.cert(), "").unwrap(), "holds no certificate chain");
        check(&|| fs::write(place.cert(), &pairs.ca.intermediate).unwrap(), "holds no agent certificate");
    }

    #[test]
    fn files_are_private_and_links_are_replaced() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let new =
            NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: Some("s"), notes: &notes };
        let elsewhere = pairs.dir.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        let place = IdentityDir::new(pairs.dir.path().join("a/b"));
        let owned = place.clone().lock().unwrap();
        symlink(&elsewhere, place.key()).unwrap();
        symlink(&elsewhere, unfinished(place.cert())).unwrap();
        owned.install(&new).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(place.path()), 0o700);
        for path in [place.cert(), place.key(), &place.agent_ca(), &place.server_ca(), &place.dir.join(NOTES)]
        {
            assert!(fs::symlink_metadata(path).unwrap().is_file());
            assert_eq!(mode(path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn one_process_at_a_time_and_no_directory_that_others_write() {
        let pairs = Pairs::new();
        let owned = pairs.place().lock().unwrap();
        assert!(matches!(pairs.place().lock(), Err(IdentityError::InUse(_))));
        drop(owned);
        fs::set_permissions(pairs.dir.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(pairs.place().lock(), Err(IdentityError::Exposed(_))));
    }

    #[test]
    fn a_failed_write_leaves_the_old_pair() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let new = NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        let owned = pairs.place().lock().unwrap();
        owned.install(&new).unwrap();
        let (newer, chain, notes) = pairs.issue();
        // A directory where a staged file should go can't be replaced by it.
        fs::create_dir_all(next(pairs.place().cert()).join("x")).unwrap();
        let new = NewIdentity { key: &newer, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        assert!(matches!(owned.install(&new), Err(IdentityError::Unwritable(..))));
        assert_eq!(public(&owned.read().unwrap().unwrap().key), public(&key));
    }

    #[test]
    fn the_time_of_issue_is_told_or_guessed() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let new = NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        let owned = pairs.place().lock().unwrap();
        owned.install(&new).unwrap();
        let identity = owned.read().unwrap().unwrap();
        let guessed = identity.svid.not_before + BACKDATED;
        assert_eq!(identity.issued_at(&notes), guessed);
        let told = guessed + SignedDuration::from_secs(7);
        let notes = Notes { issued_at: Some(told), ..notes };
        assert_eq!(identity.issued_at(&notes), told);
        let stale = Notes { serial: None, ..notes };
        assert_eq!(identity.issued_at(&stale), guessed);
    }

    #[test]
    fn cert_and_key_share_a_directory() {
        let of = |cert: &str, key: &str| IdentityDir::of_files(Path::new(cert), Path::new(key));
        assert_eq!(of("/a/cert.pem", "/a/key.pem").unwrap(), IdentityDir::new("/a"));
        assert_eq!(of("cert.pem", "key.pem").unwrap().path(), Path::new("."));
        for (cert, key) in [("/a/cert.pem", "/b/key.pem"), ("/a/x", "/a/x"), ("/", "/"), ("a/c", "k")] {
            assert!(of(cert, key).is_err(), "{cert} {key}");
        }
    }
}
