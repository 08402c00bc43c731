//! Fleets that no store knows, for tests of rooms above.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::RwLock;

use crate::app::insight::events::Events;
use crate::app::insight::fleet::Fleet;
use crate::app::insight::fleet::loading::Loading;
use crate::domain::host::{Host, HostFacts};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{HostId, TenantId};

impl Fleet {
    /// A fleet that no store knows, for tests of rooms above.
    pub(crate) fn empty() -> Self {
        let (events, suspicions) = (Arc::new(Events::new(0)), Arc::default());
        Self { rows: RwLock::default(), loading: Loading::nothing(), events, suspicions }
    }

    /// Adds a host that no store knows.
    pub(crate) fn meet(&self, id: HostId) {
        self.rows.write().put(Host {
            id,
            tenant: TenantId::from_bytes([1; 16]),
            agent: id.to_string().parse().expect("a UUID is a valid agent id"),
            facts: HostFacts::default(),
            first_enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            newest_shown: None,
            trust: crate::domain::host::HostTrust::default(),
            decommissioned_at: None,
            revoked_at: None,
            let_in_by: None,
            newest_serial: Serial::from_bytes(*id.as_bytes()),
            svid_not_after: Timestamp::UNIX_EPOCH,
            flags: BTreeSet::new(),
            marks: crate::domain::host::tag::HostMarks::default(),
        });
    }
}
