//! Whether a client certificate that verifies may come in: it must be one that we recorded, octet for
//! octet, for a host that we know, and neither it nor its identity may be revoked.
//!
//! Housekeeping drops the octets of what expired days ago. A clock that was far ahead for a while has had it drop
//! those of certificates that are good again once it is right, and then their recorded key speaks for them: whoever
//! proves to hold it is whom the certificate was made for.

use crate::app::App;
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::store::ReadError;

#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error("the certificate is not in the registry")]
    Unrecorded,
    #[error("the identity is revoked")]
    Revoked,
    #[error("the host is not in the registry")]
    UnknownHost,
    #[error("the registry cannot be read")]
    Unavailable(#[from] ReadError),
}

impl App {
    /// Runs inside a handshake: a few point reads, mostly from memory.
    pub fn admit(
        &self,
        leaf: &[u8],
        key: SpkiHash,
        serial: Serial,
        id: &SpiffeId,
    ) -> Result<HostId, NotAdmitted> {
        let identity = AgentRef { tenant: id.tenant, agent: id.agent.clone() };
        if self.store.deny_list().denies(serial, &identity) {
            return Err(NotAdmitted::Revoked);
        }
        self.store.read(|view| {
            let enrollment = view.any_tenant().enrollment(serial)?.ok_or(NotAdmitted::Unrecorded)?;
            if enrollment.revocation.is_some() {
                return Err(NotAdmitted::Revoked);
            }
            let recorded = match view.certificate(serial)? {
                Some(certificate) => certificate == leaf,
                None => enrollment.spki == key && !enrollment.expired(self.clock.now()),
            };
            if !recorded {
                return Err(NotAdmitted::Unrecorded);
            }
            let host = view.any_tenant().host(enrollment.host)?.ok_or(NotAdmitted::UnknownHost)?;
            if host.decommissioned_at.is_some() {
                return Err(NotAdmitted::Revoked);
            }
            if host.tenant != id.tenant || host.agent != id.agent {
                return Err(NotAdmitted::Unrecorded);
            }
            Ok(host.id)
        })
    }
}
