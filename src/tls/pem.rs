//! Certificates of PEM files and answers, as rustls takes them.

use rustls::pki_types::CertificateDer;

use crate::pem::file::{self, PemFileError};

/// All certificates in a PEM text, in order; at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    Ok(file::certificates(text)?.into_iter().map(CertificateDer::from).collect())
}
