//! The hash by which OpenSSL finds a certificate or a list in a folder (X509_NAME_hash): SHA-1 of the name in its
//! canonical form, of which the first four octets count, the least significant first.
//!
//! It only finds files; nothing is trusted because of it.

use aws_lc_rs::digest;
use x509_parser::der_parser::asn1_rs::{Any, Class, Tag};
use x509_parser::x509::X509Name;

/// Tag of a UTF8String, which canonical texts are.
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// The name of a file without its number, such as `5ed36f99`.
pub(crate) fn name_hash(name: &X509Name<'_>) -> String {
    let mut canonical = Vec::new();
    for part in name.iter_rdn() {
        let mut attributes: Vec<_> = part
            .iter()
            .map(|attribute| {
                let kind = value(OBJECT_IDENTIFIER, attribute.attr_type().as_bytes());
                value(SEQUENCE, &[kind, canonical_value(attribute.attr_value())].concat())
            })
            .collect();
        // DER's order of a SET OF (X.690 11.6).
        attributes.sort();
        canonical.extend(value(SET, &attributes.concat()));
    }
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &canonical);
    let first = sum.as_ref().iter().take(4).rev();
    first.map(|octet| format!("{octet:02x}")).collect()
}

/// Texts in UTF-8, lower case and with single spaces; everything else as it is.
fn canonical_value(given: &Any<'_>) -> Vec<u8> {
    let text = match given.tag() {
        _ if given.class() != Class::Universal => None,
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::VisibleString => {
            Some(given.data.to_vec())
        }
        // OpenSSL reads it as Latin-1.
        Tag::T61String => Some(given.data.iter().map(|octet| char::from(*octet)).collect::<String>().into()),
        Tag::BmpString => Some(text_of(given.data, 2)),
        Tag::UniversalString => Some(text_of(given.data, 4)),
        _ => None,
    };
    match text {
        Some(text) => value(UTF8_STRING, &plain(&text)),
        None => {
            let class = (given.class() as u8) << 6 | if given.header.is_constructed() { 0x20 } else { 0 };
            value(class | u8::try_from(given.tag().0).unwrap_or(0x1f) & 0x1f, given.data)
        }
    }
}

/// Characters of two or four octets each.
fn text_of(data: &[u8], width: usize) -> Vec<u8> {
    let character =
        |octets: &[u8]| octets.iter().fold(0_u32, |number, octet| number << 8 | u32::from(*octet));
    let characters = data.chunks(width).map(character);
    characters.map(|number| char::from_u32(number).unwrap_or_default()).collect::<String>().into()
}

fn plain(text: &[u8]) -> Vec<u8> {
    let is_space = |octet: &u8| octet.is_ascii_whitespace() || *octet == 0x0b;
    let words = text.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(&b' ').to_ascii_lowercase()
}

/// A DER value (X.690 8.1).
fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let octets = length
        .iter()
        .position(|octet| *octet != 0)
        .map_or(&[][..], |at| length.get(at..).unwrap_or_default());
    let mut value = vec![tag];
    match (content.len(), u8::try_from(octets.len())) {
        (short @ 0..=0x7f, _) => value.push(u8::try_from(short).unwrap_or_default()),
        (_, Ok(count)) => {
            value.push(0x80 | count);
            value.extend(octets);
        }
        (_, Err(_)) => unreachable!("a length has at most eight octets"),
    }
    value.extend(content);
    value
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn openssl_says(pem: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-subject_hash", "-in"]).arg(file.path());
        String::from_utf8(openssl.output().unwrap().stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn openssl_finds_files_by_the_same_name() {
        let utf8 = |text: &str| DnValue::Utf8String(text.to_owned());
        let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
        let key = KeyPair::generate().unwrap();
        for parts in [
            vec![(DnType::OrganizationName, utf8("muster")), (DnType::CommonName, utf8("muster root"))],
            vec![(DnType::CommonName, printable("Muster  Agent   CA "))],
            vec![(DnType::CommonName, utf8("  Ümläut ÄÖ \t x"))],
            vec![(DnType::CommonName, DnValue::BmpString("Grüße €".try_into().unwrap()))],
            vec![(DnType::CommonName, DnValue::UniversalString("Grüße 𝄞 A".try_into().unwrap()))],
            vec![(DnType::CommonName, DnValue::TeletexString("Old One".try_into().unwrap()))],
            vec![(DnType::CommonName, DnValue::Ia5String("a@B.example".try_into().unwrap()))],
            vec![(DnType::CommonName, utf8(&"Long ".repeat(60)))],
            vec![],
        ] {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            for (kind, value) in parts {
                params.distinguished_name.push(kind, value);
            }
            let made = params.self_signed(&key).unwrap();
            let (_, read) = X509Certificate::from_der(made.der()).unwrap();
            assert_eq!(name_hash(read.subject()), openssl_says(&made.pem()), "{}", read.subject());
        }
    }
}
