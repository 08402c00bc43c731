//! Whether a client certificate that verifies may come in: it must be one that we recorded, octet for
//! octet, for a host that we know, and neither it nor its identity may be revoked.
//!
//! Housekeeping drops the octets of what expired days ago. A clock that was far ahead for a while has had it drop
//! those of certificates that are good again once it is right, and then their recorded key speaks for them: whoever
//! proves to hold it is whom the certificate was made for.

use std::error::Error;

use jiff::Timestamp;

use crate::app::App;
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::admission::{Admission, NotAdmitted};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::store::{ReadError, View};

impl Admission for App {
    /// Runs inside a handshake: a few point reads, mostly from memory.
    fn admit(
        &self,
        leaf: &[u8],
        key: SpkiHash,
        serial: Serial,
        id: &SpiffeId,
    ) -> Result<HostId, NotAdmitted> {
        let identity = AgentRef { tenant: id.tenant, agent: id.agent.clone() };
        if self.store.deny_list().denies(serial, &identity) {
            self.note_shown_denied(leaf, serial, &identity);
            return Err(NotAdmitted::Revoked);
        }
        let now = self.clock.now();
        let judged = self.store.read(|view| judge(view, leaf, key, serial, id, now));
        judged.unwrap_or_else(|error| {
            tracing::error!(error = &error as &dyn Error, "cannot judge a client certificate");
            Err(NotAdmitted::Unavailable)
        })
    }

    fn note_shown(&self, host: HostId, serial: Serial) {
        self.compare_shown(host, serial);
    }
}

fn judge(
    view: &View<'_>,
    leaf: &[u8],
    key: SpkiHash,
    serial: Serial,
    id: &SpiffeId,
    now: Timestamp,
) -> Result<Result<HostId, NotAdmitted>, ReadError> {
    let Some(enrollment) = view.any_tenant().enrollment(serial)? else {
        return Ok(Err(NotAdmitted::Unrecorded));
    };
    if enrollment.revocation.is_some() {
        return Ok(Err(NotAdmitted::Revoked));
    }
    let recorded = match view.certificate(serial)? {
        Some(certificate) => certificate == leaf,
        None => enrollment.spki == key && !enrollment.expired(now),
    };
    if !recorded {
        return Ok(Err(NotAdmitted::Unrecorded));
    }
    let Some(host) = view.any_tenant().host(enrollment.host)? else {
        return Ok(Err(NotAdmitted::UnknownHost));
    };
    if host.decommissioned_at.is_some() {
        return Ok(Err(NotAdmitted::Revoked));
    }
    let named = host.tenant == id.tenant && host.agent == id.agent;
    Ok(if named { Ok(host.id) } else { Err(NotAdmitted::Unrecorded) })
}
