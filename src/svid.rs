//! What an X.509-SVID of an agent says, read strictly; who signed it, and whether it is still good, is judged by
//! those who ask: the handshake, the rotation, and the agent that holds it.
//!
//! One reader for all three, because a certificate that means one thing here and another there is how an identity
//! gets forged. It refuses and never cleans up.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::dns_suffix::is_name_of;
use crate::domain::identity::serial::{NotASerial, Serial};
use crate::domain::identity::spiffe::{SpiffeError, SpiffeId};

/// The contents of an agent's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    pub spiffe_id: SpiffeId,
    /// The agent id below its tenant's suffix, for TLS clients that know DNS names only.
    pub dns_name: Option<String>,
    pub serial: Serial,
    pub not_before: Timestamp,
    /// The last second in which it is valid (RFC 5280 4.1.2.5).
    pub not_after: Timestamp,
    /// SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
    /// The issuer's name in DER.
    pub issuer: Vec<u8>,
    /// The issuer's key, as it is identified (RFC 5280 4.2.1.1).
    pub issuer_key_id: Option<Vec<u8>>,
}

/// Why a certificate is no SVID of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnSvid {
    #[error("the certificate can't be read as an X.509 v3 certificate")]
    Damaged,
    #[error("the certificate has an extension that can't be read, or a critical one that is not known")]
    Extension,
    #[error("the certificate is a CA's, or may sign, or does not say that it may not")]
    Signing,
    #[error("the certificate is not for clients")]
    Purpose,
    #[error("the certificate's names are not one SPIFFE id and at most one DNS name of its agent id")]
    Names,
    #[error("the certificate's name is refused: {0}")]
    SpiffeId(#[from] SpiffeError),
    #[error("the certificate's serial is refused: {0}")]
    Serial(#[from] NotASerial),
    #[error("the certificate's times make no sense")]
    Times,
}

impl Svid {
    pub fn from_der(der: &[u8]) -> Result<Self, NotAnSvid> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else { return Err(NotAnSvid::Damaged) };
        // RFC 5280 4.1.1.2: the signed body names the algorithm that signed it.
        let one_algorithm = certificate.signature_algorithm == certificate.tbs_certificate.signature;
        if certificate.version() != X509Version::V3 || !one_algorithm {
            return Err(NotAnSvid::Damaged);
        }
        check_extensions(&certificate)?;
        let (not_before, not_after) = times(&certificate)?;
        let (uri, dns_name) = names(&certificate)?;
        let spiffe_id: SpiffeId = uri.parse()?;
        if dns_name.is_some_and(|name| !is_name_of(name, &spiffe_id)) {
            return Err(NotAnSvid::Names);
        }
        Ok(Self {
            spiffe_id,
            dns_name: dns_name.map(str::to_owned),
            serial: serial(certificate.raw_serial())?,
            not_before,
            not_after,
            public_key: certificate.public_key().raw.to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            issuer_key_id: issuer_key_id(&certificate),
        })
    }

    pub fn spki(&self) -> SpkiHash {
        SpkiHash::of(&self.public_key)
    }
}

/// SPIFFE X509-SVID 4.1 and 4.3: a leaf says that it is no CA, and that its key signs nothing but handshakes.
/// A certificate that says for what it is, is for clients.
fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), NotAnSvid> {
    // Refuses an extension that is there twice.
    certificate.extensions_map().map_err(|_| NotAnSvid::Extension)?;
    let (mut no_ca, mut may_authenticate) = (false, false);
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => no_ca = !constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                may_authenticate = usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign();
            }
            ParsedExtension::ExtendedKeyUsage(usage) if !usage.client_auth => {
                return Err(NotAnSvid::Purpose);
            }
            ParsedExtension::ParseError { .. } => return Err(NotAnSvid::Extension),
            ParsedExtension::UnsupportedExtension { .. } if extension.critical => {
                return Err(NotAnSvid::Extension);
            }
            _ => {}
        }
    }
    if no_ca && may_authenticate { Ok(()) } else { Err(NotAnSvid::Signing) }
}

