//! How many agents are connected, and in what way: counted where they come in, for whoever watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many of something there are at the moment.
#[derive(Debug, Clone, Default)]
pub struct LiveCount(Arc<AtomicUsize>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Counted(LiveCount);

impl LiveCount {
    /// Counts one more.
    pub fn enter(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is counted of agents.
#[derive(Debug, Clone, Default)]
pub struct LiveCounts {
    /// Sessions that are open.
    pub sessions: LiveCount,
    /// Watches of trust that are open.
    pub trust_watchers: LiveCount,
    /// Requests and messages of agents that were refused because there were too many.
    pub throttled: Arc<AtomicU64>,
}
