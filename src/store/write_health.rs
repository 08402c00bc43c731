//! How the writer's writes go, for those who ask whether the store takes any.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

    pub(in crate::store) fn written(&self) {
        self.failing.store(false, Ordering::Release);
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
