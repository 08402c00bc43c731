//! The last look at an SVID before it is handed out: read back and held against its profile.
//!
//! It shares no code with what wrote the certificate, so a fault there ends in a refusal and not in the field. A signature
//! is verified now and then: that takes longer than everything else together, and an agent verifies each one before it
//! keeps a certificate, so a bit that flipped while signing costs one rotation that is tried again.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    CRLDistributionPoint, CRLDistributionPoints, DistributionPointName, ExtendedKeyUsage, GeneralName,
    ParsedExtension,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{X509Name, X509Version};

use crate::ca::ca_certificate::CaCertificate;
use crate::ca::parse::signed::SignedData;
use crate::ca::parse::validity::Validity;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;

/// What the certificate must say.
#[derive(Debug)]
pub(crate) struct ExpectedProfile<'a> {
    pub id: &'a SpiffeId,
    pub serial: Serial,
    pub validity: Validity,
    pub spki: &'a [u8],
    pub server_auth: bool,
    pub dns_name: Option<&'a str>,
    /// Where its issuer's revocation list is.
    pub crl_url: Option<&'a str>,
    pub issuer: &'a CaCertificate,
    /// Whether the signature is one of those that are verified.
    pub verified: bool,
}

/// The part of a certificate that is not as its profile asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its {0} is not as the profile asks")]
pub struct OutOfProfile(pub &'static str);

/// The number of extensions that an SVID has, without a CRL distribution point.
const EXTENSIONS: usize = 6;

pub(crate) fn svid(der: &[u8], expected: &ExpectedProfile<'_>) -> Result<(), OutOfProfile> {
    let signed = SignedData::read(der).map_err(|_| OutOfProfile("encoding"))?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| OutOfProfile("encoding"))?;
    let same_algorithm = certificate.signature_algorithm == certificate.tbs_certificate.signature;
    let validity = Validity::read(&certificate).map_err(|_| OutOfProfile("validity"))?;
    let extensions_are_distinct = certificate.extensions_map().is_ok();
    let extensions = EXTENSIONS + usize::from(expected.crl_url.is_some());
    for (part, holds) in [
        ("signature algorithm", same_algorithm),
        ("signature", !expected.verified || signed.verify(&expected.issuer.key).is_ok()),
        ("version", certificate.version() == X509Version::V3),
        ("serial", Serial::from_der_integer(certificate.raw_serial()) == Ok(expected.serial)),
        ("issuer", certificate.issuer().as_raw() == expected.issuer.name),
        ("validity", validity == expected.validity && validity.not_before <= validity.not_after),
        ("subject", names(certificate.subject(), expected.id)),
        ("public key", certificate.public_key().raw == expected.spki),
        ("set of extensions", certificate.extensions().len() == extensions && extensions_are_distinct),
    ] {
        if !holds {
            return Err(OutOfProfile(part));
        }
    }
    for extension in certificate.extensions() {
        check_extension(extension.parsed_extension(), extension.critical, expected)?;
    }
    Ok(())
}

fn check_extension(
    extension: &ParsedExtension<'_>,
    critical: bool,
    expected: &ExpectedProfile<'_>,
) -> Result<(), OutOfProfile> {
    let (part, holds) = match extension {
        ParsedExtension::SubjectAlternativeName(names) => (
            "subject alternative name",
            !critical
                && match (&names.general_names[..], expected.dns_name) {
                    ([GeneralName::URI(uri)], None) => *uri == expected.id.to_string(),
                    ([GeneralName::URI(uri), GeneralName::DNSName(name)], Some(expected_name)) => {
                        *uri == expected.id.to_string() && *name == expected_name
                    }
                    _ => false,
                },
        ),
        ParsedExtension::CRLDistributionPoints(points) => (
            "CRL distribution point",
            !critical && expected.crl_url.is_some_and(|url| is_sole_point(points, url)),
        ),
        ParsedExtension::BasicConstraints(basic) => {
            ("basic constraints", critical && !basic.ca && basic.path_len_constraint.is_none())
        }
        ParsedExtension::KeyUsage(usage) => ("key usage", critical && usage.flags == 1),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            ("extended key usage", !critical && *usage == extended_key_usage(expected.server_auth))
        }
        ParsedExtension::SubjectKeyIdentifier(identifier) => {
            ("subject key identifier", !critical && !identifier.0.is_empty())
        }
        ParsedExtension::AuthorityKeyIdentifier(authority) => (
            "authority key identifier",
            !critical
                && authority.key_identifier.as_ref().map(|identifier| identifier.0)
                    == Some(&expected.issuer.key_identifier[..])
                && authority.authority_cert_issuer.is_none()
                && authority.authority_cert_serial.is_none(),
        ),
        _ => ("set of extensions", false),
    };
    if holds { Ok(()) } else { Err(OutOfProfile(part)) }
}

