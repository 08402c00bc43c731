//! PEM files as people have them: with text between the blocks (RFC 7468 5.2), a byte-order mark, indentation, and
//! the labels of older tools.
//!
//! Whatever announces a block is read or refused with its line; nothing is skipped because it could not be read. A
//! reader that skips makes a bundle of two CAs into one, which shows only when the other one is needed.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// Blocks that are certificates. The second is what OpenSSL wrote before 1998 and still reads.
const CERTIFICATES: [&str; 2] = ["CERTIFICATE", "X509 CERTIFICATE"];
/// OpenSSL's certificate with trust settings behind it.
const TRUSTED: &str = "TRUSTED CERTIFICATE";
/// Containers, which may hold certificates that this reader does not see.
const CONTAINERS: [&str; 3] = ["PKCS7", "PKCS #7 SIGNED DATA", "CMS"];

/// Labels that errors may name. Others stand in no error, because a label is input, too.
const KNOWN: &[&str] = &[
    "CERTIFICATE",
    "X509 CERTIFICATE",
    TRUSTED,
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
    "X509 CRL",
    "PRIVATE KEY",
    "EC PRIVATE KEY",
    "RSA PRIVATE KEY",
    "DSA PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "AGE ENCRYPTED FILE",
    "PUBLIC KEY",
    "EC PARAMETERS",
    "DH PARAMETERS",
    "PKCS7",
    "PKCS #7 SIGNED DATA",
    "CMS",
];

