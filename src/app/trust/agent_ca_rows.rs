//! The rows of the agent CA as they are on record, read once per change: whoever rotates is checked against them.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::ca::parse::presented::ReadHierarchy;
use crate::domain::identity::restore_epoch::RestoreEpoch;
use crate::store::{Published, ReadError, View};

/// What they say.
#[derive(Debug, Clone, Default)]
pub(crate) struct AgentCaRows {
    /// `None` before the agent CA was made.
    pub(crate) hierarchy: Option<ReadHierarchy>,
    /// In which certificates of intermediates that are on no record may be good.
    pub(crate) epochs: Vec<RestoreEpoch>,
}

/// Kept in step with the store.
#[derive(Debug)]
pub(crate) struct AgentCaRowsNow(RwLock<Arc<AgentCaRows>>);

impl AgentCaRowsNow {
    pub(crate) fn load(view: &View<'_>) -> Result<Self, ReadError> {
        let rows = AgentCaRows {
            hierarchy: view.hierarchy()?.map(ReadHierarchy::from),
            epochs: view.restore_epochs()?,
        };
        Ok(Self(RwLock::new(Arc::new(rows))))
    }

    pub(crate) fn now(&self) -> Arc<AgentCaRows> {
        Arc::clone(&self.0.read())
    }

    /// Called by the writer, in commit order.
    pub(crate) fn follow(&self, published: &Published) {
        let Published { hierarchy, restore_epochs, whole, .. } = published;
        if hierarchy.is_none() && restore_epochs.is_none() && !whole {
            return;
        }
        let mut rows = AgentCaRows::clone(&self.now());
        if *whole || hierarchy.is_some() {
            rows.hierarchy = hierarchy.as_deref().cloned().map(ReadHierarchy::from);
        }
        if *whole || restore_epochs.is_some() {
            rows.epochs = restore_epochs.clone().unwrap_or_default();
        }
        *self.0.write() = Arc::new(rows);
    }
}
