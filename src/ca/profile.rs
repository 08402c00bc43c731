//! What each kind of certificate says (RFC 5280; SPIFFE X509-SVID sections 2 to 4).
//!
//! Every profile is built from nothing but the server's own values, so a request can't put anything in.
//! No name constraints: common verifiers refuse every URI name below a URI constraint.

use jiff::{Span, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SerialNumber,
};

use crate::ca::authority::SvidOrder;
use crate::ca::parse::validity::{OutOfRange, Validity};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::TrustDomain;

const ROOT_YEARS: i16 = 10;
const INTERMEDIATE_YEARS: i16 = 1;
const SERVER_CA_YEARS: i16 = 10;
/// The longest that the strictest TLS clients accept from a private CA.
const SERVER_DAYS: i32 = 825;

/// Why a certificate could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error(transparent)]
    Time(#[from] OutOfRange),
    #[error("a name can't be written into a certificate")]
    Name(#[from] rcgen::Error),
}

/// The first agent root: signs intermediates, and nothing below them.
pub(crate) fn root(
    domain: &TrustDomain,
    serial: Serial,
    now: Timestamp,
) -> Result<CertificateParams, ProfileError> {
    root_named("Muster agent root CA".to_owned(), domain, serial, now)
}

/// One that takes its place. Verifiers find an issuer and its list by name, so this name is no other root's.
pub(crate) fn next_root(
    domain: &TrustDomain,
    serial: Serial,
    now: Timestamp,
) -> Result<CertificateParams, ProfileError> {
    root_named(format!("Muster agent root CA {}", short(serial)), domain, serial, now)
}

fn root_named(
    name: String,
    domain: &TrustDomain,
    serial: Serial,
    now: Timestamp,
) -> Result<CertificateParams, ProfileError> {
    let subject = subject(name, domain);
    let validity = Validity::spanning(now, Span::new().years(ROOT_YEARS))?;
    ca(subject, serial, validity, 1)
}

/// The issuing intermediate. Its serial makes its name its own, so that overlapping ones can be told apart.
pub(crate) fn intermediate(
    domain: &TrustDomain,
    serial: Serial,
    now: Timestamp,
    root_not_after: Timestamp,
    crl_url: Option<String>,
) -> Result<CertificateParams, ProfileError> {
    let subject = subject(format!("Muster agent intermediate CA {}", short(serial)), domain);
    let validity = Validity::spanning(now, Span::new().years(INTERMEDIATE_YEARS))?;
    let mut params = ca(subject, serial, validity.until_at_most(root_not_after), 0)?;
    params.subject_alt_names.push(uri(domain.id())?);
    params.crl_distribution_points = distribution_points(crl_url);
    Ok(params)
}

/// An agent's X.509-SVID, `CN=<agent id>,OU=<tenant id>,O=<trust domain>`. Clients only, unless its workloads also serve
/// (X509-SVID 4.4 asks for both).
pub(crate) fn svid(
    order: &SvidOrder,
    validity: Validity,
    crl_url: Option<String>,
) -> Result<CertificateParams, ProfileError> {
    let SvidOrder { id, serial, server_auth, .. } = order;
    let mut subject = DistinguishedName::new();
    // Programs that map a subject to a user tell tenants apart by the second part; the name alone is any tenant's.
    subject.push(DnType::CommonName, id.agent.as_str());
    subject.push(DnType::OrganizationalUnitName, id.tenant.to_string());
    subject.push(DnType::OrganizationName, id.trust_domain.as_str());
    let mut params = leaf(subject, *serial, validity)?;
    params.subject_alt_names.push(uri(id.to_string())?);
    if let Some(name) = &order.dns_name {
        params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name.clone())?));
    }
    params.crl_distribution_points = distribution_points(crl_url);
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    if *server_auth {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(params)
}

/// The quickstart CA of the server's own certificate.
pub(crate) fn server_ca(serial: Serial, now: Timestamp) -> Result<CertificateParams, ProfileError> {
    let subject = common_name(format!("Muster server CA {}", short(serial)));
    let validity = Validity::spanning(now, Span::new().years(SERVER_CA_YEARS))?;
    ca(subject, serial, validity, 0)
}

/// The server's own certificate.
pub(crate) fn server(
    names: Vec<SanType>,
    serial: Serial,
    now: Timestamp,
    ca_not_after: Timestamp,
) -> Result<CertificateParams, ProfileError> {
    let validity = Validity::spanning(now, Span::new().days(SERVER_DAYS))?;
    let mut params =
        leaf(common_name("Muster server".to_owned()), serial, validity.until_at_most(ca_not_after))?;
    params.subject_alt_names = names;
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    Ok(params)
}

fn ca(
    subject: DistinguishedName,
    serial: Serial,
    validity: Validity,
    path_length: u8,
) -> Result<CertificateParams, ProfileError> {
    let mut params = base(subject, serial, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf(
    subject: DistinguishedName,
    serial: Serial,
    validity: Validity,
) -> Result<CertificateParams, ProfileError> {
    let mut params = base(subject, serial, validity)?;
    // Written out even though it is the default: some SPIFFE validators insist on the extension.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn base(
    subject: DistinguishedName,
    serial: Serial,
    validity: Validity,
) -> Result<CertificateParams, ProfileError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.distinguished_name = subject;
    params.use_authority_key_identifier_extension = true;
    validity.write(&mut params)?;
    Ok(params)
}

/// `CN=<name>,O=<trust domain>`, in this order.
fn subject(name: String, domain: &TrustDomain) -> DistinguishedName {
    let mut subject = common_name(name);
    subject.push(DnType::OrganizationName, domain.as_str());
    subject
}

fn common_name(name: String) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// The random end of a serial: enough to tell two CAs apart.
fn short(serial: Serial) -> String {
    let hex = serial.to_string();
    hex.get(24..).unwrap_or_default().to_owned()
}

/// Where the issuer's revocation list is (RFC 5280 4.2.1.13).
fn distribution_points(url: Option<String>) -> Vec<CrlDistributionPoint> {
    url.map(|url| CrlDistributionPoint { uris: vec![url] }).into_iter().collect()
}

fn uri(text: String) -> Result<SanType, rcgen::Error> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}
