//! The agent CA, for those who verify and for those who keep it: what goes over the wire, made from what the use cases answer.

use data_encoding::BASE64;

use crate::api::authority::{AgentCaBody, IntermediateBody};
use crate::app::keep::agent_ca::new_intermediate;
use crate::domain::identity::hierarchy::Hierarchy;

impl AgentCaBody {
    pub(crate) fn read(self) -> Option<Hierarchy> {
        let octets = |text: &String| BASE64.decode(text.as_bytes()).ok();
        let intermediate = |body: &IntermediateBody| {
            let (certificate, sealed_key) = (octets(&body.certificate)?, octets(&body.sealed_key)?);
            Some(new_intermediate(certificate, sealed_key, None))
        };
        Some(Hierarchy {
            trust_domain: self.trust_domain.parse().ok()?,
            roots: self.roots.iter().map(octets).collect::<Option<_>>()?,
            root_lists: self.root_lists.iter().map(octets).collect::<Option<_>>()?,
            waiting_lists: Vec::new(),
            svid_lifetimes: Vec::new(),
            root_change: None,
            open_request: None,
            intermediates: self.intermediates.iter().map(intermediate).collect::<Option<_>>()?,
        })
    }
}