/// RFC 5280 4.2.1.13: one point with one address, for all reasons, of the issuer itself.
fn is_sole_point(points: &CRLDistributionPoints<'_>, url: &str) -> bool {
    let [CRLDistributionPoint { distribution_point: Some(point), reasons: None, crl_issuer: None }] =
        &points.points[..]
    else {
        return false;
    };
    matches!(point, DistributionPointName::FullName(names)
        if matches!(&names[..], [GeneralName::URI(uri)] if *uri == url))
}

fn extended_key_usage(server_auth: bool) -> ExtendedKeyUsage<'static> {
    ExtendedKeyUsage {
        any: false,
        server_auth,
        client_auth: true,
        code_signing: false,
        email_protection: false,
        time_stamping: false,
        ocsp_signing: false,
        other: Vec::new(),
    }
}

/// Whether the subject is exactly the agent, its tenant and its trust domain.
fn names(subject: &X509Name<'_>, id: &SpiffeId) -> bool {
    let only = |mut values: Vec<Result<&str, _>>| match (values.pop(), values.is_empty()) {
        (Some(Ok(value)), true) => Some(value.to_owned()),
        (Some(Err::<_, x509_parser::error::X509Error>(_)) | None, _) | (_, false) => None,
    };
    let common_name = only(subject.iter_common_name().map(|value| value.as_str()).collect());
    let unit = only(subject.iter_organizational_unit().map(|value| value.as_str()).collect());
    let organization = only(subject.iter_organization().map(|value| value.as_str()).collect());
    subject.iter_attributes().count() == 3
        && common_name.as_deref() == Some(id.agent.as_str())
        && unit == Some(id.tenant.to_string())
        && organization.as_deref() == Some(id.trust_domain.as_str())
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DnType,
        ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo,
    };

    use super::*;
    use crate::ca::profile;
    use crate::ca::testing::{Ca, csr, order};

    /// Signs an SVID whose profile was tampered with, and lints it.
    fn check(tamper: impl FnOnce(&mut CertificateParams), expected: Result<(), OutOfProfile>) {
        let ca = Ca::new();
        let (order, (csr, _)) = (order("web-1"), csr());
        let validity = Validity::lasting(order.at, order.lifetime).unwrap();
        let mut params = profile::svid(&order, validity, None).unwrap();
        tamper(&mut params);
        let key = SubjectPublicKeyInfo::from_der(csr.spki_der()).unwrap();
        let der = params.signed_by(&key, &ca.intermediate()).unwrap().der().to_vec();
        let issuer = CaCertificate::read(ca.intermediate_der()).unwrap();
        let wanted = ExpectedProfile {
            id: &order.id,
            serial: order.serial,
            validity,
            spki: csr.spki_der(),
            server_auth: false,
            dns_name: None,
            crl_url: None,
            issuer: &issuer,
            verified: true,
        };
        assert_eq!(svid(&der, &wanted), expected);
        if expected.is_ok() {
            let mut damaged = der.clone();
            *damaged.last_mut().unwrap() ^= 1;
            assert_eq!(svid(&damaged, &wanted), Err(OutOfProfile("signature")));
            assert_eq!(svid(&der[..der.len() - 1], &wanted), Err(OutOfProfile("encoding")));
            assert_eq!(
                svid(&der, &ExpectedProfile { spki: b"other", ..wanted }),
                Err(OutOfProfile("public key"))
            );
        }
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn only_the_profile_passes() {
        let refused = |part| Err(OutOfProfile(part));
        check(|_| {}, Ok(()));
        check(|params| params.subject_alt_names.clear(), refused("set of extensions"));
        check(
            |params| params.subject_alt_names = vec![uri("spiffe://muster/other")],
            refused("subject alternative name"),
        );
        check(
            |params| params.subject_alt_names.push(SanType::DnsName("a.example".try_into().unwrap())),
            refused("subject alternative name"),
        );
        check(
            |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            refused("basic constraints"),
        );
        check(
            |params| {
                let uris = vec!["http://a.example/x.crl".to_owned()];
                params.crl_distribution_points = vec![CrlDistributionPoint { uris }];
            },
            refused("set of extensions"),
        );
        check(|params| params.is_ca = IsCa::NoCa, refused("set of extensions"));
        check(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), refused("key usage"));
        check(
            |params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth),
            refused("extended key usage"),
        );
        check(|params| params.extended_key_usages = vec![], refused("set of extensions"));
        check(|params| params.use_authority_key_identifier_extension = false, refused("set of extensions"));
        check(|params| params.serial_number = Some(7.into()), refused("serial"));
        check(|params| params.distinguished_name.push(DnType::CommonName, "web-2"), refused("subject"));
        check(|params| params.distinguished_name.push(DnType::CountryName, "CH"), refused("subject"));
        check(|params| params.not_after += std::time::Duration::from_secs(1), refused("validity"));
        check(
            |params| {
                let extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
                params.custom_extensions.push(extension);
            },
            refused("set of extensions"),
        );
    }
}