/// Why a file is refused. The texts name lines, counted from 1, and hold nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemFileError {
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error("there is no private key in it")]
    NoKey,
    #[error("it is UTF-16 text; save it as UTF-8 or ASCII")]
    Utf16,
    #[error(
        "line {line}: a block begins or ends here, but the line is not just -----BEGIN or -----END, the label and -----"
    )]
    Boundary { line: usize },
    #[error("line {line}: line breaks are written as the two characters \\n; put real line breaks there")]
    EscapedBreaks { line: usize },
    #[error("line {line}: the {label} block that begins here is not closed by its own END line")]
    NotClosed { line: usize, label: &'static str },
    #[error("line {line}: the {label} block has a header, which does not belong there")]
    Header { line: usize, label: &'static str },
    #[error("line {line}: the {label} block is not base64 here")]
    Base64 { line: usize, label: &'static str },
    #[error("line {line}: the {label} block is empty or cut short")]
    CutShort { line: usize, label: &'static str },
    #[error(
        "line {line}: the {label} block can't be read here; write its certificates as CERTIFICATE blocks"
    )]
    Container { line: usize, label: &'static str },
    #[error(
        "line {line}: the certificate carries trust settings of OpenSSL's, which are not read; write it without them (openssl x509 -in FILE)"
    )]
    TrustSettings { line: usize },
    #[error("line {line}: the {label} block is encrypted")]
    Encrypted { line: usize, label: &'static str },
    #[error("line {line}: the {label} block is no key for TLS; convert it to PKCS#8")]
    OtherKey { line: usize, label: &'static str },
    #[error("line {line}: this is a second private key; leave one")]
    SecondKey { line: usize },
}

/// How a private key is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    Pkcs8,
    Sec1,
    Pkcs1,
}

/// A private key in DER, wiped when dropped.
pub struct PrivateKey {
    pub form: KeyForm,
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Every certificate of a text, in DER and in order; at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<Vec<u8>>, PemFileError> {
    let mut certificates = Vec::new();
    for block in blocks(text)? {
        let Block { line, label, content, encrypted } = block;
        let is_certificate = label == TRUSTED || CERTIFICATES.contains(&label);
        if is_certificate && encrypted {
            return Err(PemFileError::Encrypted { line, label });
        } else if CERTIFICATES.contains(&label) {
            certificates.push(content.to_vec());
        } else if label == TRUSTED {
            certificates
                .push(without_trust_settings(&content).ok_or(PemFileError::TrustSettings { line })?.to_vec());
        } else if CONTAINERS.contains(&label) {
            return Err(PemFileError::Container { line, label });
        }
    }
    if certificates.is_empty() { Err(PemFileError::NoCertificate) } else { Ok(certificates) }
}

/// The one private key of a text. Other blocks, such as certificates and parameters, may stand beside it.
pub fn private_key(text: &[u8]) -> Result<PrivateKey, PemFileError> {
    let mut found = None;
    for Block { line, label, content, encrypted } in blocks(text)? {
        let form = match label {
            "ENCRYPTED PRIVATE KEY" | "AGE ENCRYPTED FILE" => {
                return Err(PemFileError::Encrypted { line, label });
            }
            _ if encrypted => return Err(PemFileError::Encrypted { line, label }),
            "PRIVATE KEY" => KeyForm::Pkcs8,
            "EC PRIVATE KEY" => KeyForm::Sec1,
            "RSA PRIVATE KEY" => KeyForm::Pkcs1,
            "DSA PRIVATE KEY" | "OPENSSH PRIVATE KEY" => return Err(PemFileError::OtherKey { line, label }),
            _ => continue,
        };
        if found.is_some() {
            return Err(PemFileError::SecondKey { line });
        }
        found = Some(PrivateKey { form, der: content });
    }
    found.ok_or(PemFileError::NoKey)
}

/// One block of a text.
struct Block {
    /// Where it begins.
    line: usize,
    label: &'static str,
    content: Zeroizing<Vec<u8>>,
    /// RFC 1421 4.6.1.1; the content is then left out.
    encrypted: bool,
}

fn blocks(text: &[u8]) -> Result<Vec<Block>, PemFileError> {
    if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) {
        return Err(PemFileError::Utf16);
    }
    let mut blocks = Vec::new();
    let mut lines =
        text.split(|octet| *octet == b'\n').map(bare).enumerate().map(|(index, line)| (index + 1, line));
    while let Some((number, line)) = lines.next() {
        if let Some(label) = boundary(line, b"-----BEGIN ") {
            blocks.push(block(number, label, &mut lines)?);
        } else if looks_like_a_boundary(line) {
            return Err(misplaced(number, line));
        }
    }
    Ok(blocks)
}

/// The rest of a block whose beginning has been read.
fn block<'t>(
    beginning: usize,
    raw_label: &[u8],
    lines: &mut impl Iterator<Item = (usize, &'t [u8])>,
) -> Result<Block, PemFileError> {
    let label = KNOWN.iter().find(|known| known.as_bytes() == raw_label).copied().unwrap_or("unknown");
    let mut symbols = Zeroizing::new(Vec::new());
    let (mut encrypted, mut header) = (false, None);
    for (number, line) in lines {
        if let Some(end) = boundary(line, b"-----END ") {
            if end != raw_label {
                break;
            }
            let content = match (encrypted, header) {
                (true, _) => Zeroizing::new(Vec::new()),
                (false, Some(line)) => return Err(PemFileError::Header { line, label }),
                (false, None) => {
                    decoded(&symbols).ok_or(PemFileError::CutShort { line: beginning, label })?
                }
            };
            return Ok(Block { line: beginning, label, content, encrypted });
        }
        if boundary(line, b"-----BEGIN ").is_some() {
            break;
        }
        if looks_like_a_boundary(line) || holds(line, br"\n") {
            return Err(misplaced(number, line));
        }
        if line.contains(&b':') {
            encrypted |= line.starts_with(b"Proc-Type:") && holds(line, b"ENCRYPTED");
            header = header.or(Some(number));
        } else {
            let legal = |octet: &u8| {
                octet.is_ascii_alphanumeric() || b"+/=".contains(octet) || octet.is_ascii_whitespace()
            };
            if !encrypted && !line.iter().all(legal) {
                return Err(PemFileError::Base64 { line: number, label });
            }
            symbols.extend(line.iter().filter(|octet| !octet.is_ascii_whitespace()));
        }
    }
    Err(PemFileError::NotClosed { line: beginning, label })
}

/// A line without the white space and the byte-order mark around it. Marks stand inside a text where files that had
/// one each were put together.
fn bare(mut line: &[u8]) -> &[u8] {
    loop {
        line = line.trim_ascii();
        match line.strip_prefix("\u{feff}".as_bytes()) {
            Some(rest) => line = rest,
            None => return line,
        }
    }
}

/// The label, if the line is a boundary of this kind and nothing else.
fn boundary<'l>(line: &'l [u8], kind: &[u8]) -> Option<&'l [u8]> {
    let label = line.strip_prefix(kind)?.strip_suffix(b"-----")?;
    (!label.is_empty() && !label.contains(&b'-') && label.trim_ascii() == label).then_some(label)
}

