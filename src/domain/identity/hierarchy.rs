//! The agent CA as it is stored: certificates in the clear, the issuing key sealed.

use jiff::Timestamp;

use crate::domain::identity::spiffe::TrustDomain;

/// Root certificates and the intermediates below them. Never holds a key in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// What every SPIFFE ID begins with.
    pub trust_domain: TrustDomain,
    /// DER; the trust anchors of every SVID.
    pub roots: Vec<Vec<u8>>,
    /// The newest revocation list of each root that has signed one, DER.
    pub root_lists: Vec<Vec<u8>>,
    /// Oldest first; of those whose time has come, the last one issues. Older ones stay until the SVIDs they signed have
    /// expired.
    pub intermediates: Vec<Intermediate>,
}

/// An intermediate CA certificate and its private key, sealed with the envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct Intermediate {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER inside an age file.
    pub sealed_key: Vec<u8>,
    /// From when on it issues; none: from its own beginning. Relying parties that fetch now and then get to know it, and its
    /// revocation list, before they meet what it signed.
    pub issuing_from: Option<Timestamp>,
}

impl std::fmt::Debug for Intermediate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intermediate").finish_non_exhaustive()
    }
}
