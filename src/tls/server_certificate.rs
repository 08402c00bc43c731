//! The certificate that the listeners present: read from files, judged before it is used, and replaced
//! while serving when the files change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use jiff::Timestamp;
use parking_lot::RwLock;
use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::enroll::join_lines::KeyPin;
use crate::domain::network::host_port::HostName;
use crate::domain::network::pin::Pin;
use crate::pem;
use crate::pem::file::PemFileError;
use crate::secret_file::{self, SecretFileError, SecretReader};
use crate::shell::quoted;
use crate::tls::pem::{certificates, private_key};
use crate::tls::provider::provider;

/// Largest certificate or key file that is read, in bytes: far above any chain, far below harm.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// How often the files are looked at for changes.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Why a certificate and its key can't be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("{} does not exist; put it back, or name the right file in the configuration", .file.display())]
    Missing { file: PathBuf },
    #[error("{} can't be read; let the user that runs the server read it", .file.display())]
    Unreadable { file: PathBuf, source: io::Error },
    #[error("{} is not a regular file; name a PEM file", .file.display())]
    NotAFile { file: PathBuf },
    #[error("{} is empty; it was perhaps cut short while it was written, so put it there again", .file.display())]
    Empty { file: PathBuf },
    #[error("{} is larger than 1 MiB; name a PEM file with one certificate chain or one key", .file.display())]
    TooLarge { file: PathBuf },
    #[error("{} is not well-formed PEM; {source}", .file.display())]
    BadPem { file: PathBuf, source: PemFileError },
    #[error("{} holds no certificate; put the server's certificate there, its issuers below it", .file.display())]
    NoCertificate { file: PathBuf },
    #[error("{} holds a certificate that can't be understood; have it issued again", .file.display())]
    BadCertificate { file: PathBuf },
    #[error("{} expired at {not_after}; renew the certificate", .file.display())]
    Expired { file: PathBuf, not_after: Timestamp },
    #[error("{} is not valid before {not_before}; set this machine's clock, or wait until then", .file.display())]
    NotYetValid { file: PathBuf, not_before: Timestamp },
    #[error(
        "{} is encrypted; decrypt it first, for example with: openssl pkey -in {} -out {}.clear",
        .file.display(), quoted(.file), quoted(.file)
    )]
    EncryptedKey { file: PathBuf },
    #[error("{} holds no private key; put the certificate's key there, as PKCS#8 or SEC 1 PEM", .file.display())]
    NoKey { file: PathBuf },
    #[error(
        "{} holds a private key that can't be used; have the certificate issued for an ECDSA P-256 key",
        .file.display()
    )]
    UnusableKey { file: PathBuf, source: rustls::Error },
    #[error(
        "the key in {} is not that of the first certificate in {}; name a pair that was issued together, \
         with the server's own certificate first",
        .key_file.display(), .cert_file.display()
    )]
    Mismatch { cert_file: PathBuf, key_file: PathBuf },
    #[error(transparent)]
    Exposed(SecretFileError),
}

/// A chain and its key that passed every check.
pub struct ServerCertificate {
    key: Arc<CertifiedKey>,
    pub facts: ChainFacts,
}

/// What the rest of the product wants to know about a chain.
#[derive(Debug)]
pub struct ChainFacts {
    /// What a client can pin: the SHA-256 of the self-signed CA at the end of the chain, which outlives
    /// renewals, or of a certificate that is presented alone. A chain that ends in somebody else's
    /// intermediate has none: pinning that would bind clients to a choice that its CA may change any day.
    pub pin: Option<Pin>,
    /// The pin of the certificate's own key, which clients such as curl compare whoever signed the certificate.
    pub key_pin: KeyPin,
    /// The self-signed CA certificates presented above the server's own, which a client can keep as its
    /// trust anchors. `None` when the chain ends below a root that clients have from elsewhere.
    pub ca_pem: Option<String>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The DNS names and IP addresses that the certificate is for.
    pub names: Vec<String>,
}

