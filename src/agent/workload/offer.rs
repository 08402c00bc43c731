//! What is offered to programs on this machine: the SVID, its key and its bundle.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::agent::identity::Identity;
use crate::agent::trust::state::ToldDocuments;
use crate::agent::workload::proto;
use crate::domain::identity::spiffe::SpiffeId;
use crate::pem;
use crate::pem::file::PemFileError;
use crate::tls::pem::certificates;

/// What callers are given. One owner publishes it; `None` while there is nothing to give.
pub type Offer = watch::Sender<Option<Offered>>;

/// An X.509-SVID in the forms of the Workload API.
#[derive(Clone, PartialEq, Eq)]
pub struct Offered {
    spiffe_id: SpiffeId,
    /// DER, leaf first.
    chain: Vec<u8>,
    /// PKCS#8 DER.
    key: Zeroizing<Vec<u8>>,
    /// DER, the roots.
    bundle: Vec<u8>,
    /// By the server's clock.
    issued_at: Timestamp,
    pem: Arc<OfferedPem>,
}

/// The same as PEM, for programs that speak no SPIFFE.
#[derive(PartialEq, Eq)]
pub(crate) struct OfferedPem {
    /// Leaf first.
    pub chain: String,
    /// PKCS#8.
    pub key: Zeroizing<String>,
    pub roots: String,
}

impl Offered {
    /// An identity with the PEM of the roots that SVIDs of its trust domain are checked against.
    pub fn new(identity: &Identity, agent_ca: &[u8]) -> Result<Self, PemFileError> {
        let roots = certificates(agent_ca)?;
        let text = |certificates: &[CertificateDer<'_>]| {
            certificates.iter().map(|der| pem::certificate(der)).collect()
        };
        let pem = OfferedPem {
            chain: text(&identity.chain),
            key: Zeroizing::new(pem::encode(pem::PRIVATE_KEY, identity.key.serialized_der())),
            roots: text(&roots),
        };
        Ok(Self {
            pem: Arc::new(pem),
            spiffe_id: identity.svid.spiffe_id.clone(),
            chain: identity.chain.iter().flat_map(|certificate| certificate.iter().copied()).collect(),
            key: Zeroizing::new(identity.key.serialized_der().to_vec()),
            bundle: roots.iter().flat_map(|root| root.iter().copied()).collect(),
            issued_at: identity.svid.not_before,
        })
    }

    /// One whose parts are no certificates.
    #[cfg(test)]
    pub(crate) fn specimen(id: &str, chain: &str) -> Self {
        let (chain, key, roots) = (chain.to_owned(), Zeroizing::new("key".to_owned()), chain.to_owned());
        Self {
            spiffe_id: id.parse().unwrap(),
            chain: Vec::new(),
            key: Zeroizing::default(),
            bundle: Vec::new(),
            issued_at: Timestamp::UNIX_EPOCH,
            pem: Arc::new(OfferedPem { chain, key, roots }),
        }
    }

    pub(crate) const fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    pub(crate) fn pem(&self) -> &OfferedPem {
        &self.pem
    }

    /// The roots as PEM, in the same way.
    pub(crate) fn roots_pem(&self, trust: Option<&ToldDocuments>) -> String {
        match self.newer(trust) {
            Some(trust) => trust.roots.iter().map(|root| pem::certificate(root)).collect(),
            None => self.pem.roots.clone(),
        }
    }

    /// The roots as the server last told them, unless what came with the identity is newer.
    fn roots(&self, trust: Option<&ToldDocuments>) -> Vec<u8> {
        match self.newer(trust) {
            Some(trust) => trust.roots.concat(),
            None => self.bundle.clone(),
        }
    }

    fn newer<'t>(&self, trust: Option<&'t ToldDocuments>) -> Option<&'t ToldDocuments> {
        trust.filter(|trust| trust.confirmed_at >= self.issued_at)
    }

    pub(crate) fn svid(&self, trust: Option<&ToldDocuments>) -> proto::X509svidResponse {
        let svid = proto::X509svid {
            spiffe_id: self.spiffe_id.to_string(),
            x509_svid: self.chain.clone(),
            x509_svid_key: self.key.to_vec(),
            bundle: self.roots(trust),
            hint: String::new(),
        };
        proto::X509svidResponse { svids: vec![svid], crl: lists(trust), ..Default::default() }
    }

    pub(crate) fn bundles(&self, trust: Option<&ToldDocuments>) -> proto::X509BundlesResponse {
        let domain = format!("spiffe://{}", self.spiffe_id.trust_domain);
        proto::X509BundlesResponse { bundles: [(domain, self.roots(trust))].into(), crl: lists(trust) }
    }
}

/// The issuing intermediate's first, the roots' last.
fn lists(trust: Option<&ToldDocuments>) -> Vec<Vec<u8>> {
    trust.map(|trust| trust.lists.to_vec()).unwrap_or_default()
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}