/// Whether somebody meant a block here. In doubt it is one, because what is not read must not go unnoticed.
fn looks_like_a_boundary(line: &[u8]) -> bool {
    // Word processors put one long dash in place of several: U+2010 to U+2015 and U+2212 begin with this octet.
    let dashed = line.first().is_some_and(|first| *first == b'-' || *first == 0xe2);
    holds(line, b"-BEGIN")
        || holds(line, b"-END")
        || dashed && (holds(line, b"BEGIN ") || holds(line, b"END "))
}

fn misplaced(number: usize, line: &[u8]) -> PemFileError {
    if holds(line, br"\n") {
        PemFileError::EscapedBreaks { line: number }
    } else {
        PemFileError::Boundary { line: number }
    }
}

fn holds(line: &[u8], wanted: &[u8]) -> bool {
    line.windows(wanted.len()).any(|part| part == wanted)
}

fn decoded(symbols: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // Large enough from the start: a buffer that grows leaves copies of a key behind.
    let mut content = Zeroizing::new(vec![0; BASE64.decode_len(symbols.len()).ok()?]);
    let length = BASE64.decode_mut(symbols, &mut content).ok()?;
    content.truncate(length);
    (!content.is_empty()).then_some(content)
}

/// The certificate of an OpenSSL `TRUSTED CERTIFICATE`, unless settings follow it: they may say that it must not be
/// trusted for what it is about to be trusted for.
fn without_trust_settings(content: &[u8]) -> Option<&[u8]> {
    let (certificate, settings) = content.split_at_checked(der_length(content)?)?;
    (settings.is_empty() || settings == [0x30, 0]).then_some(certificate)
}

