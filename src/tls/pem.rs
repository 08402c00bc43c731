//! Certificates and keys of PEM files and answers, as rustls takes them.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::pem::file::{self, KeyForm, PemFileError, PrivateKey};

/// All certificates in a PEM text, in order; at least one.
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFileError> {
    Ok(file::certificates(text)?.into_iter().map(CertificateDer::from).collect())
}

/// The private key in a file.
pub fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, PemFileError> {
    let PrivateKey { form, der } = file::private_key(text)?;
    let der = der.to_vec();
    Ok(match form {
        KeyForm::Pkcs8 => PrivateKeyDer::Pkcs8(der.into()),
        KeyForm::Sec1 => PrivateKeyDer::Sec1(der.into()),
        KeyForm::Pkcs1 => PrivateKeyDer::Pkcs1(der.into()),
    })
}
