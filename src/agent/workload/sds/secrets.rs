//! The secrets by their names: the identity, and what others are checked with.

use data_encoding::HEXLOWER;
use prost::Message;
use prost_types::Any;

use super::proto::envoy::config::core::v3::DataSource;
use super::proto::envoy::config::core::v3::data_source::Specifier;
use super::proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use super::proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate,
};
use crate::agent::trust::state::TrustState;
use crate::agent::workload::Offered;
use crate::domain::sha256::sha256;
use crate::pem;

/// The type of all resources here.
pub(crate) const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
/// The names that stand for the machine's own identity and trust domain, as SPIRE's agent has them.
const OWN_CERTIFICATE: &str = "default";
const OWN_ROOTS: &str = "ROOTCA";

/// What there is at a time.
#[derive(Debug)]
pub(crate) struct Secrets<'a> {
    offered: &'a Offered,
    trust: Option<&'a TrustState>,
}

impl<'a> Secrets<'a> {
    pub(crate) const fn of(offered: &'a Offered, trust: Option<&'a TrustState>) -> Self {
        Self { offered, trust }
    }

    /// Names what there is, without saying anything of the key. The same content has the same version.
    pub(crate) fn version(&self) -> String {
        let (parts, roots) = (self.offered.pem(), self.offered.roots_pem(self.trust));
        let digest = sha256(&[
            &parts.chain.len().to_be_bytes(),
            parts.chain.as_bytes(),
            &roots.len().to_be_bytes(),
            roots.as_bytes(),
            self.lists().as_bytes(),
        ]);
        HEXLOWER.encode(&digest[..8])
    }

    /// Those of the names that there are, under the names that they were asked for by.
    pub(crate) fn resources(&self, names: &[String]) -> Vec<Any> {
        names.iter().filter_map(|name| self.resource(name)).collect()
    }

    /// Whether this is a name of roots, which come with lists only and wait for them.
    pub(crate) fn awaits_lists(&self, name: &str) -> bool {
        self.names_roots(name) && self.lists().is_empty()
    }

    /// Whether there is one of this name, now or once there are lists.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names_certificate(name) || self.names_roots(name)
    }

    fn names_certificate(&self, name: &str) -> bool {
        name == OWN_CERTIFICATE || name == self.offered.spiffe_id().to_string()
    }

    fn names_roots(&self, name: &str) -> bool {
        name == OWN_ROOTS || name == self.offered.spiffe_id().trust_domain.id()
    }

    /// Revocation lists, PEM; empty where there are none.
    fn lists(&self) -> String {
        let lists = self.trust.map(|trust| &trust.lists[..]).unwrap_or_default();
        lists.iter().map(|list| pem::encode(pem::CRL, list)).collect()
    }

    fn resource(&self, name: &str) -> Option<Any> {
        let parts = self.offered.pem();
        let content = if self.names_certificate(name) {
            Type::TlsCertificate(TlsCertificate {
                certificate_chain: inline(&parts.chain),
                private_key: inline(&parts.key),
            })
        } else if self.names_roots(name) {
            let lists = self.lists();
            // Roots by themselves are no answer: Envoy would take them, and let in whoever is revoked.
            if lists.is_empty() {
                return None;
            }
            let trusted_ca = inline(&self.offered.roots_pem(self.trust));
            Type::ValidationContext(CertificateValidationContext { trusted_ca, crl: inline(&lists) })
        } else {
            return None;
        };
        let secret = Secret { name: name.to_owned(), r#type: Some(content) };
        Some(Any { type_url: TYPE_URL.to_owned(), value: secret.encode_to_vec() })
    }
}

fn inline(text: &str) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())) })
}
