//! A certificate as proxies and programs write it: PEM, URL-encoded PEM, base64 of DER, or an element of Envoy's
//! `X-Forwarded-Client-Cert`. A text is read in one way or refused.

use std::borrow::Cow;

use data_encoding::BASE64;
use percent_encoding::percent_decode_str;

use crate::pem::{self, PemError};

/// The leaf and its intermediate; whoever shows the root, too, shows more than anybody needs.
const CERTIFICATES_MAX: usize = 3;

/// Keys of an element of `X-Forwarded-Client-Cert`.
const XFCC_KEYS: [&str; 7] = ["By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"];

/// What somebody shows. Nothing of it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// DER.
    pub leaf: Vec<u8>,
    /// What came with it, DER.
    pub above: Vec<Vec<u8>>,
}

/// Why a text is no certificate. Nothing of the text is in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Neither of the forms.
    #[error("it is neither PEM, nor URL-encoded PEM, nor base64 of DER")]
    Form,
    /// It begins like PEM.
    #[error("the PEM can't be read: {0}")]
    Pem(#[from] PemError),
    /// It is URL-encoded, and what it encodes is no PEM. Something that was encoded twice is one such.
    #[error("what is URL-encoded is not PEM; it may have been encoded twice")]
    Encoded,
    /// Envoy's, without a certificate or with two in one element, or something that Envoy does not write.
    #[error(
        "X-Forwarded-Client-Cert is not as Envoy writes it, or its last element has not exactly one Cert"
    )]
    Forwarded,
}

/// Reads a certificate, with its chain or without.
///
/// # Errors
/// Where the text is not exactly one of the forms.
pub fn read(text: &str) -> Result<PresentedCertificate, Unreadable> {
    let text = text.trim_ascii();
    if is_forwarded(text) {
        let certificate = last_forwarded(text).ok_or(Unreadable::Forwarded)?;
        return from_pem(&decoded(certificate)?);
    }
    if text.starts_with("-----BEGIN") && !text.contains('%') {
        return from_pem(text);
    }
    if text.contains('%') {
        return from_pem(&decoded(text)?);
    }
    let leaf = BASE64.decode(text.as_bytes()).map_err(|_| Unreadable::Form)?;
    if leaf.is_empty() { Err(Unreadable::Form) } else { Ok(PresentedCertificate { leaf, above: Vec::new() }) }
}

fn from_pem(text: &str) -> Result<PresentedCertificate, Unreadable> {
    let mut certificates = pem::sequence(text, pem::CERTIFICATE, CERTIFICATES_MAX)?.into_iter();
    let leaf = certificates.next().ok_or(Unreadable::Form)?;
    Ok(PresentedCertificate { leaf, above: certificates.collect() })
}

/// Decoded once (RFC 3986 2.1): a plus sign stays one.
fn decoded(text: &str) -> Result<Cow<'_, str>, Unreadable> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| Unreadable::Encoded)?;
    if decoded.starts_with("-----BEGIN") { Ok(decoded) } else { Err(Unreadable::Encoded) }
}

/// Neither PEM nor base64 of a certificate begins with a key and an equals sign.
fn is_forwarded(text: &str) -> bool {
    text.split_once('=').is_some_and(|(key, _)| XFCC_KEYS.contains(&key))
}

/// The `Cert` of the last element: each proxy adds one for its own client. What stands before it may be the client's own, so
/// the whole text is read, and where it is not what Envoy writes, nothing of it is believed: a quote that is left open
/// would hide the proxy's element in the client's.
fn last_forwarded(text: &str) -> Option<&str> {
    let (mut rest, mut certificate) = (text, None);
    loop {
        let (key, after) = rest.trim_start_matches(' ').split_once('=')?;
        if !XFCC_KEYS.contains(&key) {
            return None;
        }
        let (value, after) = forwarded_value(after)?;
        if key == "Cert" && certificate.replace(value).is_some() {
            return None;
        }
        rest = match after.chars().next() {
            None => return certificate,
            Some(';') => &after[1..],
            Some(',') => {
                certificate = None;
                &after[1..]
            }
            Some(_) => return None,
        };
    }
}

