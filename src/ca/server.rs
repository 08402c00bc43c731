//! The quickstart CA of the server's own certificate, for those who bring none.
//!
//! Agents pin this CA at first contact, so it stays when the server's certificate is made anew. Its key lies
//! sealed beside it; the server's key is the one key on the disk in the clear.

mod kept;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fmt, io};

use jiff::Timestamp;
pub use kept::{KeptServerFiles, PutBackError};
use rcgen::string::Ia5String;
use rcgen::{Issuer, SanType};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::ca_certificate::{CaCertificate, CaCertificateError};
use super::entropy::{self, NoEntropy};
use super::envelope::{Envelope, EnvelopeError};
use super::issuing_key::IssuingKey;
use super::parse::signed::SignedData;
use super::parse::validity::Validity;
use super::profile::{self, ProfileError};
use crate::domain::network::pin::Pin;
use crate::durable::{self, Held, OWNER_ONLY, WORLD_READABLE};
use crate::pem::{self, PemError};
use crate::secret_file::{SecretFileError, SecretReader};

const CA_FILE: &str = "ca.crt";
const CA_KEY_FILE: &str = "ca.key.age";
const CERTIFICATE_FILE: &str = "server.crt";
const KEY_FILE: &str = "server.key";

/// More than any file of ours here takes.
const FILE_OCTETS_MAX: u64 = 64 * 1024;

/// A name under which clients reach the server: a DNS name, in lower case, or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerName(Name);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Dns(Ia5String),
    Ip(IpAddr),
}

/// The text is neither a DNS name nor an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a DNS name or IP address, such as muster.example.org, 192.0.2.1 or 2001:db8::1")]
pub struct NotAServerName;

impl FromStr for ServerName {
    type Err = NotAServerName;

    fn from_str(text: &str) -> Result<Self, NotAServerName> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self(Name::Ip(address)));
        }
        // The dot of the root, which certificates don't have (RFC 5280 4.2.1.6).
        let text = text.strip_suffix('.').unwrap_or(text);
        let last_is_a_number =
            text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() > 253 || last_is_a_number || !text.split('.').all(is_label) {
            return Err(NotAServerName);
        }
        let name = Ia5String::try_from(text.to_ascii_lowercase()).map_err(|_| NotAServerName)?;
        Ok(Self(Name::Dns(name)))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Dns(name) => f.write_str(name.as_str()),
            Name::Ip(address) => address.fmt(f),
        }
    }
}

/// Letters, digits and hyphens inside (RFC 1123 2.1), and underscores, which private networks use.
fn is_label(label: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// What [`generate`] left in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedServerCertificate {
    pub ca_file: PathBuf,
    /// The certificate with the CA behind it.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// The pin of the CA.
    pub ca_pin: String,
    pub names: Vec<ServerName>,
}