/// SPIFFE X509-SVID 2: one URI. The one other name that there may be says nothing that the URI does not; a second name of
/// any other kind makes it ambiguous who this is.
fn names<'a>(certificate: &'a X509Certificate<'_>) -> Result<(&'a str, Option<&'a str>), NotAnSvid> {
    let names = certificate.subject_alternative_name().map_err(|_| NotAnSvid::Extension)?;
    match names.map(|names| names.value.general_names.as_slice()) {
        Some([GeneralName::URI(uri)]) => Ok((uri, None)),
        Some([GeneralName::URI(uri), GeneralName::DNSName(name)]) => Ok((uri, Some(name))),
        _ => Err(NotAnSvid::Names),
    }
}

fn issuer_key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0.to_vec()),
        _ => None,
    })
}

fn times(certificate: &X509Certificate<'_>) -> Result<(Timestamp, Timestamp), NotAnSvid> {
    let validity = certificate.validity();
    let time = |seconds: i64| Timestamp::from_second(seconds).map_err(|_| NotAnSvid::Times);
    let (from, until) = (time(validity.not_before.timestamp())?, time(validity.not_after.timestamp())?);
    if from < until { Ok((from, until)) } else { Err(NotAnSvid::Times) }
}

/// One number has one spelling: DER allows no sign octet that is not needed (X.690 8.3.2).
fn serial(content: &[u8]) -> Result<Serial, NotASerial> {
    match content {
        [0, next, ..] if next & 0x80 == 0 => Err(NotASerial),
        _ => Serial::from_der_integer(content),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
        KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::domain::testing::Dice;

    const ID: &str = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";
    const SERIAL: [u8; 16] = [0x01, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7];

    fn params() -> CertificateParams {
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from_slice(&SERIAL));
        params.subject_alt_names = vec![uri(ID)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2026, 11, 21);
        params.not_after = date_time_ymd(2026, 11, 22);
        params
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn extension(oid: &[u64], content: &[u8], critical: bool) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(critical);
        extension
    }

    fn made(spoil: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = params();
        spoil(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    /// The same certificate with other octets in one place.
    fn patched(find: &[u8], replace: &[u8]) -> Vec<u8> {
        let mut der = made(|_| {});
        let at = der.windows(find.len()).position(|window| window == find).unwrap();
        der[at..at + find.len()].copy_from_slice(replace);
        der
    }

    #[test]
    fn what_our_ca_issues_is_read() {
        let key = KeyPair::generate().unwrap();
        let der = params().self_signed(&key).unwrap().der().to_vec();
        let svid = Svid::from_der(&der).unwrap();
        assert_eq!((svid.spiffe_id.to_string().as_str(), svid.serial.as_bytes()), (ID, &SERIAL));
        assert_eq!(svid.not_after - svid.not_before, jiff::Span::new().seconds(86_400).fieldwise());
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(svid.public_key, parsed.public_key().raw);
        assert_eq!(svid.spki(), SpkiHash::of(parsed.public_key().raw));

        // What a server of a later version may add without harm, and the setting for workloads that serve.
        let more = made(|p| {
            p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            p.custom_extensions.push(extension(&[1, 2, 3], &[5, 0], false));
        });
        assert!(Svid::from_der(&more).is_ok());
        assert!(Svid::from_der(&made(|p| p.extended_key_usages.clear())).is_ok());
        let named = made(|p| p.subject_alt_names = vec![uri(ID), dns("web-1.agents.example")]);
        assert_eq!(Svid::from_der(&named).unwrap().dns_name.as_deref(), Some("web-1.agents.example"));
    }

    #[test]
    fn a_certificate_that_breaks_one_rule_is_refused() {
        use KeyUsagePurpose as Usage;
        use NotAnSvid as E;

        let names = |names: Vec<SanType>| made(|p| p.subject_alt_names = names);
        let path = |from: &str, to: &str| names(vec![uri(&ID.replace(from, to))]);
        let usages = |usages: Vec<Usage>| made(|p| p.key_usages = usages);
        let purposes = |purposes| made(|p| p.extended_key_usages = purposes);
        let with = |extensions: Vec<CustomExtension>| made(|p| p.custom_extensions.extend(extensions));
        let second = Duration::from_secs(1);
        let serial = |octets: &[u8]| made(|p| p.serial_number = Some(SerialNumber::from_slice(octets)));
        let malformed = E::SpiffeId(SpiffeError::SpiffeId);
        let address = SanType::IpAddress("10.0.0.1".parse().unwrap());

        for (name, der, expected) in [
            ("nothing", Vec::new(), E::Damaged),
            ("another document", vec![5, 0], E::Damaged),
            ("an octet behind it", [made(|_| {}), vec![0]].concat(), E::Damaged),
            ("an octet short", made(|_| {})[..300].to_vec(), E::Damaged),
            ("version 1", patched(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 0]), E::Damaged),
            ("version 2", patched(&[0xa0, 3, 2, 1, 2], &[0xa0, 3, 2, 1, 1]), E::Damaged),
            // ecdsa-with-SHA256 in the signed body, ecdsa-with-SHA384 outside it comes first here.
            (
                "two algorithms",
                patched(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]),
                E::Damaged,
            ),
            ("two URIs", names(vec![uri(ID), uri("spiffe://muster")]), E::Names),
            ("the same URI twice", names(vec![uri(ID), uri(ID)]), E::Names),
            ("a DNS name without a suffix", names(vec![uri(ID), dns("web-1")]), E::Names),
            ("another agent's DNS name", names(vec![uri(ID), dns("web-2.agents.example")]), E::Names),
            ("a DNS name in capitals", names(vec![uri(ID), dns("WEB-1.agents.example")]), E::Names),
            ("a wildcard", names(vec![uri(ID), dns("*.agents.example")]), E::Names),
            ("a DNS name first", names(vec![dns("web-1.agents.example"), uri(ID)]), E::Names),
            (
                "two DNS names",
                names(vec![uri(ID), dns("web-1.agents.example"), dns("web-1.agents.example")]),
                E::Names,
            ),
            ("a URI and an address", names(vec![uri(ID), address.clone()]), E::Names),
            (
                "a URI and a mail address",
                names(vec![uri(ID), SanType::Rfc822Name("a@b".try_into().unwrap())]),
                E::Names,
            ),
            ("no name", names(vec![]), E::Names),
            ("an address alone", names(vec![address]), E::Names),
            ("a DNS name alone", names(vec![dns("web-1")]), E::Names),
            ("the id as DNS name", names(vec![dns(ID)]), E::Names),
            (
                "the id in the subject alone",
                made(|p| {
                    p.subject_alt_names.clear();
                    p.distinguished_name.push(rcgen::DnType::CommonName, ID);
                }),
                E::Names,
            ),
            ("the trust domain's own id", names(vec![uri("spiffe://muster")]), malformed),
            ("the scheme in capitals", path("spiffe:", "SPIFFE:"), malformed),
            ("another scheme", path("spiffe:", "https:"), malformed),
            ("a trailing slash", path("web-1", "web-1/"), malformed),
            ("an empty segment", path("/agent/", "//agent/"), malformed),
            ("another form", path("/agent/", "/host/"), malformed),
            ("a query", path("web-1", "web-1?x"), malformed),
            ("a fragment", path("web-1", "web-1#x"), malformed),
            ("a percent sign", path("web-1", "web%2d1"), malformed),
            ("a user", path("//muster", "//a@muster"), malformed),
            ("a port", path("//muster", "//muster:1"), malformed),
            ("dots for an agent id", path("web-1", ".."), malformed),
            ("no agent id", path("web-1", ""), malformed),
            ("a long agent id", path("web-1", &"a".repeat(65)), malformed),
            ("a CA", made(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))), E::Signing),
            ("no word on being a CA", made(|p| p.is_ca = IsCa::NoCa), E::Signing),
            ("no key usage", usages(vec![]), E::Signing),
            ("keyCertSign", usages(vec![Usage::DigitalSignature, Usage::KeyCertSign]), E::Signing),
            ("cRLSign", usages(vec![Usage::DigitalSignature, Usage::CrlSign]), E::Signing),
            ("keyAgreement alone", usages(vec![Usage::KeyAgreement]), E::Signing),
            ("for servers alone", purposes(vec![ExtendedKeyUsagePurpose::ServerAuth]), E::Purpose),
            ("for anything", purposes(vec![ExtendedKeyUsagePurpose::Any]), E::Purpose),
            (
                "for nothing",
                made(|p| {
                    p.extended_key_usages.clear();
                    p.custom_extensions.push(extension(&[2, 5, 29, 37], &[0x30, 0], false));
                }),
                E::Purpose,
            ),
            ("an unknown critical extension", with(vec![extension(&[1, 2, 3], &[5, 0], true)]), E::Extension),
            (
                "an unknown extension twice",
                with(vec![extension(&[1, 2, 3], &[5, 0], false); 2]),
                E::Extension,
            ),
            (
                "a second list of names",
                with(vec![extension(&[2, 5, 29, 17], &[0x30, 0], false)]),
                E::Extension,
            ),
            (
                "a second word on being a CA",
                with(vec![extension(&[2, 5, 29, 19], &[0x30, 0], true)]),
                E::Extension,
            ),
            (
                "key usage that can't be read",
                made(|p| {
                    p.key_usages.clear();
                    p.custom_extensions.push(extension(&[2, 5, 29, 15], &[4, 1, 0x80], true));
                }),
                E::Extension,
            ),
            ("expired before it begins", made(|p| p.not_after = p.not_before - second), E::Times),
            ("no time at all", made(|p| p.not_after = p.not_before), E::Times),
            ("17 octets of serial", serial(&[1; 17]), E::Serial(NotASerial)),
            ("20 octets of serial", serial(&[1; 20]), E::Serial(NotASerial)),
            ("21 octets of serial", serial(&[1; 21]), E::Serial(NotASerial)),
            ("serial zero", serial(&[0]), E::Serial(NotASerial)),
            ("a negative serial", patched(&SERIAL, &[0x81; 16]), E::Serial(NotASerial)),
            (
                "a padded serial",
                patched(&SERIAL, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
                E::Serial(NotASerial),
            ),
        ] {
            let error = Svid::from_der(&der).expect_err(name);
            // What exactly the name lacks is the name's own affair.
            let same = std::mem::discriminant(&error) == std::mem::discriminant(&expected);
            assert!(same, "{name}: {error:?} instead of {expected:?}");
        }
    }

    #[test]
    fn no_mutation_of_a_certificate_does_harm() {
        let good = made(|_| {});
        let read = Svid::from_der(&good).unwrap();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                // Whatever is still read is another value of the same kind, never a longer or a shorter one.
                if let Ok(svid) = Svid::from_der(&flipped) {
                    assert_eq!(svid.spiffe_id.to_string().len(), read.spiffe_id.to_string().len());
                }
            }
            assert_eq!(Svid::from_der(&good[..at]), Err(NotAnSvid::Damaged), "cut at {at}");
        }
        // Nobody's signature protects this reader here, so whatever it takes has passed its rules alone.
        let mut dice = Dice::new(20_261_123);
        for _ in 0..20_000 {
            if let Ok(svid) = Svid::from_der(&dice.mutate(&good)) {
                assert!(svid.not_before < svid.not_after, "{svid:?}");
                assert_eq!(svid.spiffe_id.to_string().parse(), Ok(svid.spiffe_id));
            }
        }
    }

    #[test]
    fn serials_have_one_spelling() {
        assert_eq!(serial(&SERIAL), Ok(Serial::from_bytes(SERIAL)));
        let padded = [&[0][..], &SERIAL].concat();
        for bad in [&padded[..], &[0], &[0, 1], &[0x80], &[], &[1; 17]] {
            assert_eq!(serial(bad), Err(NotASerial), "{bad:?}");
        }
    }
}