impl ServerCertificate {
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, CertificateError> {
        let chain = read_chain(cert_file)?;
        let facts = ChainFacts::of(&chain)
            .ok_or_else(|| CertificateError::BadCertificate { file: cert_file.to_owned() })?;
        let ChainFacts { not_before, not_after, .. } = facts;
        if now() < not_before {
            return Err(CertificateError::NotYetValid { file: cert_file.to_owned(), not_before });
        }
        if past_not_after(not_after, now()) {
            return Err(CertificateError::Expired { file: cert_file.to_owned(), not_after });
        }
        let key = read_key(key_file)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                CertificateError::Mismatch { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() }
            }
            rustls::Error::InvalidCertificate(_) => {
                CertificateError::BadCertificate { file: cert_file.to_owned() }
            }
            source => CertificateError::UnusableKey { file: key_file.to_owned(), source },
        })?;
        Ok(Self { key: Arc::new(key), facts })
    }

    /// Those of the names that are a host's: a wildcard is none.
    pub fn hosts(&self) -> Vec<HostName> {
        self.facts.names.iter().filter_map(|name| host(name)).collect()
    }

    /// Whether clients that dial this host accept the certificate for it (RFC 9525 6.3: a wildcard stands for the
    /// whole leftmost label and for no other).
    pub fn is_for(&self, wanted: &HostName) -> bool {
        let HostName::Dns(wanted) = wanted else {
            return self.hosts().contains(wanted);
        };
        let above = wanted.split_once('.').map(|(_, above)| above);
        self.facts.names.iter().any(|name| {
            let wildcard = name.strip_prefix("*.").zip(above);
            name.eq_ignore_ascii_case(wanted)
                || wildcard.is_some_and(|(covered, above)| covered.eq_ignore_ascii_case(above))
        })
    }
}

/// A name of a certificate as the name of a host.
fn host(name: &str) -> Option<HostName> {
    match name.parse::<IpAddr>() {
        Ok(address) => Some(HostName::Ip(address.to_canonical())),
        Err(_) => name.to_ascii_lowercase().parse().ok(),
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate").field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// The certificate in use. Handshakes take the current one; [`reload`](Self::reload) replaces it.
#[derive(Debug)]
pub struct LiveCertificate {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: RwLock<Arc<ServerCertificate>>,
}

/// What a [`LiveCertificate::reload`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    Changed,
    Unchanged,
}

impl LiveCertificate {
    pub fn load(cert_file: &Path, key_file: &Path) -> Result<Self, CertificateError> {
        let current = RwLock::new(Arc::new(ServerCertificate::load(cert_file, key_file)?));
        Ok(Self { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), current })
    }

    pub fn current(&self) -> Arc<ServerCertificate> {
        Arc::clone(&self.current.read())
    }

    /// Reads the files again. What is there is used from the next handshake on if it passes every check;
    /// otherwise the certificate in use stays.
    pub fn reload(&self) -> Result<Reload, CertificateError> {
        let found = ServerCertificate::load(&self.cert_file, &self.key_file)?;
        let mut current = self.current.write();
        if found.key.cert == current.key.cert {
            return Ok(Reload::Unchanged);
        }
        *current = Arc::new(found);
        Ok(Reload::Changed)
    }

    /// Reloads when the files change and on SIGHUP, until `shutdown`.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut hangup = signal(SignalKind::hangup())
            .inspect_err(
                |error| tracing::warn!(%error, "can't listen for SIGHUP; changed files are still found"),
            )
            .ok();
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut watch = Watch::default();
        loop {
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                _ = ticks.tick() => false,
                () = next(&mut hangup) => true,
            };
            let live = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                watch.look(&live, asked);
                watch
            });
            // Only a runtime that is shutting down refuses the work.
            let Ok(after) = looked.await else { return };
            watch = after;
        }
    }
}

impl ResolvesServerCert for LiveCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current().key))
    }
}