/// A value, and what follows it: either without any quote, or from a quote right at its beginning to the one that closes it.
fn forwarded_value(text: &str) -> Option<(&str, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find([',', ';']).unwrap_or(text.len()));
        return (!value.contains(['"', '\\'])).then_some((value, after));
    };
    let mut escaped = false;
    for (at, character) in quoted.char_indices() {
        match character {
            // Whether the second one takes the meaning of what follows depends on who wrote it.
            '\\' if escaped => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((&quoted[..at], &quoted[at + 1..])),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    fn encoded(text: &str) -> String {
        utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
    }

    #[test]
    fn every_form_says_the_same() {
        // Octets whose base64 has a plus sign and a slash.
        let leaf = [&[0x30, 0x82][..], &[0xfb, 0xef, 0xff].repeat(40)].concat();
        let pem = pem::certificate(&leaf);
        let read_as = |text: &str| read(text).map(|shown| shown.leaf);
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            encoded(&pem),
            pem.replace('\n', "%0A").replace('+', "%2B"),
            pem.replace('\n', "%0A"),
            BASE64.encode(&leaf),
            format!("By=spiffe://a;Hash=ab;Cert=\"{}\";URI=spiffe://b", encoded(&pem)),
            format!("Cert={}", encoded(&pem)),
            format!("Cert=\"x\";Subject=\"CN=a,Cert=b\\\",\",Hash=ab;Cert=\"{}\"", encoded(&pem)),
        ] {
            assert_eq!(read_as(&text), Ok(leaf.clone()), "{text:.60}");
        }
        let chain = read(&(pem + &pem::certificate(&[1]))).unwrap();
        assert_eq!((chain.leaf, chain.above), (leaf, vec![vec![1]]));
    }

    #[test]
    fn everything_else_is_refused() {
        let pem = pem::certificate(&[7; 100]);
        let once = encoded(&pem);
        let element = format!("Hash=ab;Cert=\"{once}\"");
        for (text, refusal) in [
            (String::new(), Unreadable::Form),
            ("MII".to_owned(), Unreadable::Form),
            ("x y".to_owned(), Unreadable::Form),
            (BASE64.encode(&[7; 100]) + ",AAAA", Unreadable::Form),
            (encoded(&once), Unreadable::Encoded),
            ("%zz".to_owned(), Unreadable::Encoded),
            ("%ff%fe".to_owned(), Unreadable::Encoded),
            (once[..once.len() / 2].to_owned(), Unreadable::Pem(PemError::NotClosed)),
            (pem.repeat(4), Unreadable::Pem(PemError::TooManyBlocks)),
            (format!("{element},Hash=cd"), Unreadable::Forwarded),
            (format!("{element};Cert=\"{once}\""), Unreadable::Forwarded),
            (format!("Cert=\"{once}"), Unreadable::Forwarded),
            ("Hash=ab".to_owned(), Unreadable::Forwarded),
            // A client's own header, with what a proxy puts after it.
            (format!("Cert={once};By=\"x,{element}"), Unreadable::Forwarded),
            (format!("Cert=\"{once}\";Subject=\",By=spiffe://a;{element}"), Unreadable::Forwarded),
            (format!("Cert={once};By=\"x,{element};Subject=\"CN=a\";URI=b"), Unreadable::Forwarded),
            (format!("Cert={once};By=\"x,{element};Subject=\"O=m,CN=a\""), Unreadable::Forwarded),
            (format!("Cert={once};By=\"x\\,{element};Subject=\"CN=a\""), Unreadable::Forwarded),
            (format!("Cert={once};By=\"\\\\\",{element}"), Unreadable::Forwarded),
            (format!("Cert={once};By=x\",{element};By=\""), Unreadable::Forwarded),
            (format!("Cert={once};By=\"x\"y,{element}"), Unreadable::Forwarded),
            (format!("Hash=ab;Other=\"x,{element}"), Unreadable::Forwarded),
            (format!("{element};"), Unreadable::Forwarded),
            (format!("{element},"), Unreadable::Forwarded),
            (format!("Cert=\"{}\"", encoded(&once)), Unreadable::Encoded),
            (format!("Cert={}", BASE64.encode(&[7; 100])), Unreadable::Encoded),
            ("-".repeat(64 * 1024), Unreadable::Form),
            (format!("-----BEGIN{}", "%20".repeat(20_000)), Unreadable::Pem(PemError::TooLong)),
        ] {
            assert_eq!(read(&text), Err(refusal), "{text:.60}");
        }
    }
}
