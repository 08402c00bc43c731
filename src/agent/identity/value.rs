//! An agent's identity as it is in memory: key, certificates and what they trust.

use std::path::PathBuf;
use std::{fmt, io};

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::agent::state_file::AgentState;
use crate::agent::svid::{NotAnSvid, Svid};
use crate::pem::file::PemFileError;
use crate::secret_file::SecretFileError;
use crate::tls::client_config::certified_key;

/// How far SVIDs are dated back; tells when one was issued if nothing else does.
pub(crate) const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// A certificate chain and the private key that belongs to it.
pub struct Identity {
    pub svid: Svid,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
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
    pub notes: &'a AgentState,
}

/// Why the directory can't be used. What to do about it is in [`IdentityError::hint`].
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("cert_file and key_file are not two files of one directory")]
    Scattered,
    #[error("the identity directory {} can't be created", .0.display())]
    Create(PathBuf, #[source] io::Error),
    #[error("{} can be written by other users", .0.display())]
    Exposed(PathBuf),
    #[error("the private key is open to others")]
    ExposedKey(#[source] SecretFileError),
    #[error("{} belongs to another user (uid {owner}, and not {expected})", path.display())]
    Foreign { path: PathBuf, owner: u32, expected: u32 },
    #[error("another muster agent is using the identity directory {}", .0.display())]
    InUse(PathBuf),
    #[error("{} can't be read", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    #[error("{} can't be written", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
    #[error("{} is missing, but {} is there", missing.display(), present.display())]
    Half { missing: PathBuf, present: PathBuf },
    #[error("{} holds no certificate chain", .0.display())]
    NotPem(PathBuf, #[source] PemFileError),
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
                "make sure that nobody has changed the files, and take the right to write from the others (chmod go-w), or choose another directory"
            }
            Self::ExposedKey(_) => {
                "take the key from the others as it says; if somebody may have read it meanwhile, revoke this identity and enroll again"
            }
            Self::Foreign { .. } => {
                "run the agent as the user that owns its identity; or make sure that nobody has changed the files, and give them to the user the agent runs as (chown)"
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
    pub fn issued_at(&self, notes: &AgentState) -> Timestamp {
        let told = notes.issued_at.filter(|_| notes.serial == Some(self.svid.serial));
        let guess = self.svid.not_before.saturating_add(BACKDATED).unwrap_or(self.svid.not_before);
        told.unwrap_or(guess).clamp(self.svid.not_before, self.svid.not_after)
    }

    pub(crate) fn holds_together(&self) -> bool {
        self.key.subject_public_key_info() == self.svid.public_key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("svid", &self.svid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::Path;

    use super::*;
    use crate::agent::identity::IdentityDir;
    use crate::agent::identity::owned::perform;
    use crate::agent::identity::place::next;
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

        fn issue(&self) -> (KeyPair, String, AgentState) {
            let key = KeyPair::generate().unwrap();
            let issued =
                self.ca.issue(&key.subject_public_key_info(), "web-1", SignedDuration::from_hours(24));
            let notes = AgentState { serial: Some(issued.serial), ..AgentState::default() };
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
        fs::write(pairs.dir.path().join(".muster-x1"), "half").unwrap();
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
        symlink(&elsewhere, next(place.cert())).unwrap();
        owned.install(&new).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
        let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(place.path()), 0o700);
        for path in [place.cert(), place.key(), &place.agent_ca(), &place.server_ca(), &place.notes_file()] {
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
    fn files_that_another_user_may_have_written_are_refused() {
        let pairs = Pairs::new();
        let (key, chain, notes) = pairs.issue();
        let new =
            NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: Some("ca"), notes: &notes };
        let place = pairs.place();
        place.clone().lock().unwrap().install(&new).unwrap();
        for path in [place.key(), place.cert(), &place.server_ca()] {
            for mode in [0o620, 0o602, 0o666] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
                assert!(matches!(place.read(), Err(IdentityError::Exposed(exposed)) if exposed == *path));
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
            let read = place.read();
            if path == place.key() {
                assert!(matches!(read, Err(IdentityError::ExposedKey(_))), "{read:?}");
            } else {
                assert!(read.unwrap().is_some(), "others may read certificates");
            }
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        // Only root can give files away.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for path in [place.key(), place.cert(), &place.server_ca()] {
            chown(path, Some(4242), None).unwrap();
            let error = place.read().unwrap_err();
            assert!(matches!(error, IdentityError::Foreign { owner: 4242, .. }), "{error}");
            assert!(error.hint().contains("chown"), "{}", error.hint());
            chown(path, Some(0), None).unwrap();
        }
        chown(place.path(), Some(4242), None).unwrap();
        assert!(matches!(place.clone().lock(), Err(IdentityError::Foreign { owner: 4242, .. })));
        assert!(place.read().unwrap().is_some(), "root may look, and may own files of others' directories");
        chown(place.key(), Some(4242), None).unwrap();
        assert!(place.read().unwrap().is_some(), "so may their owner");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let pairs = Pairs::new();
        let pipe = pairs.place().key().to_owned();
        // Made in this process: a child would hold the locks of other tests for a moment.
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(pairs.place().read(), Err(IdentityError::Unreadable(path, _)) if path == pipe));
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
        let notes = AgentState { issued_at: Some(told), ..notes };
        assert_eq!(identity.issued_at(&notes), told);
        let stale = AgentState { serial: None, ..notes };
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
