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

    /// Everything that is to be told now.
    pub async fn snapshot(&self, now: Timestamp) -> Result<TrustSnapshot, Unavailable> {
        let log = Arc::clone(&self.log);
        self.pool.run(move || log.snapshot(now)).await
    }

    /// Takes note of a moment by which it is judged what has ended, on disk before anybody is told by it: whether the clock was
    /// ahead is known after a restart, too.
    pub async fn judge(&self, now: Timestamp) {
        if !self.log.judge(now) {
            return;
        }
        match self.write(vec![Change::JudgeTrust(now)]).await {
            Ok(()) => self.log.judged_on_disk(now),
            // What is denied goes out all the same.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "by which clock watchers of trust are told could not be noted");
            }
        }
    }

    /// Has everybody told everything anew, by the clock as it is now.
    pub async fn begin_epoch(&self, now: Timestamp) -> Result<(), Unavailable> {
        let epoch = TrustEpoch::from_bytes(entropy()?);
        self.write(vec![Change::BeginTrustEpoch(epoch), Change::JudgeTrust(now)]).await?;
        self.log.judge_anew(now);
        Ok(())
    }

    async fn write(&self, changes: Vec<Change>) -> Result<(), Unavailable> {
        self.store.write(move |_, _| Ok(Verdict::<_, Unavailable>::accept((), changes))).await?
    }

    /// For tests of rooms above.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        let store = Store::in_memory(Arc::new(crate::clock::SystemClock));
        Self::new(Arc::default(), store)
    }

    /// The same as after a restart.
    #[cfg(test)]
    pub(crate) fn reloaded(&self) -> Self {
        let log = self.store.read(TrustLog::load).unwrap();
        Self::new(Arc::new(log), self.store.clone())
    }

    #[cfg(test)]
    pub(crate) fn stored_epoch(&self) -> Option<TrustEpoch> {
        self.store.read(|view| view.trust_version()).unwrap().map(|version| version.epoch)
    }
}

impl App {
    /// What watchers of trust are told.
    pub fn trust_feed(&self) -> TrustFeed {
        TrustFeed::new(Arc::clone(&self.trust_log), self.store.clone())
    }
}