/// Why there is no new server certificate.
#[derive(Debug, thiserror::Error)]
pub enum ServerCaError {
    #[error("a server certificate needs at least one name")]
    NoName,
    #[error("can't make the directory {path}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("can't write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{missing} is missing beside {present}; bring it back from a backup (muster restore --only-tls FILE). A new CA, which \
         no agent trusts that trusts this one, begins where both are moved away"
    )]
    HalfAPair { present: PathBuf, missing: PathBuf },
    #[error("{path} is not one PEM certificate")]
    NotACertificate { path: PathBuf, source: PemError },
    #[error(
        "the key in {path} is not one of ours, a P-256 key in PKCS#8; to have another one made, use --new-key"
    )]
    OtherKey { path: PathBuf },
    #[error(
        "the names in {path} can't be taken over; say which names the new certificate is for with --name"
    )]
    NamesUnclear { path: PathBuf },
    #[error(
        "the server CA in {path} expired, so no agent trusts the server any more; move it and its key away to start a new CA, \
         and give each agent its pin"
    )]
    Expired { path: PathBuf },
    #[error("can't use the server CA in {path}")]
    Ca { path: PathBuf, source: CaCertificateError },
    #[error("can't seal or unseal the server CA's key")]
    Envelope(#[from] EnvelopeError),
    #[error("can't give the certificates serials")]
    Serial(#[from] NoEntropy),
    #[error("can't put the certificates together")]
    Profile(#[from] ProfileError),
    #[error("can't make the keys or sign with them")]
    Key(#[from] rcgen::Error),
}

/// Whether a server certificate gets a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKey {
    /// The key that is there stays, and with it everything that was pinned to it.
    IfNone,
    Always,
}

/// Makes a server certificate for `names` in `directory`, and the CA above it unless it is there.
pub fn generate(
    directory: &Path,
    names: &[ServerName],
    envelope: &Envelope,
    new_key: NewKey,
    now: Timestamp,
) -> Result<GeneratedServerCertificate, ServerCaError> {
    let names = distinct(names);
    if names.is_empty() {
        return Err(ServerCaError::NoName);
    }
    let held = Held::make(directory)
        .map_err(|source| ServerCaError::Directory { path: directory.to_owned(), source })?;
    let ca_file = directory.join(CA_FILE);
    let (ca, issuer) = match stored_ca(&held, envelope)? {
        Some(stored) => stored,
        None => new_ca(&held, envelope, now)?,
    };
    if ca.validity.not_after <= now {
        return Err(ServerCaError::Expired { path: ca_file });
    }

    let key_file = directory.join(KEY_FILE);
    let kept = match new_key {
        NewKey::IfNone => stored_key(&held)?,
        NewKey::Always => None,
    };
    let is_new = kept.is_none();
    let key = kept.map_or_else(IssuingKey::generate, Ok)?;
    let alternative_names = names.iter().map(|name| match &name.0 {
        Name::Dns(name) => SanType::DnsName(name.clone()),
        Name::Ip(address) => SanType::IpAddress(*address),
    });
    let serial = entropy::serial(now)?;
    let params = profile::server(alternative_names.collect(), serial, now, ca.validity.not_after)?;
    let certificate = params.signed_by(&key, &issuer)?;
    let chain = pem::certificate(certificate.der()) + &pem::certificate(&ca.der);
    let certificate_file = directory.join(CERTIFICATE_FILE);
    if is_new {
        let key_pem = Zeroizing::new(pem::encode(pem::PRIVATE_KEY, key.pkcs8()));
        write(&held, KEY_FILE, OWNER_ONLY, key_pem.as_bytes())?;
    }
    write(&held, CERTIFICATE_FILE, WORLD_READABLE, chain.as_bytes())?;
    let ca_pin = Pin::of(&ca.der).to_string();
    Ok(GeneratedServerCertificate { ca_file, certificate_file, key_file, ca_pin, names })
}

/// Makes the certificate of an earlier run anew: of the same CA, for the same key and names. None where it is not of that CA,
/// where there is no such CA, or where another one would last no longer.
pub fn renew(
    directory: &Path,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Option<GeneratedServerCertificate>, ServerCaError> {
    let Some(names) = names_of(directory)? else { return Ok(None) };
    let Some(held) = held_if_there(directory)? else { return Ok(None) };
    let (Some((ca, _)), Some(text)) = (stored_ca(&held, envelope)?, read(&held, CERTIFICATE_FILE)?) else {
        return Ok(None);
    };
    let ends = first_of_ca(&text, &ca);
    if !has_key(directory) || ends.is_none_or(|ends| ends >= ca.validity.not_after) {
        return Ok(None);
    }
    generate(directory, &names, envelope, NewKey::IfNone, now).map(Some)
}

/// The last second of the first certificate of a PEM text, if this CA has signed it.
fn first_of_ca(text: &[u8], ca: &CaCertificate) -> Option<Timestamp> {
    let first = pem::file::certificates(text).ok()?.into_iter().next()?;
    SignedData::read(&first).ok()?.verify(&ca.key).ok()?;
    let (_, certificate) = X509Certificate::from_der(&first).ok()?;
    Some(Validity::read(&certificate).ok()?.not_after)
}

/// Whether an earlier run has left a key in the directory.
pub fn has_key(directory: &Path) -> bool {
    directory.join(KEY_FILE).exists()
}

/// Whether an earlier run has left a CA in the directory, or half of one.
pub fn has_ca(directory: &Path) -> bool {
    [CA_FILE, CA_KEY_FILE].iter().any(|name| directory.join(name).symlink_metadata().is_ok())
}

/// The names in the server certificate of an earlier run; `None` where there is none.
pub fn names_of(directory: &Path) -> Result<Option<Vec<ServerName>>, ServerCaError> {
    let Some(held) = held_if_there(directory)? else { return Ok(None) };
    let Some(text) = read(&held, CERTIFICATE_FILE)? else { return Ok(None) };
    let path = held.shown(CERTIFICATE_FILE);
    let names = names_in(&text).ok_or(ServerCaError::NamesUnclear { path })?;
    Ok(Some(names))
}

/// The names of the first certificate of a PEM text, if every one of them is one that we would put in.
fn names_in(text: &[u8]) -> Option<Vec<ServerName>> {
    let first = pem::file::certificates(text).ok()?.into_iter().next()?;
    let (_, certificate) = X509Certificate::from_der(&first).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => name.parse().ok(),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok().map(Name::Ip).map(ServerName)
        }
        _ => None,
    };
    names.value.general_names.iter().map(name).collect()
}

/// The server's key of an earlier run.
fn stored_key(held: &Held) -> Result<Option<IssuingKey>, ServerCaError> {
    let Some(text) = read(held, KEY_FILE)?.map(Zeroizing::new) else { return Ok(None) };
    let unsuitable = || ServerCaError::OtherKey { path: held.shown(KEY_FILE) };
    let key = pem::file::private_key(&text).map_err(|_| unsuitable())?;
    IssuingKey::read(&key).map(Some).map_err(|_| unsuitable())
}

/// Seals the CA's key, if there is one, so that each of these envelopes opens it.
pub fn reseal(directory: &Path, from: &Envelope, to: &[&Envelope]) -> Result<(), ServerCaError> {
    let Some(held) = held_if_there(directory)? else { return Ok(()) };
    let Some(sealed) = read(&held, CA_KEY_FILE)? else {
        return Ok(());
    };
    write(&held, CA_KEY_FILE, OWNER_ONLY, &Envelope::seal_for(to, &from.unseal(&sealed)?)?)
}

type Ca = (CaCertificate, Issuer<'static, IssuingKey>);

/// The CA of an earlier run, or `None` when there is nothing of one.
fn stored_ca(held: &Held, envelope: &Envelope) -> Result<Option<Ca>, ServerCaError> {
    let (path, key_path) = (held.shown(CA_FILE), held.shown(CA_KEY_FILE));
    let (text, sealed_key) = match (read(held, CA_FILE)?, read(held, CA_KEY_FILE)?) {
        (None, None) => return Ok(None),
        (Some(text), Some(sealed_key)) => (text, sealed_key),
        (Some(_), None) => return Err(ServerCaError::HalfAPair { present: path, missing: key_path }),
        (None, Some(_)) => return Err(ServerCaError::HalfAPair { present: key_path, missing: path }),
    };
    let der = pem::single(&String::from_utf8_lossy(&text), &[pem::CERTIFICATE])
        .map_err(|source| ServerCaError::NotACertificate { path, source })?;
    let key = IssuingKey::from_pkcs8(&envelope.unseal(&sealed_key)?)?;
    usable_ca(held, &der, key).map(Some)
}

fn new_ca(held: &Held, envelope: &Envelope, now: Timestamp) -> Result<Ca, ServerCaError> {
    let key = IssuingKey::generate()?;
    let certificate = profile::server_ca(entropy::serial(now)?, now)?.self_signed(&key)?;
    write(held, CA_KEY_FILE, OWNER_ONLY, &envelope.seal(key.pkcs8())?)?;
    write(held, CA_FILE, WORLD_READABLE, pem::certificate(certificate.der()).as_bytes())?;
    usable_ca(held, certificate.der(), key)
}

fn usable_ca(held: &Held, der: &[u8], key: IssuingKey) -> Result<Ca, ServerCaError> {
    let unusable = |source| ServerCaError::Ca { path: held.shown(CA_FILE), source };
    let ca = CaCertificate::read(der).map_err(unusable)?;
    let issuer = ca.issuer(key).map_err(unusable)?;
    Ok((ca, issuer))
}

fn distinct(names: &[ServerName]) -> Vec<ServerName> {
    let mut distinct: Vec<ServerName> = Vec::new();
    for name in names {
        if !distinct.contains(name) {
            distinct.push(name.clone());
        }
    }
    distinct
}

fn held_if_there(directory: &Path) -> Result<Option<Held>, ServerCaError> {
    match Held::open(directory) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ServerCaError::Directory { path: directory.to_owned(), source }),
    }
}