/// The next signal; never, when there is nothing to wait for.
async fn next(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// What the watching loop remembers between two looks.
#[derive(Debug, Default)]
struct Watch {
    /// The state of the files that has been dealt with.
    settled: Option<Stamp>,
    /// A state of the files that failed once. Two files can't be replaced in one step, so a failure is
    /// reported only when the same state is still there at the next look.
    suspect: Option<Stamp>,
}

impl Watch {
    fn look(&mut self, live: &LiveCertificate, asked: bool) {
        // Taken before reading, so that a change during the reading is seen by the next look.
        let stamp = Stamp::of(live);
        if !asked && self.settled.as_ref() == Some(&stamp) {
            return;
        }
        match live.reload() {
            Ok(Reload::Changed) => {
                let current = live.current();
                let ChainFacts { pin, not_after, .. } = &current.facts;
                let (file, pin) = (live.cert_file.display(), pin.map(|pin| pin.to_string()));
                tracing::info!(%file, pin, %not_after, "server certificate replaced");
            }
            Ok(Reload::Unchanged) if asked => tracing::info!("server certificate is unchanged"),
            Ok(Reload::Unchanged) => {}
            Err(_) if !asked && self.suspect.as_ref() != Some(&stamp) => {
                self.suspect = Some(stamp);
                return;
            }
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the server certificate was not replaced; the one in use stays"
            ),
        }
        self.suspect = None;
        self.settled = Some(stamp);
    }
}

/// What tells one state of the two files from another without reading them.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([Option<[i128; 7]>; 2]);

impl Stamp {
    fn of(live: &LiveCertificate) -> Self {
        Self([&live.cert_file, &live.key_file].map(|file| {
            let meta = fs::metadata(file).ok()?;
            Some([
                meta.dev().into(),
                meta.ino().into(),
                meta.size().into(),
                meta.mtime().into(),
                meta.mtime_nsec().into(),
                // Changes of mode and owner decide about a key too, and show here.
                meta.ctime().into(),
                meta.ctime_nsec().into(),
            ])
        }))
    }
}

impl ChainFacts {
    /// `None` when one of the certificates can't be parsed.
    fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let parsed = chain.iter().map(|der| parse(der)).collect::<Option<Vec<_>>>()?;
        let (leaf, last) = (parsed.first()?, parsed.last()?);
        let own_ca = last.is_ca() && last.issuer().as_raw() == last.subject().as_raw();
        let pinned = chain.last().filter(|_| own_ca || chain.len() == 1);
        let anchors: String = chain
            .iter()
            .zip(&parsed)
            .skip(1)
            .filter(|(_, cert)| cert.is_ca() && cert.issuer().as_raw() == cert.subject().as_raw())
            .map(|(der, _)| pem::certificate(der))
            .collect();
        Some(Self {
            pin: pinned.map(|der| Pin::of(der)),
            // A pin is a SHA-256, of whatever it is.
            key_pin: KeyPin::from_bytes(*Pin::of(leaf.public_key().raw).as_bytes()),
            ca_pem: (!anchors.is_empty()).then_some(anchors),
            not_before: Timestamp::from_second(leaf.validity().not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(leaf.validity().not_after.timestamp()).ok()?,
            names: names(leaf)?,
        })
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Some(cert),
        _ => None,
    }
}

fn names(leaf: &X509Certificate<'_>) -> Option<Vec<String>> {
    let Some(san) = leaf.subject_alternative_name().ok()? else { return Some(Vec::new()) };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|ip| Ipv4Addr::from(ip).to_string()),
            _ => <[u8; 16]>::try_from(*octets).ok().map(|ip| Ipv6Addr::from(ip).to_string()),
        },
        _ => None,
    };
    Some(san.value.general_names.iter().filter_map(name).collect())
}

fn read_chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    certificates(&read(file, |_| Ok(()))?).map_err(|source| match source {
        PemFileError::NoCertificate => CertificateError::NoCertificate { file: file.to_owned() },
        source => CertificateError::BadPem { file: file.to_owned(), source },
    })
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let text = read(file, |metadata| secret_file::check(file, metadata))?;
    private_key(&text).map_err(|source| match source {
        PemFileError::NoKey => CertificateError::NoKey { file: file.to_owned() },
        PemFileError::Encrypted { .. } => CertificateError::EncryptedKey { file: file.to_owned() },
        source => CertificateError::BadPem { file: file.to_owned(), source },
    })
}

/// The content of a file whose access passes `judge`.
fn read(
    file: &Path,
    judge: impl FnOnce(&fs::Metadata) -> Result<(), SecretFileError>,
) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let content =
        SecretReader::named().read_if(file, FILE_BYTES_MAX, judge).map_err(|error| match error {
            SecretFileError::Read { path: file, source } => match source.kind() {
                io::ErrorKind::NotFound => CertificateError::Missing { file },
                _ => CertificateError::Unreadable { file, source },
            },
            SecretFileError::NotAFile { path: file } => CertificateError::NotAFile { file },
            SecretFileError::TooLong { path: file, .. } => CertificateError::TooLarge { file },
            error => CertificateError::Exposed(error),
        })?;
    if content.trim_ascii().is_empty() {
        return Err(CertificateError::Empty { file: file.to_owned() });
    }
    Ok(content)
}