/// How many octets the first DER value takes, if it is a sequence.
fn der_length(der: &[u8]) -> Option<usize> {
    match der {
        [0x30, length @ 0..=0x7f, ..] => Some(2 + usize::from(*length)),
        [0x30, form @ 0x81..=0x84, rest @ ..] => {
            let octets = rest.get(..usize::from(form & 0x7f))?;
            let length = octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
            (2 + octets.len()).checked_add(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{certificate, encode};
    use super::*;

    fn block(label: &str, content: &[u8]) -> String {
        encode(label, content)
    }

    fn count(text: &str) -> Result<usize, PemFileError> {
        certificates(text.as_bytes()).map(|certificates| certificates.len())
    }

    #[test]
    fn certificates_survive_the_round_trip() {
        for length in [1, 47, 48, 49, 500] {
            let der = vec![7; length];
            let text = certificate(&der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(certificates(text.repeat(2).as_bytes()), Ok(vec![der.clone(), der]));
        }
    }

    #[test]
    fn every_certificate_that_is_announced_is_read() {
        let (one, two) = (block("CERTIFICATE", &[1; 100]), block("CERTIFICATE", &[2; 100]));
        let indented: String = one.lines().map(|line| format!("    {line}\n")).collect();
        for text in [
            format!("{one}{two}"),
            format!("\u{feff}{one}{two}"),
            format!("{one}\u{feff}{two}"),
            format!("{indented}\n\t{two}"),
            format!("{one}{two}").replace('\n', "\r\n"),
            format!("subject=CN = Ümläut\n{one}\nKey Attributes: <none>\n{two}the end"),
            format!("{one}{}", block("X509 CERTIFICATE", &[2; 100])),
            format!("{one}{two}{}{}", block("X509 CRL", &[3; 9]), block("PRIVATE KEY", &[4; 9])),
            format!("{one}{}", two.trim_end()),
        ] {
            let read = certificates(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(read, [vec![1; 100], vec![2; 100]], "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        let (one, two) = (block("CERTIFICATE", &[1; 100]), block("CERTIFICATE", &[2; 100]));
        let lines = one.lines().count();
        let label = "CERTIFICATE";
        for (text, error) in [
            (String::new(), PemFileError::NoCertificate),
            ("text".to_owned(), PemFileError::NoCertificate),
            (
                one.clone() + &two.replacen('\n', "\nProc-Type: 4,ENCRYPTED\n", 1),
                PemFileError::Encrypted { line: lines + 1, label },
            ),
            (block("PRIVATE KEY", &[1]), PemFileError::NoCertificate),
            (
                one.clone() + &two.replacen("-----BEGIN", "----BEGIN", 1),
                PemFileError::Boundary { line: lines + 1 },
            ),
            (
                one.clone() + &two.replacen("-----BEGIN", "—BEGIN", 1),
                PemFileError::Boundary { line: lines + 1 },
            ),
            (one.clone() + "x" + &two, PemFileError::Boundary { line: lines + 1 }),
            (one.trim_end().to_owned() + &two, PemFileError::Boundary { line: lines }),
            (one.replace('\n', "\\n"), PemFileError::EscapedBreaks { line: 1 }),
            (one.clone() + &two[..40], PemFileError::NotClosed { line: lines + 1, label }),
            (one.replace("END CERTIFICATE", "END X509 CRL"), PemFileError::NotClosed { line: 1, label }),
            (one.replacen("-----\n", "-----\nComment: x\n\n", 1), PemFileError::Header { line: 2, label }),
            (one.replacen("-----\n", "-----\n?", 1), PemFileError::Base64 { line: 2, label }),
            (one.replacen("-----\n", "-----\nA", 1), PemFileError::CutShort { line: 1, label }),
            (block("PKCS7", &[1; 9]), PemFileError::Container { line: 1, label: "PKCS7" }),
            (
                block("TRUSTED CERTIFICATE", &[0x30, 1, 5, 0x30, 2, 5, 0]),
                PemFileError::TrustSettings { line: 1 },
            ),
        ] {
            assert_eq!(count(&text), Err(error), "{text}");
        }
        assert_eq!(certificates(&[0xff, 0xfe, b'-', 0]), Err(PemFileError::Utf16));
        for plain in [&[0x30, 1, 5][..], &[0x30, 1, 5, 0x30, 0]] {
            assert_eq!(certificates(block(TRUSTED, plain).as_bytes()), Ok(vec![vec![0x30, 1, 5]]));
        }
    }

    #[test]
    fn one_key_is_read_in_any_of_its_forms() {
        let parameters = block("EC PARAMETERS", &[6, 1, 1]);
        for (label, form) in [
            ("PRIVATE KEY", KeyForm::Pkcs8),
            ("EC PRIVATE KEY", KeyForm::Sec1),
            ("RSA PRIVATE KEY", KeyForm::Pkcs1),
        ] {
            let text = format!("\u{feff}Bag Attributes\n{parameters}{}", block(label, &[7; 9]));
            let key = private_key(text.as_bytes()).unwrap();
            assert_eq!((key.form, &key.der[..]), (form, &[7; 9][..]));
        }
        let key = block("PRIVATE KEY", &[7; 9]);
        let old_style = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for (text, error) in [
            ("", PemFileError::NoKey),
            (&*parameters, PemFileError::NoKey),
            (&*key.repeat(2), PemFileError::SecondKey { line: 4 }),
            (old_style, PemFileError::Encrypted { line: 1, label: "EC PRIVATE KEY" }),
            (
                &*block("ENCRYPTED PRIVATE KEY", &[1]),
                PemFileError::Encrypted { line: 1, label: "ENCRYPTED PRIVATE KEY" },
            ),
            (
                &*block("AGE ENCRYPTED FILE", &[1]),
                PemFileError::Encrypted { line: 1, label: "AGE ENCRYPTED FILE" },
            ),
            (
                &*block("OPENSSH PRIVATE KEY", &[1]),
                PemFileError::OtherKey { line: 1, label: "OPENSSH PRIVATE KEY" },
            ),
        ] {
            assert_eq!(private_key(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn no_error_holds_anything_of_the_input() {
        let key = block("PRIVATE KEY", b"a secret that is long enough to be found again in a text");
        let body = key.lines().nth(1).unwrap().to_owned();
        let tries = (0..key.len()).map(|at| key[..at].to_owned()).chain([
            key.replace('\n', "\\n"),
            key.replace('\n', " "),
            key.replace("PRIVATE KEY", &body),
            key.replacen('\n', &format!("\n{body}: "), 1),
        ]);
        for text in tries {
            for error in [certificates(text.as_bytes()).err(), private_key(text.as_bytes()).err()] {
                let said = error.map(|error| format!("{error} {error:?}")).unwrap_or_default();
                assert!(!said.contains(&body[..6]) && !said.contains("45, 45"), "{said}");
            }
        }
    }
}
