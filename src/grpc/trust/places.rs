//! How many watches one identity may have open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::app::insight::live_counts::{Counted, LiveCount};
use crate::domain::ids::HostId;

/// An agent needs one, and two while one session replaces the other.
pub(super) const WATCHES_PER_IDENTITY_MAX: u8 = 2;

/// Open watches by host.
#[derive(Debug, Clone, Default)]
pub(super) struct Watches {
    open: Arc<Mutex<HashMap<HostId, u8>>>,
    count: LiveCount,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenWatch {
    host: HostId,
    watches: Watches,
    _counted: Counted,
}

impl Watches {
    pub(super) fn counting(count: LiveCount) -> Self {
        Self { open: Arc::default(), count }
    }

    /// `None` where the host has as many as it may have.
    pub(super) fn open(&self, host: HostId) -> Option<OpenWatch> {
        let mut open = self.open.lock();
        let count = open.entry(host).or_default();
        if *count >= WATCHES_PER_IDENTITY_MAX {
            return None;
        }
        *count += 1;
        drop(open);
        Some(OpenWatch { host, watches: self.clone(), _counted: self.count.enter() })
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = self.watches.open.lock().entry(self.host) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
