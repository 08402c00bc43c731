//! A bounded pool for work that would hold up the async workers: signing, hashing, long reads.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::app::Unavailable;

/// Runs work that costs CPU away from the async workers, a bounded amount at a time.
#[derive(Debug)]
pub(crate) struct Pool {
    slots: Arc<Semaphore>,
}

impl Default for Pool {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { slots: Arc::new(Semaphore::new(cores * 2)) }
    }
}

impl Pool {
    /// A pool that does so much at a time.
    pub(crate) fn of(slots: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(slots)) }
    }

    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| Unavailable::Stopping)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(slot);
            result
        });
        done.await.map_err(|_| Unavailable::Failed)
    }
}
