//! The deny list: revoked serials, until their certificates have expired beyond doubt, and revoked identities.
//!
//! It is consulted at every handshake and on every request, so it lives in memory. Only the store's
//! writer changes it, right after the commit that makes the revocation durable.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::TenantId;

/// An identity as the deny list names it; the trust domain is the deployment's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentRef {
    /// The wall it is behind.
    pub tenant: TenantId,
    /// Its name there.
    pub agent: AgentId,
}

/// One step in the life of the deny list, in commit order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DenyChange {
    /// A certificate is denied.
    Serial {
        /// Its number.
        serial: Serial,
        /// Its end, after which the denial may be forgotten.
        not_after: Timestamp,
    },
    /// An identity is denied, with every certificate it has or gets.
    Identity(AgentRef),
    /// The identity is let in again; its old certificates are not.
    LiftIdentity(AgentRef),
    /// The certificate expired long ago, whatever the clock may still do.
    Forget(Serial),
}

/// A step with all that is on record about it, as the revocation journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// A certificate was revoked.
    Serial {
        /// Its number.
        serial: Serial,
        /// Its end.
        not_after: Timestamp,
        /// When it was revoked.
        since: Timestamp,
        /// What for.
        reason: RevocationReason,
    },
    /// An identity was revoked.
    Identity {
        /// Which.
        identity: AgentRef,
        /// When.
        since: Timestamp,
    },
    /// Its host was re-enabled.
    Lifted {
        /// Which.
        identity: AgentRef,
        /// When.
        at: Timestamp,
    },
}

impl From<Denial> for DenyChange {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Serial { serial, not_after, .. } => Self::Serial { serial, not_after },
            Denial::Identity { identity, .. } => Self::Identity(identity),
            Denial::Lifted { identity, .. } => Self::LiftIdentity(identity),
        }
    }
}

#[derive(Debug, Default)]
struct Sets {
    serials: HashSet<Serial>,
    identities: HashSet<AgentRef>,
}

impl Sets {
    fn apply(&mut self, change: DenyChange) {
        match change {
            DenyChange::Serial { serial, .. } => {
                self.serials.insert(serial);
            }
            DenyChange::Identity(identity) => {
                self.identities.insert(identity);
            }
            DenyChange::LiftIdentity(identity) => {
                self.identities.remove(&identity);
            }
            DenyChange::Forget(serial) => {
                self.serials.remove(&serial);
            }
        }
    }
}

/// A shared handle; clones see the same list.
#[derive(Debug, Clone, Default)]
pub struct DenyList(Arc<RwLock<Sets>>);

impl DenyList {
    /// Whether either the certificate or the identity is denied.
    pub fn denies(&self, serial: Serial, identity: &AgentRef) -> bool {
        let sets = self.0.read();
        sets.serials.contains(&serial) || sets.identities.contains(identity)
    }

    /// Whether the certificate itself is denied, which is all that relying parties go by.
    pub fn denies_serial(&self, serial: Serial) -> bool {
        self.0.read().serials.contains(&serial)
    }

    /// Takes steps in commit order; all are in force when this returns.
    pub fn apply(&self, changes: impl IntoIterator<Item = DenyChange>) {
        let mut sets = self.0.write();
        changes.into_iter().for_each(|change| sets.apply(change));
    }

    /// From now on this is denied and nothing else.
    pub fn replace(&self, all: impl IntoIterator<Item = DenyChange>) {
        let mut sets = Sets::default();
        all.into_iter().for_each(|change| sets.apply(change));
        *self.0.write() = sets;
    }

    /// How many serials and identities are denied.
    pub fn size(&self) -> (usize, usize) {
        let sets = self.0.read();
        (sets.serials.len(), sets.identities.len())
    }
}
