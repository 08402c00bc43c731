//! How the writer's writes go, for those who ask whether the store takes any.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;

/// Bounds of how long a commit takes, in seconds.
const SECONDS: [f64; 13] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Bounds of how many decisions share one.
const DECISIONS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// How commits have gone since the store was opened. Clones count together.
#[derive(Debug, Clone)]
pub struct CommitFigures {
    /// From the first look at a batch until it was on disk.
    pub seconds: Histogram,
    /// How many decisions were in it.
    pub decisions: Histogram,
}

impl Default for CommitFigures {
    fn default() -> Self {
        Self { seconds: Histogram::new(SECONDS), decisions: Histogram::new(DECISIONS) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct WriteHealth {
    /// The store is being opened anew and nothing can be decided.
    reopening: AtomicBool,
    /// What the store holds is known once it is open again; that the journal is in doubt is no reason.
    in_doubt: AtomicBool,
    /// The latest write failed. That the store opens again does not say that the next one will succeed: the disk that was
    /// full may still be.
    failing: AtomicBool,
    failed: AtomicU64,
    commits: CommitFigures,
}

impl WriteHealth {
    /// Whether the latest write succeeded and the next one can be tried.
    pub(crate) fn is_good(&self) -> bool {
        !self.reopening.load(Ordering::Acquire) && !self.failing.load(Ordering::Acquire)
    }

    /// Whether a write failed of which nobody can say yet if it has reached the disk.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Acquire)
    }

    /// How many writes have failed.
    pub(crate) fn failed_writes(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How those have gone that have not.
    pub(crate) const fn commits(&self) -> &CommitFigures {
        &self.commits
    }

    pub(in crate::store) fn written(&self, decisions: usize, took: Duration) {
        self.failing.store(false, Ordering::Release);
        self.commits.seconds.observe(took.as_secs_f64());
        self.commits.decisions.observe(f64::from(u32::try_from(decisions).unwrap_or(u32::MAX)));
    }

    /// Nothing of it was tried.
    pub(in crate::store) fn refused(&self) {
        self.failing.store(true, Ordering::Release);
    }

    /// It failed, and the store is opened anew; `in_doubt`: what it holds is not known.
    pub(in crate::store) fn failed(&self, in_doubt: bool) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Release);
        self.reopening.store(true, Ordering::Release);
        self.set_in_doubt(in_doubt);
    }

    pub(in crate::store) fn set_in_doubt(&self, in_doubt: bool) {
        self.in_doubt.store(in_doubt, Ordering::Release);
    }

    pub(in crate::store) fn reopened(&self) {
        self.reopening.store(false, Ordering::Release);
    }
}
