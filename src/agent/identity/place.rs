//! Where an identity is kept, and how the newest whole pair is found there.

use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use tracing::warn;
use zeroize::Zeroizing;

use super::files::{read, read_key, read_up_to};
use super::{Identity, IdentityError};
use crate::agent::state_file::AgentState;
use crate::error_chain::chain;
use crate::pem::file::PemFileError;
use crate::svid::Svid;
use crate::tls::pem::{certificates, private_key};

const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";
const AGENT_CA: &str = "ca.pem";
const SERVER_CA: &str = "server-ca.pem";
const NOTES: &str = "agent.json";
const TRUST: &str = "trust.bin";
const TRUST_NOTES: &str = "trust.json";
/// Largest trust update that is read, in bytes: with all that an agent holds it is smaller.
const TRUST_BYTES_MAX: u64 = 160 << 20;
/// Appended to the names of a pair that is not in use yet.
const NEXT: &str = ".next";

/// Where an identity is or will be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityDir {
    dir: PathBuf,
    cert: PathBuf,
    key: PathBuf,
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

    pub(crate) fn notes_file(&self) -> PathBuf {
        self.dir.join(NOTES)
    }

    /// Another file of the directory, if nobody but its owner can have written it; `None` where there is none.
    pub(crate) fn read_beside(
        &self,
        path: &Path,
    ) -> Result<Option<zeroize::Zeroizing<Vec<u8>>>, IdentityError> {
        read(path)
    }

    /// The last trust update.
    pub(crate) fn trust_file(&self) -> PathBuf {
        self.dir.join(TRUST)
    }

    /// How trust updates stand, for `agent status`.
    pub(crate) fn trust_notes_file(&self) -> PathBuf {
        self.dir.join(TRUST_NOTES)
    }

    pub(crate) fn read_trust_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>, IdentityError> {
        read_up_to(&self.trust_file(), TRUST_BYTES_MAX)
    }

    pub fn notes(&self) -> AgentState {
        let text = read(&self.notes_file()).unwrap_or_else(|error| {
            let hint = error.hint();
            warn!(error = %chain(&error), hint, "what the agent had noted is not used");
            None
        });
        AgentState::parse(&text.unwrap_or_default())
    }

    /// The newest complete pair, or `None` where nobody has enrolled. Who reads while an agent exchanges the
    /// two files may see one of each; a second look then finds both.
    pub fn read(&self) -> Result<Option<Identity>, IdentityError> {
        let pair = self.newest_pair().or_else(|_| self.newest_pair())?;
        Ok(pair.map(|(_, identity)| identity))
    }

    pub(crate) fn newest_pair(&self) -> Result<Option<(Pair, Identity)>, IdentityError> {
        // Whoever can replace what vouches for the server can pass for it.
        read(&self.server_ca())?;
        for pair in [Pair::Staged, Pair::HalfExchanged] {
            if let Some(identity) = self.complete(pair) {
                return Ok(Some((pair, identity)));
            }
        }
        let half = |missing: &Path, present: &Path| IdentityError::Half {
            missing: missing.to_owned(),
            present: present.to_owned(),
        };
        match (read(&self.cert)?, read_key(&self.key)?) {
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
        let (cert_text, key_text) = (read(&cert).ok()??, read_key(&key).ok()??);
        parse_pair((&cert, &cert_text), (&key, &key_text)).ok()
    }
}

/// Which two files make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    InUse,
    /// `cert.pem.next` and `key.pem.next`: nothing has been exchanged yet.
    Staged,
    /// `cert.pem` and `key.pem.next`: the certificate has been exchanged, the key has not.
    HalfExchanged,
}

fn parse_pair(
    (cert, cert_text): (&Path, &[u8]),
    (key, key_text): (&Path, &[u8]),
) -> Result<Identity, IdentityError> {
    let chain = certificates(cert_text).map_err(|error| IdentityError::NotPem(cert.to_owned(), error))?;
    let leaf = chain.first().ok_or(IdentityError::NotPem(cert.to_owned(), PemFileError::NoCertificate))?;
    let svid = Svid::from_der(leaf).map_err(|error| IdentityError::NotAnSvid(cert.to_owned(), error))?;
    let parsed = parse_key(key_text).ok_or_else(|| IdentityError::NotAKey(key.to_owned()))?;
    let identity = Identity { svid, chain, key: parsed };
    if identity.holds_together() { Ok(identity) } else { Err(IdentityError::Mismatch(key.to_owned())) }
}

pub(crate) fn parse_key(text: &[u8]) -> Option<KeyPair> {
    let key = private_key(text).ok()?;
    if matches!(key, PrivateKeyDer::Pkcs1(_)) { None } else { KeyPair::try_from(&key).ok() }
}

pub(crate) fn next(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(NEXT);
    name.into()
}
