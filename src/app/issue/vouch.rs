//! Vouching by the registry: whether a certificate that a relying party was shown may still open a door. Nothing is
//! recorded of it: it changes nothing, and relying parties ask with every request of theirs.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable};
use crate::domain::host::tag::Tag;
use crate::domain::identity::admission::{Admission, NotAdmitted};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::HostId;
use crate::vouch::issuers::Issuers;
use crate::vouch::refusal::NotVouched;

/// A live agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAgent {
    /// Its name.
    pub id: SpiffeId,
    /// Its machine.
    pub host: HostId,
    /// Of the certificate that was shown.
    pub serial: Serial,
    /// The last second in which that one is good.
    pub not_after: Timestamp,
    /// Of its machine.
    pub tags: BTreeSet<Tag>,
}

/// Why nobody is vouched for.
#[derive(Debug, thiserror::Error)]
pub enum VouchError {
    /// It is not to be let in.
    #[error(transparent)]
    Refused(#[from] NotVouched),
    /// The store or the machine could not answer; nobody is let in meanwhile.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The issuers of the agent CA as it was when it last changed.
#[derive(Debug)]
pub(crate) struct VouchIssuers(Mutex<KnownHierarchy>);

#[derive(Debug)]
struct KnownHierarchy {
    /// Of the agent CA, among others.
    changes: watch::Receiver<()>,
    newest: Option<(Hierarchy, Arc<Issuers>)>,
}

impl VouchIssuers {
    pub(crate) fn new(mut changes: watch::Receiver<()>) -> Self {
        changes.mark_changed();
        Self(Mutex::new(KnownHierarchy { changes, newest: None }))
    }
}

impl App {
    /// Whether a certificate in one of the forms of `vouch::presented` is a live agent's, of the tenant asked for by those
    /// who see all of them, else of the caller's own.
    ///
    /// # Errors
    /// Why it is not; and where the store can't be read.
    pub fn vouch(
        &self,
        caller: &Caller,
        certificate: &str,
        tenant: Option<&str>,
        tags: &[String],
    ) -> Result<LiveAgent, VouchError> {
        let tenant = self.tenant_for(caller, tenant)?.ok_or(NotVouched::OtherTenant)?;
        let issuers = self.vouch_issuers()?;
        let issuers = issuers.ok_or(NotVouched::Unknowing("there is no agent CA yet".into()))?;
        let verified = issuers.verify(certificate, self.clock.now())?;
        let svid = &verified.svid;
        if svid.spiffe_id.tenant != tenant {
            return Err(NotVouched::OtherTenant.into());
        }
        let admitted = self.admit(&verified.leaf, svid.spki(), svid.serial, &svid.spiffe_id);
        let host = admitted.map_err(|refusal| match refusal {
            NotAdmitted::Revoked => NotVouched::Revoked,
            NotAdmitted::Unrecorded | NotAdmitted::UnknownHost => NotVouched::Unrecorded,
            NotAdmitted::Unavailable => {
                NotVouched::Unknowing("the registry can't be read; the server's log says why".into())
            }
        })?;
        let has = self.fleet.host(host).map(|now| now.host.marks.tags).unwrap_or_default();
        if !tags.iter().all(|tag| has.iter().any(|had| had.as_str() == tag)) {
            return Err(NotVouched::MissingTag("the host lacks a tag that is asked for").into());
        }
        let (id, serial, not_after) = (svid.spiffe_id.clone(), svid.serial, svid.not_after);
        Ok(LiveAgent { id, host, serial, not_after, tags: has })
    }

    fn vouch_issuers(&self) -> Result<Option<Arc<Issuers>>, Unavailable> {
        let mut known = self.vouch_issuers.0.lock();
        // The sender lives as long as the app.
        if known.changes.has_changed().unwrap_or(true) {
            known.changes.mark_unchanged();
            let hierarchy = self.hierarchy().inspect_err(|_| known.changes.mark_changed())?;
            // Most changes are revocations, after which what was verified is as good as before.
            if known.newest.as_ref().map(|(before, _)| before) != hierarchy.as_ref() {
                known.newest = hierarchy.map(|hierarchy| {
                    let intermediates = hierarchy.believed().map(|it| &it.certificate);
                    let issuers = Issuers::new(hierarchy.trust_domain.clone(), intermediates);
                    (hierarchy, Arc::new(issuers))
                });
            }
        }
        Ok(known.newest.as_ref().map(|(_, issuers)| Arc::clone(issuers)))
    }
}
