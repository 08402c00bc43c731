//! Doors for the fuzz targets in `fuzz/`, compiled for them alone (`--cfg fuzzing`): each reads hostile input as the product
//! does, and holds what was accepted to what acceptance promises.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::Timestamp;

use crate::agent::config::AgentConfig;
use crate::agent::trust::fuzzing::{follow_updates, read_kept};
use crate::agent::workload::fix_authority;
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::ca::hierarchy;
use crate::ca::parse::csr::VerifiedCsr;
use crate::ca::parse::presented::{ChainError, PresentedChain, ReadHierarchy};
use crate::config::{Config, Overrides};
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::pem;
use crate::store::fuzzing::{read_change_frame, read_journal_line, read_record};
use crate::svid::Svid;
use crate::vouch::certificate_header::CertificateHeader;
use crate::vouch::issuers::Issuers;
use crate::vouch::presented;

/// A certificate signing request, DER. One that is accepted is its own only encoding.
pub fn csr(data: &[u8]) {
    if let Ok(csr) = VerifiedCsr::from_pem(&pem::encode("CERTIFICATE REQUEST", data)) {
        assert_eq!(csr.der(), data);
        assert!(!csr.spki_der().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = VerifiedCsr::from_pem(text);
    }
}

/// An agent's certificate, DER.
pub fn svid(data: &[u8]) {
    if let Ok(svid) = Svid::from_der(data) {
        let name = svid.spiffe_id.to_string();
        assert_eq!(name.parse(), Ok(svid.spiffe_id));
    }
}

static AGENT_CA: LazyLock<Hierarchy> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("muster-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the temporary directory can be written to");
    let settings = EnvelopeSettings { data_dir: directory.clone(), ..EnvelopeSettings::default() };
    let (envelope, _): (Envelope, _) =
        Envelope::find_or_create(&settings, Timestamp::UNIX_EPOCH).expect("an envelope can be made");
    let made = hierarchy::init(&"muster".parse().expect("a trust domain"), &envelope, None, now());
    let _ = std::fs::remove_dir_all(&directory);
    made.expect("a CA can be made").hierarchy
});

fn now() -> Timestamp {
    Timestamp::from_second(1_795_000_000).expect("within range")
}

/// As of one of whom nothing is on record.
fn nothing_on_record(_: Serial) -> Result<Option<Vec<u8>>, ChainError> {
    Ok(None)
}

/// The chain that a rotation shows: whatever stands for the leaf, before an intermediate that is known. Nobody but the CA
/// can have signed a leaf that is accepted.
pub fn chain(data: &[u8]) {
    let intermediate = pem::certificate(&AGENT_CA.intermediates[0].certificate);
    let text = format!("{}{intermediate}", pem::certificate(data));
    static READ: LazyLock<ReadHierarchy> = LazyLock::new(|| AGENT_CA.clone().into());
    assert!(PresentedChain::verify(&text, &READ, now(), nothing_on_record).is_err());
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(PresentedChain::verify(text, &READ, now(), nothing_on_record).is_err());
    }
}

/// PEM, over the wire and from files.
pub fn pem(data: &[u8]) {
    let _ = pem::file::private_key(data);
    for certificate in pem::file::certificates(data).unwrap_or_default() {
        assert!(pem::file::certificates(pem::certificate(&certificate).as_bytes()).is_ok());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(content) = pem::single(text, &[pem::CERTIFICATE]) {
        assert_eq!(pem::single(&pem::certificate(&content), &[pem::CERTIFICATE]), Ok(content));
    }
    let _ = pem::sequence(text, pem::CERTIFICATE, 4);
}

/// A join link. One that is accepted says the same when it is written again.
pub fn join_link(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(link) = text.parse::<JoinLink>() {
        let again = link.reveal();
        let read: JoinLink = again.parse().expect("what was written can be read");
        assert_eq!(*read.reveal(), *again);
    }
}

/// A line of the revocation journal, as it lies on disk and with its checksum made right.
pub fn journal_line(data: &[u8]) {
    read_journal_line(data);
}

/// A record of the store; the first octet says of which table.
pub fn record(data: &[u8]) {
    read_record(data);
}

/// A frame of the change log, as it lies on disk and as a body whose digest fits.
pub fn change_frame(data: &[u8]) {
    read_change_frame(data);
}

/// The settings of the server and of the agent.
pub fn settings(data: &[u8]) {
    static FILE: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::temp_dir().join(format!("muster-fuzz-{}.yml", std::process::id())));
    let nothing = |_: &str| None;
    let written = std::fs::File::create(&*FILE).and_then(|mut file| file.write_all(data));
    written.expect("the temporary directory can be written to");
    let _ = Config::load(Some(&FILE), Overrides::default(), &nothing, Ipv4Addr::LOCALHOST);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = AgentConfig::parse(Path::new("agent.yml"), text, &nothing);
    }
}

/// Headers of a proxy's question, one a line: the first octet says which of the four, of the first line which one is named. One
/// that counts stands alone, what is read of it is the same when it is written again, and nobody but the CA can have signed a
/// certificate that is vouched for.
pub fn certificate_header(data: &[u8]) {
    static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| {
        let intermediates = AGENT_CA.intermediates.iter().map(|it| &it.certificate);
        Issuers::new(AGENT_CA.trust_domain.clone(), intermediates)
    });
    let all = CertificateHeader::ALL;
    let of = |octet: u8| all[usize::from(octet) % all.len()];
    let Some((named, lines)) = data.split_first() else { return };
    let headers: Vec<_> = lines
        .split(|octet| *octet == b'\n')
        .filter_map(|line| line.split_first())
        .map(|(header, value)| (of(*header), value))
        .collect();
    let values = |name: &'static str| {
        headers.iter().filter(move |(header, _)| header.as_str() == name).map(|(_, value)| *value)
    };
    if let Ok(text) = of(*named).value(values) {
        assert_eq!(headers, [(of(*named), text.as_bytes())]);
        shown(text, &ISSUERS);
    }
    if let Ok(text) = std::str::from_utf8(lines) {
        shown(text, &ISSUERS);
    }
}

fn shown(text: &str, issuers: &Issuers) {
    assert!(issuers.verify(text, now()).is_err());
    if let Ok(certificate) = presented::read(text) {
        let all = std::iter::once(&certificate.leaf).chain(&certificate.above);
        let again: String = all.map(|der| pem::certificate(der)).collect();
        assert_eq!(presented::read(&again), Ok(certificate));
    }
}

/// Trust updates, as an agent hears them.
pub fn trust_updates(data: &[u8]) {
    follow_updates(data);
}

/// The last trust update, as it lies on an agent's disk.
pub fn trust_file(data: &[u8]) {
    read_kept(data);
}

/// HTTP/2 as it arrives at the Workload API, in pieces whose size the first octet gives: every octet gets through, and none
/// is added.
pub fn http2_frames(data: &[u8]) {
    let Some((size, stream)) = data.split_first() else { return };
    let passed = fix_authority(stream.chunks(usize::from(*size).max(1)));
    assert_eq!(passed.len(), stream.len());
}