fn read(held: &Held, name: &str) -> Result<Option<Vec<u8>>, ServerCaError> {
    match SecretReader::inside().read_if(&held.file(name), FILE_OCTETS_MAX, |_| Ok::<_, SecretFileError>(()))
    {
        Ok(content) => Ok(Some(content.to_vec())),
        Err(SecretFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let source = match error {
                SecretFileError::Read { source, .. } => source,
                unfit => io::Error::new(io::ErrorKind::InvalidData, unfit.to_string()),
            };
            Err(ServerCaError::Read { path: held.shown(name), source })
        }
    }
}

fn write(held: &Held, name: &str, mode: u32, content: &[u8]) -> Result<(), ServerCaError> {
    durable::replace(&held.file(name), mode, content)
        .map_err(|source| ServerCaError::Write { path: held.shown(name), source })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use jiff::SignedDuration;

    use super::*;
    use crate::ca::testing::{envelope, now, openssl};

    fn names(texts: &[&str]) -> Vec<ServerName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn server_names() {
        for (text, shown) in [
            ("localhost", "localhost"),
            ("Muster.Example.ORG", "muster.example.org"),
            ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
            ("muster_server", "muster_server"),
            (" muster.example. ", "muster.example"),
            ("4you.example", "4you.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(text.parse::<ServerName>().map(|name| name.to_string()), Ok(shown.to_owned()));
        }
        let label = "a".repeat(64);
        let long = "a.".repeat(127) + "a";
        for bad in [
            "",
            ".",
            "a..",
            ".a",
            "a..b",
            "-a",
            "a-",
            "*.example",
            "a b",
            "a:8443",
            "https://a",
            "münchen.example",
            "1.2.3",
            "256.1.1.1",
            "[::1]",
            "a/b",
            "a\0",
            &label,
            &long,
        ] {
            assert_eq!(bad.parse::<ServerName>(), Err(NotAServerName), "{bad:?}");
        }
    }

    #[test]
    fn what_gen_cert_made_is_renewed_and_nothing_else() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().join("tls");
        let envelope = envelope();
        let later = |days: i64| now() + SignedDuration::from_hours(24 * days);
        assert_eq!(renew(&directory, &envelope, now()).unwrap(), None, "there is none");
        let named = names(&["muster.example", "192.0.2.1"]);
        let made = generate(&directory, &named, &envelope, NewKey::IfNone, now()).unwrap();
        let key = fs::read(directory.join(KEY_FILE)).unwrap();
        let renewed = renew(&directory, &envelope, later(600)).unwrap().unwrap();
        assert_eq!(renewed, made, "the same CA, the same names");
        assert_eq!(fs::read(directory.join(KEY_FILE)).unwrap(), key);
        // One that ends with its CA would be no younger.
        renew(&directory, &envelope, later(3640)).unwrap().unwrap();
        assert_eq!(renew(&directory, &envelope, later(3645)).unwrap(), None);
        // Somebody else's certificate in its place stays.
        let other = data_dir.path().join("other");
        generate(&other, &named, &envelope, NewKey::IfNone, now()).unwrap();
        fs::copy(other.join(CERTIFICATE_FILE), directory.join(CERTIFICATE_FILE)).unwrap();
        assert_eq!(renew(&directory, &envelope, later(600)).unwrap(), None);
        let wrong = crate::ca::testing::envelope();
        assert!(renew(&other, &wrong, later(600)).is_err(), "not without the envelope");
    }

    #[test]
    fn a_second_run_keeps_the_ca() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().join("tls");
        let envelope = envelope();
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap();

        let first =
            generate(&directory, &names(&["localhost", "127.0.0.1"]), &envelope, NewKey::IfNone, now())
                .unwrap();
        assert_eq!(names_of(&directory).unwrap(), Some(names(&["localhost", "127.0.0.1"])));
        assert_eq!((mode("."), mode("ca.crt"), mode("server.crt")), (0o700, 0o644, 0o644));
        assert_eq!((mode("server.key"), mode("ca.key.age")), (0o600, 0o600));
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);
        assert!(fs::read(directory.join("ca.key.age")).unwrap().starts_with(b"age-encryption.org/v1\n"));
        let (ca, server, key) = (read("ca.crt"), read("server.crt"), read("server.key"));
        assert!(server.ends_with(&ca) && server.matches("BEGIN CERTIFICATE").count() == 2);
        let ca_der = pem::single(&ca, &[pem::CERTIFICATE]).unwrap();
        assert_eq!(first.ca_pin, Pin::of(&ca_der).to_string());

        let later = now() + SignedDuration::from_hours(24);
        let second =
            generate(&directory, &names(&["a.example", "A.example"]), &envelope, NewKey::IfNone, later)
                .unwrap();
        assert_eq!(second.ca_pin, first.ca_pin);
        assert_eq!(second.names, names(&["a.example"]));
        assert_eq!(read("ca.crt"), ca);
        assert_ne!(read("server.crt"), server);
        assert_eq!(read("server.key"), key, "what was pinned to the key stays good");
        let other = generate(&directory, &names(&["a.example"]), &envelope, NewKey::Always, later).unwrap();
        assert_eq!(other.ca_pin, first.ca_pin);
        assert_ne!(read("server.key"), key);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 4);

        fs::write(directory.join("server.key"), "nonsense").unwrap();
        let kept = generate(&directory, &names(&["a.example"]), &envelope, NewKey::IfNone, later);
        assert!(matches!(kept, Err(ServerCaError::OtherKey { .. })));
    }

    #[test]
    fn clients_accept_the_certificate() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().join("tls");
        let names = names(&["control.example", "192.0.2.7", "2001:db8::1"]);
        generate(&directory, &names, &envelope(), NewKey::IfNone, now()).unwrap();
        let at = now().as_second().to_string();
        let verify = |more: &[&str]| {
            let options = ["verify", "-x509_strict", "-attime", &at, "-CAfile", "ca.crt"];
            openssl(&directory, &[&options[..], more, &["server.crt"]].concat())
        };
        for (options, accepted) in [
            (&["-purpose", "sslserver", "-verify_hostname", "control.example"][..], true),
            (&["-purpose", "sslserver", "-verify_ip", "192.0.2.7"], true),
            (&["-purpose", "sslserver", "-verify_ip", "2001:db8::1"], true),
            (&["-purpose", "sslserver", "-verify_hostname", "other.example"], false),
            (&["-purpose", "sslclient"], false),
        ] {
            let Some((verified, said)) = verify(options) else { return };
            assert_eq!(verified, accepted, "{options:?}: {said}");
        }
        let (_, text) = openssl(&directory, &["x509", "-in", "server.crt", "-noout", "-text"]).unwrap();
        assert!(text.contains("Not After : Feb 23 09:54:59 2029 GMT"), "{text}");
        let (_, of_key) = openssl(&directory, &["pkey", "-in", "server.key", "-pubout"]).unwrap();
        let (_, of_certificate) =
            openssl(&directory, &["x509", "-in", "server.crt", "-noout", "-pubkey"]).unwrap();
        assert_eq!(of_key, of_certificate);
    }

    #[test]
    fn what_is_there_is_never_overwritten_by_half() {
        let data_dir = tempfile::tempdir().unwrap();
        let directory = data_dir.path().join("tls");
        let name = names(&["localhost"]);
        let sealing = envelope();
        let run = |envelope: &Envelope, at| generate(&directory, &name, envelope, NewKey::IfNone, at);
        assert!(matches!(
            generate(&directory, &[], &sealing, NewKey::IfNone, now()),
            Err(ServerCaError::NoName)
        ));
        assert!(!directory.exists());
        run(&sealing, now()).unwrap();
        let before = fs::read(directory.join("server.crt")).unwrap();

        assert!(matches!(
            run(&envelope(), now()),
            Err(ServerCaError::Envelope(EnvelopeError::OtherEnvelope))
        ));
        let after_the_ca = now() + SignedDuration::from_hours(24 * 366 * 10);
        assert!(matches!(run(&sealing, after_the_ca), Err(ServerCaError::Expired { .. })));
        let (ca, key) = (directory.join(CA_FILE), directory.join(CA_KEY_FILE));
        for (gone, kept) in [(&ca, &key), (&key, &ca)] {
            let aside = data_dir.path().join("aside");
            fs::rename(gone, &aside).unwrap();
            let error = run(&sealing, now()).unwrap_err();
            assert!(matches!(&error, ServerCaError::HalfAPair { present, .. } if present == kept), "{error}");
            fs::rename(&aside, gone).unwrap();
        }
        let text = fs::read(&ca).unwrap();
        fs::write(&ca, "nonsense").unwrap();
        assert!(matches!(run(&sealing, now()), Err(ServerCaError::NotACertificate { .. })));
        let other_dir = data_dir.path().join("other");
        generate(&other_dir, &name, &sealing, NewKey::IfNone, now()).unwrap();
        fs::copy(other_dir.join(CA_FILE), &ca).unwrap();
        let error = run(&sealing, now()).unwrap_err();
        assert!(matches!(error, ServerCaError::Ca { source: CaCertificateError::OtherKey, .. }), "{error}");
        fs::write(&ca, text).unwrap();
        assert_eq!(fs::read(directory.join("server.crt")).unwrap(), before);
        run(&sealing, now()).unwrap();

        let nowhere = data_dir.path().join("no/such/tls");
        assert!(matches!(
            generate(&nowhere, &name, &sealing, NewKey::IfNone, now()),
            Err(ServerCaError::Directory { .. })
        ));
    }
}
