//! An X.509 answer of the Workload API, read and checked: the key is the certificate's, and everything is there.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::agent::workload::proto::X509svidResponse;
use crate::tls::client_config::certified_key;

/// Certificates in a chain, and roots in a bundle.
const CERTIFICATES_MAX: usize = 64;

/// What a provider gives a program: an identity with its key, the roots, and the lists.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct X509Answer {
    pub spiffe_id: String,
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// PKCS#8 DER.
    pub key: Zeroizing<Vec<u8>>,
    /// DER.
    pub roots: Vec<Vec<u8>>,
    /// DER, as they came.
    pub lists: Vec<Vec<u8>>,
}

/// Why an answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SvidAnswerError {
    #[error("the provider's answer holds no identity")]
    NoIdentity,
    #[error("the provider's {0} can't be read as certificates in DER")]
    Certificates(&'static str),
    #[error("the provider's certificate and its key are no pair")]
    NoPair(#[source] rustls::Error),
}

impl X509Answer {
    /// The first identity, which is the one for programs that don't choose (SPIFFE Workload API 5.3).
    pub(crate) fn read(response: X509svidResponse) -> Result<Self, SvidAnswerError> {
        let svid = response.svids.into_iter().next().ok_or(SvidAnswerError::NoIdentity)?;
        let key = Zeroizing::new(svid.x509_svid_key);
        let chain = certificates(&svid.x509_svid).ok_or(SvidAnswerError::Certificates("chain"))?;
        let roots = certificates(&svid.bundle).ok_or(SvidAnswerError::Certificates("bundle"))?;
        let shown = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.to_vec()));
        certified_key(shown, private).map_err(SvidAnswerError::NoPair)?;
        Ok(Self { spiffe_id: svid.spiffe_id, chain, key, roots, lists: response.crl })
    }

    pub(crate) fn leaf(&self) -> &[u8] {
        self.chain.first().map(Vec::as_slice).unwrap_or_default()
    }
}

impl fmt::Debug for X509Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("X509Answer").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

/// Certificates that stand one after the other; at least one.
fn certificates(mut der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).ok()?;
        certificates.push(der.get(..der.len() - rest.len())?.to_vec());
        der = rest;
    }
    (1..=CERTIFICATES_MAX).contains(&certificates.len()).then_some(certificates)
}
