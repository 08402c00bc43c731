//! What a commit changed, for those who follow the store.

use crate::domain::host::Host;
use crate::domain::identity::deny::{AgentRef, DenyChange};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreEpoch};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::trust_version::TrustVersion;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit::{AuditKind, AuditRecord};
use crate::domain::people::access::AccessChange;
use crate::request_id::RequestId;

/// What the writer tells the rest of the process after a commit and before its callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Steps of the deny list in commit order; the live list has taken them already.
    pub deny: Vec<DenyChange>,
    /// Whose certificates those are that were denied, as far as they are on record.
    pub holders: Vec<(Serial, AgentRef)>,
    /// The agent CA, where it is another one now.
    pub hierarchy: Option<Box<Hierarchy>>,
    /// How far the store has come, where watchers of trust have something to be told.
    pub trust: Option<TrustVersion>,
    /// All restore epochs, where there is another one.
    pub restore_epochs: Option<Vec<RestoreEpoch>>,
    /// Of which identities SVIDs that are on no record never come back.
    pub bars: Vec<(AgentRef, RecoveryBar)>,
    /// Hosts whose rows were written or removed, or whose identities were denied or lifted.
    pub hosts: Vec<HostChange>,
    /// Hosts that got a certificate.
    pub enrollments: Vec<(TenantId, HostId)>,
    /// Hosts whose agents have reported events.
    pub reports: Vec<(TenantId, HostId)>,
    /// Enrollment secrets that were made, used or revoked.
    pub secrets: Vec<(TenantId, CredentialId)>,
    /// Whether something waits for a webhook, or another one is there.
    pub webhooks: bool,
    /// What the audit trail has got, to be counted.
    pub audited: Vec<AuditKind>,
    /// The same as it stands in the trail, and of which requests it came.
    pub records: Vec<(AuditRecord, Option<RequestId>)>,
    /// Whose rights have changed: who holds a stream open on the strength of them must prove them anew.
    pub access: Vec<AccessChange>,
    /// This is all of the store and not what has changed in it: denials and hosts that are not named are gone.
    pub whole: bool,
}

/// What became of a host's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostChange {
    /// What it says now.
    Put(Box<Host>),
    /// It was deleted, with all that hung on it.
    Removed {
        /// The tenant that it was in.
        tenant: TenantId,
        /// Of the row that is gone.
        id: HostId,
    },
}

/// Called on the writer thread for every commit that published something. Must not block.
pub type Publish = Box<dyn Fn(&Published) + Send>;
