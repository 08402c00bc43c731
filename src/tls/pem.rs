//! Certificates of PEM files and answers, as rustls takes them.

use rustls::pki_types::CertificateDer;

pub use crate::pem::file::PemFileError;

/// All certificates in a PEM text, in order; at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    Ok(crate::pem::file::certificates(text)?.into_iter().map(CertificateDer::from).collect())
}

/// One certificate as PEM, ending in a line break.
pub fn certificate_text(certificate: &CertificateDer<'_>) -> String {
    crate::pem::certificate(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_survive_the_round_trip() {
        for length in [1, 47, 48, 49, 500] {
            let der = CertificateDer::from(vec![7; length]);
            let text = certificate_text(&der);
            assert!(text.lines().all(|line| line.len() <= 64));
            assert_eq!(certificates(text.repeat(2).as_bytes()), Ok(vec![der.clone(), der]));
        }
    }
}
