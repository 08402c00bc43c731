//! Certificates as PEM text (RFC 7468), read and written.

use data_encoding::BASE64;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Characters on a line of PEM.
const LINE: usize = 64;

/// The text is no PEM, or holds no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    #[error("the PEM text is damaged")]
    Damaged,
    #[error("there is no certificate in it")]
    NoCertificate,
}

/// All certificates in a PEM text, in order; at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates =
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|_| PemError::Damaged)?;
    if certificates.is_empty() { Err(PemError::NoCertificate) } else { Ok(certificates) }
}

/// One certificate as PEM, ending in a line break.
pub fn certificate_text(certificate: &CertificateDer<'_>) -> String {
    let body = BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_survive_the_round_trip() {
        for length in [1, 47, 48, 49, 500] {
            let der = CertificateDer::from(vec![7; length]);
            let text = certificate_text(&der);
            assert!(text.lines().all(|line| line.len() <= LINE));
            assert_eq!(certificates(text.repeat(2).as_bytes()), Ok(vec![der.clone(), der]));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let good = certificate_text(&CertificateDer::from(vec![7; 100]));
        assert_eq!(certificates(b""), Err(PemError::NoCertificate));
        assert_eq!(certificates(&[0, 255, 3]), Err(PemError::NoCertificate));
        assert_eq!(certificates(good.replace('\n', "!\n").as_bytes()), Err(PemError::Damaged));
        assert_eq!(certificates(&good.as_bytes()[..100]), Err(PemError::Damaged));
    }
}
