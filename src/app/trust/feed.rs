//! The trust log with the store behind it: everything that a new watcher has to be told.

use std::sync::Arc;

use jiff::Timestamp;

use crate::app::pool::Pool;
use crate::app::trust::log::{TrustLog, TrustSnapshot};
use crate::app::{App, Unavailable, entropy};
use crate::domain::identity::trust_version::TrustEpoch;
use crate::store::{Change, Store, Verdict};

/// A handle; clones share one log.
#[derive(Debug, Clone)]
pub struct TrustFeed {
    /// What has changed.
    pub log: Arc<TrustLog>,
    store: Store,
    /// One snapshot at a time is enough: it is shared.
    pool: Arc<Pool>,
}

impl TrustFeed {
    pub(crate) fn new(log: Arc<TrustLog>, store: Store) -> Self {
        Self { log, store, pool: Arc::new(Pool::of(1)) }
    }

    /// Everything that is to be told now. What was denied before the start is looked up the first time.
    pub async fn snapshot(&self, now: Timestamp) -> Result<TrustSnapshot, Unavailable> {
        let (log, store) = (Arc::clone(&self.log), self.store.clone());
        self.pool
            .run(move || {
                if let Some(unknown) = log.without_holder() {
                    let mut found = Vec::new();
                    store.read(|view| {
                        for serial in unknown {
                            found.extend(view.holder_of(serial)?.map(|holder| (serial, holder)));
                        }
                        Ok::<_, Unavailable>(())
                    })?;
                    log.put_holders(found);
                }
                Ok(log.snapshot(now))
            })
            .await?
    }

    /// Has everybody told everything anew.
    pub async fn begin_epoch(&self) -> Result<(), Unavailable> {
        let change = Change::BeginTrustEpoch(TrustEpoch::from_bytes(entropy()?));
        let begun = self.store.write(move |_, _| Ok(Verdict::<_, Unavailable>::accept((), vec![change])));
        begun.await?
    }

    /// For tests of rooms above.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let store = Store::in_memory(Arc::new(crate::clock::SystemClock));
        Self::new(Arc::default(), store)
    }
}

impl App {
    /// What watchers of trust are told.
    pub fn trust_feed(&self) -> TrustFeed {
        TrustFeed::new(Arc::clone(&self.trust_log), self.store.clone())
    }
}
