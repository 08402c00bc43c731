//! The agent CA: created once, unsealed at every start, shown to whoever wants to verify.

use std::io;
use std::sync::Arc;

use jiff::SignedDuration;

use super::caller::Caller;
use super::issuing::IssuingError;
use super::{App, Unavailable};
use crate::ca::authority::{Authority, AuthorityError};
use crate::ca::envelope::Envelope;
use crate::ca::hierarchy::{self, CertificateSummary, DamagedCertificate, InitError};
use crate::domain::hierarchy::Hierarchy;
use crate::domain::spiffe::TrustDomain;
use crate::store::{Change, Verdict};

#[derive(Debug, thiserror::Error)]
pub enum InitAgentCaError {
    #[error("the agent CA exists already; a second one would orphan every agent enrolled under the first")]
    Exists,
    #[error("the agent CA could not be created")]
    Creating(#[from] InitError),
    #[error("the new root key could not be handed out, so no CA was created")]
    RootKey(#[source] io::Error),
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// How long a CRL is good; a fresh one is signed for every request.
const CRL_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// A root of the trust bundle and the coordinates of its P-256 key.
#[derive(Debug, Clone)]
pub struct BundleKey {
    pub x: [u8; 32],
    pub y: [u8; 32],
    /// DER.
    pub certificate: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum RevocationListError {
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    #[error("there is no agent CA yet")]
    Missing,
    #[error("the agent CA's issuing key cannot be used")]
    Unusable(#[from] AuthorityError),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Creates root and intermediate. `keep` receives the root's private key (PEM) before anything becomes
    /// durable; it is kept nowhere else. When `keep` fails, there is no CA.
    pub async fn init_agent_ca(
        &self,
        caller: &Caller,
        trust_domain: &TrustDomain,
        envelope: &Envelope,
        keep: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<(), InitAgentCaError> {
        if self.hierarchy()?.is_some() {
            return Err(InitAgentCaError::Exists);
        }
        let created = hierarchy::init(trust_domain, envelope, self.clock.now())?;
        let mut event = caller.event("agent_ca.init", None, trust_domain);
        for summary in hierarchy::describe(&created.hierarchy)? {
            event.detail.insert(summary.role.as_str(), summary.fingerprint);
        }
        keep(&created.root_key_pem).map_err(InitAgentCaError::RootKey)?;
        let stored = created.hierarchy;
        let written = self.store.write(move |view, _| {
            if view.hierarchy()?.is_some() {
                return Ok(Verdict::refuse(InitAgentCaError::Exists));
            }
            Ok(Verdict::accept((), vec![Change::PutHierarchy(stored), Change::Audit(event)]))
        });
        written.await.map_err(Unavailable::from)?
    }

    pub fn hierarchy(&self) -> Result<Option<Hierarchy>, Unavailable> {
        Ok(self.store.read(|view| view.hierarchy())?)
    }

    /// Root and intermediates, PEM, certificates only.
    pub fn trust_bundle(&self) -> Result<Option<String>, Unavailable> {
        Ok(self.hierarchy()?.map(|hierarchy| hierarchy::bundle_pem(&hierarchy)))
    }

    /// What the agent CA consists of.
    pub fn agent_ca(&self) -> Result<Option<(TrustDomain, Vec<CertificateSummary>)>, DescribeError> {
        let Some(hierarchy) = self.hierarchy()? else {
            return Ok(None);
        };
        let summaries = hierarchy::describe(&hierarchy)?;
        Ok(Some((hierarchy.trust_domain, summaries)))
    }

    /// The CRL of all unexpired revocations, signed by the intermediate, DER.
    pub async fn revocation_list(self: &Arc<Self>) -> Result<Vec<u8>, RevocationListError> {
        let app = Arc::clone(self);
        self.pool.run(move || app.sign_revocation_list()).await?
    }

    fn sign_revocation_list(&self) -> Result<Vec<u8>, RevocationListError> {
        let authority = self.authority().ok_or(IssuingError::NoAuthority)?;
        let now = self.clock.now();
        let revoked = self.store.read(|view| view.revoked_serials(now)).map_err(Unavailable::from)?;
        let number = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let list = authority.crl(revoked, number, now, now + CRL_LIFETIME);
        Ok(list.map_err(IssuingError::Signing)?)
    }

    /// The public keys of the roots.
    pub fn bundle_keys(&self) -> Result<Option<Vec<BundleKey>>, Unavailable> {
        let Some(hierarchy) = self.hierarchy()? else {
            return Ok(None);
        };
        let key = |root: &Vec<u8>| {
            let (x, y) = hierarchy::p256_coordinates(root)?;
            Some(BundleKey { x, y, certificate: root.clone() })
        };
        Ok(Some(hierarchy.roots.iter().filter_map(key).collect()))
    }

    /// Unseals the issuing key; from now on enrollments and rotations are answered.
    pub fn unseal(&self, envelope: &Envelope) -> Result<Hierarchy, UnsealError> {
        let hierarchy = self.hierarchy()?.ok_or(UnsealError::Missing)?;
        self.set_authority(Authority::open(&hierarchy, envelope)?);
        Ok(hierarchy)
    }
}
