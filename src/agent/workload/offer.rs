//! What is offered to programs on this machine: the SVID, its key and its bundle.

use std::fmt;

use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::agent::identity::Identity;
use crate::agent::workload::proto;
use crate::domain::identity::spiffe::SpiffeId;
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
}

impl Offered {
    /// An identity with the PEM of the roots that SVIDs of its trust domain are checked against.
    pub fn new(identity: &Identity, agent_ca: &[u8]) -> Result<Self, PemFileError> {
        let roots = certificates(agent_ca)?;
        Ok(Self {
            spiffe_id: identity.svid.spiffe_id.clone(),
            chain: identity.chain.iter().flat_map(|certificate| certificate.iter().copied()).collect(),
            key: Zeroizing::new(identity.key.serialized_der().to_vec()),
            bundle: roots.iter().flat_map(|root| root.iter().copied()).collect(),
        })
    }

    pub(crate) fn svid(&self) -> proto::X509svidResponse {
        let svid = proto::X509svid {
            spiffe_id: self.spiffe_id.to_string(),
            x509_svid: self.chain.clone(),
            x509_svid_key: self.key.to_vec(),
            bundle: self.bundle.clone(),
            hint: String::new(),
        };
        proto::X509svidResponse { svids: vec![svid], ..Default::default() }
    }

    pub(crate) fn bundles(&self) -> proto::X509BundlesResponse {
        let domain = format!("spiffe://{}", self.spiffe_id.trust_domain);
        proto::X509BundlesResponse { bundles: [(domain, self.bundle.clone())].into(), ..Default::default() }
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered").field("spiffe_id", &self.spiffe_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Run with `MUSTER_REGENERATE=1` to write the file instead of comparing it.
    #[test]
    fn generated_code_is_current() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent/workload");
        let kept = here.join("generated/workload.rs");
        let fresh = tempfile::tempdir().unwrap();
        let descriptors = protox::compile(["workload.proto"], [&here]).unwrap();
        tonic_prost_build::configure()
            .codec_path("crate::grpc::codec::SmallBuffers")
            .out_dir(fresh.path())
            .compile_fds(descriptors)
            .unwrap();
        // A file without a package has no better name.
        let fresh = std::fs::read(fresh.path().join("_.rs")).unwrap();
        if std::env::var_os("MUSTER_REGENERATE").is_some() {
            std::fs::write(&kept, &fresh).unwrap();
        }
        assert!(std::fs::read(kept).is_ok_and(|kept| kept == fresh), "workload.rs is out of date");
    }
}