/// The time that handshakes will judge the certificate by.
fn now() -> Timestamp {
    Timestamp::from_second(SystemClock.now().as_second()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::KeyPair;

    use super::*;
    use crate::tls::server_config::https_config;
    use crate::tls::specimens::{ServerFiles, handshake, set_validity};

    fn refusal(files: &ServerFiles) -> CertificateError {
        ServerCertificate::load(&files.cert(), &files.key()).unwrap_err()
    }

    #[test]
    fn the_pin_is_that_of_the_ca_in_the_chain() {
        let files = ServerFiles::new();
        let live = files.live();
        let current = live.current();
        let sha256 = |der: &[u8]| Some(Pin::of(der));
        assert_eq!(current.facts.pin, sha256(files.ca.der()));
        assert_eq!(current.facts.names, ["localhost", "127.0.0.1"]);
        let ca = current.facts.ca_pem.as_ref().unwrap();
        assert_eq!(certificates(ca.as_bytes()).unwrap(), [files.ca.der().clone()]);
        assert!(ca.lines().all(|line| line.len() <= 64));

        let key = KeyPair::generate().unwrap();
        let alone = ServerFiles::params().signed_by(&key, &files.ca).unwrap();
        fs::write(files.cert(), alone.pem()).unwrap();
        files.write_key(&key.serialize_pem(), 0o600);
        let current = ServerCertificate::load(&files.cert(), &files.key()).unwrap();
        assert_eq!(current.facts.pin, sha256(alone.der()));
        assert_eq!(current.facts.ca_pem, None);
    }

    #[test]
    fn a_key_in_sec1_form_is_read_too() {
        let files = ServerFiles::new();
        let key = KeyPair::generate().unwrap();
        let pkcs8 = key.serialize_der();
        // The SEC 1 structure is the content of PKCS#8's last field.
        let start = pkcs8.windows(4).position(|w| w == [0x02, 0x01, 0x01, 0x04]).unwrap() - 2;
        let sec1 = data_encoding::BASE64.encode(&pkcs8[start..]);
        let cert = ServerFiles::params().signed_by(&key, &files.ca).unwrap();
        fs::write(files.cert(), cert.pem()).unwrap();
        files.write_key(&block("EC PRIVATE KEY", &sec1), 0o600);
        ServerCertificate::load(&files.cert(), &files.key()).unwrap();
    }

    /// The refusal of files that were good until they were spoilt.
    fn refused(spoil: impl FnOnce(&ServerFiles)) -> CertificateError {
        let files = ServerFiles::new();
        spoil(&files);
        let error = refusal(&files);
        let text = error.to_string();
        assert!(text.contains("/server."), "names the file: {text}");
        assert!(text.contains(';'), "says what to do: {text}");
        error
    }

    fn block(label: &str, body: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    #[test]
    fn unusable_certificates_are_refused() {
        use CertificateError as E;

        let with = |text: &str| refused(|files| fs::write(files.cert(), text).unwrap());
        assert!(matches!(with(" \n"), E::Empty { .. }));
        assert!(matches!(with("hello"), E::NoCertificate { .. }));
        assert!(matches!(with(&block("CERTIFICATE", "?")), E::BadPem { .. }));
        assert!(matches!(with(&block("CERTIFICATE", "AAAA")), E::BadCertificate { .. }));
        assert!(matches!(with(&"x".repeat(2 << 20)), E::TooLarge { .. }));
        let missing = refused(|files| fs::remove_file(files.cert()).unwrap());
        assert!(matches!(missing, E::Missing { .. }));
        let folder = refused(|files| {
            fs::remove_file(files.cert()).unwrap();
            fs::create_dir(files.cert()).unwrap();
        });
        assert!(matches!(folder, E::NotAFile { .. }));
        let expired = refused(|files| {
            let mut params = ServerFiles::params();
            set_validity(&mut params, -300, -5);
            files.renew_with(&params);
        });
        assert!(matches!(expired, E::Expired { .. }));
        let future = refused(|files| {
            let mut params = ServerFiles::params();
            set_validity(&mut params, 300, 600);
            files.renew_with(&params);
        });
        assert!(matches!(future, E::NotYetValid { .. }) && future.to_string().contains('T'), "{future}");
    }

    #[test]
    fn unusable_keys_are_refused() {
        use CertificateError as E;

        let with = |text: &str| refused(|files| files.write_key(text, 0o600));
        assert!(matches!(with(&block("CERTIFICATE", "AAAA")), E::NoKey { .. }));
        assert!(matches!(with(&block("PRIVATE KEY", "AAAA")), E::UnusableKey { .. }));
        assert!(matches!(with(&block("PRIVATE KEY", "?")), E::BadPem { .. }));
        assert!(matches!(with(&block("ENCRYPTED PRIVATE KEY", "AAAA")), E::EncryptedKey { .. }));
        let old_style = block("EC PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA");
        assert!(matches!(with(&old_style), E::EncryptedKey { .. }));
        let another = KeyPair::generate().unwrap().serialize_pem();
        assert!(matches!(with(&another), E::Mismatch { .. }));
        // Line breaks that a template has turned into two characters.
        let escaped = with(&another.replace('\n', "\\n"));
        let body = another.lines().nth(1).unwrap();
        let said = format!("{escaped} {escaped:?}");
        assert!(said.contains("\\n; put real line breaks") && !said.contains(&body[..8]), "{said}");
        assert!(!said.contains("45, 45"), "{said}");
        let missing = refused(|files| fs::remove_file(files.key()).unwrap());
        assert!(matches!(missing, E::Missing { .. }));
        for mode in [0o604, 0o620, 0o602, 0o610, 0o644] {
            let exposed =
                refused(|files| fs::set_permissions(files.key(), PermissionsExt::from_mode(mode)).unwrap());
            assert!(matches!(exposed, E::Exposed(SecretFileError::Exposed { .. })), "{mode:o}");
        }
    }

    /// Only root can give a file away.
    #[test]
    fn a_key_of_another_user_is_refused() {
        let files = ServerFiles::new();
        if std::os::unix::fs::chown(files.key(), Some(12_345), Some(12_345)).is_ok() {
            assert!(matches!(
                refusal(&files),
                CertificateError::Exposed(SecretFileError::ForeignOwner { owner: 12_345, .. })
            ));
        }
    }

    #[test]
    fn new_files_are_served_and_broken_ones_are_not() {
        let files = ServerFiles::new();
        let live = files.live();
        let server = https_config(Arc::clone(&live));
        let presented = || {
            let (_, client) = handshake(&server, &files.client(None)).unwrap();
            client.peer_certificates().unwrap()[0].clone()
        };
        let first = presented();
        assert_eq!(live.reload().unwrap(), Reload::Unchanged);
        files.renew();
        assert_eq!(presented(), first, "nothing changes before the reload");
        assert_eq!(live.reload().unwrap(), Reload::Changed);
        let second = presented();
        assert_ne!(second, first);
        files.write_key("", 0o600);
        assert!(live.reload().is_err());
        assert_eq!(presented(), second);
    }

    #[test]
    fn a_look_at_the_files_finds_changes_and_remembers_failures() {
        let files = ServerFiles::new();
        let live = files.live();
        let pin = |live: &LiveCertificate| live.current().key.cert[0].clone();
        let first = pin(&live);
        let mut watch = Watch::default();
        watch.look(&live, false);
        assert!(watch.settled.is_some());
        files.renew();
        watch.look(&live, false);
        assert_ne!(pin(&live), first);

        files.write_key("", 0o600);
        watch.look(&live, false);
        assert!(watch.suspect.is_some(), "the other file may be on its way");
        watch.look(&live, false);
        assert!(watch.suspect.is_none() && watch.settled == Some(Stamp::of(&live)), "reported once");
    }

    #[tokio::test]
    async fn changed_files_are_found_while_serving() {
        let files = ServerFiles::new();
        let live = files.live();
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(Arc::clone(&live).watch(shutdown.clone()));
        let first = live.current().key.cert[0].clone();
        files.renew();
        let changed = async {
            while live.current().key.cert[0] == first {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), changed).await.unwrap();
        shutdown.cancel();
        watching.await.unwrap();
    }
}
