//! What the server last told of whom to let in, as all parts of the agent share it: read without waiting for disk or
//! network, written by the one that watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::agent::trust::state::{Applied, TrustState};
use crate::agent::trust::update::{TrustUpdateError, WholeUpdate};
use crate::clock::Clock;

/// A handle; clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct SharedTrust(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: RwLock<Option<TrustState>>,
    /// Held while an update is taken: two sessions may watch while one replaces the other.
    writing: Mutex<()>,
    /// Moves with each change of what decides, and of the lists.
    changes: watch::Sender<u64>,
    /// Moves with each change of the bundle and of the lists.
    documents: watch::Sender<u64>,
    wanted: watch::Sender<TrustWanted>,
    /// How many watches the server has accepted and not ended.
    watching: watch::Sender<usize>,
    /// Why there are no trust updates at present.
    trouble: RwLock<Option<String>>,
    clock: Arc<dyn Clock>,
    /// The server's clock minus this machine's, in milliseconds.
    difference_ms: AtomicI64,
}

/// Who wants trust updates at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrustWanted {
    /// How many want to know whom to let in.
    updates: usize,
    /// How many want revocation lists, too.
    lists: usize,
}

impl TrustWanted {
    pub(crate) const fn any(self) -> bool {
        self.updates + self.lists > 0
    }

    pub(crate) const fn lists(self) -> bool {
        self.lists > 0
    }
}

/// While it lives, the agent watches.
#[derive(Debug)]
pub(crate) struct UpdatesWanted(Arc<Shared>);

impl Drop for UpdatesWanted {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| wanted.updates -= 1);
    }
}

/// While it lives, the agent watches and asks for revocation lists.
#[derive(Debug)]
pub(crate) struct ListsWanted(Arc<Shared>);

impl Drop for ListsWanted {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| wanted.lists -= 1);
    }
}

/// While it lives, the server is being watched.
#[derive(Debug)]
pub(crate) struct Watching(Arc<Shared>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.watching.send_modify(|count| *count -= 1);
    }
}

impl SharedTrust {
    /// Before anything is known.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            state: RwLock::default(),
            writing: Mutex::default(),
            changes: watch::Sender::new(0),
            documents: watch::Sender::new(0),
            wanted: watch::Sender::default(),
            watching: watch::Sender::new(0),
            trouble: RwLock::default(),
            clock,
            difference_ms: AtomicI64::new(0),
        }))
    }

    /// What the server last told; `None` before it has told anything. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Option<TrustState>> {
        self.0.state.read()
    }

    /// Moves with each change of what decides or of the lists, right after `read` shows it.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Moves with each change of the trust bundle or of the lists, and not with denied serials alone.
    pub(crate) fn document_changes(&self) -> watch::Receiver<u64> {
        self.0.documents.subscribe()
    }

    /// What was kept on disk, at the start.
    pub(crate) fn restore(&self, kept: Option<TrustState>, difference_ms: Option<i64>) {
        self.set_clock_difference(difference_ms.unwrap_or(0));
        let Some(kept) = kept else { return };
        let _alone = self.0.writing.lock();
        self.0.state.write().get_or_insert(kept);
        self.told(true);
    }

    /// What the server need not tell again.
    pub(crate) fn resume(&self) -> Option<(String, u64)> {
        self.read().as_ref().map(|state| state.resume(self.server_now()))
    }

    /// The server has accepted a watch, for as long as the guard lives.
    pub(crate) fn watching(&self) -> Watching {
        self.0.watching.send_modify(|count| *count += 1);
        Watching(Arc::clone(&self.0))
    }

    /// How many watches the server has accepted and not ended.
    pub(crate) fn watches(&self) -> watch::Receiver<usize> {
        self.0.watching.subscribe()
    }

    /// Returns when there are lists, when the server is not being watched, or after a moment: whoever asks for the first time
    /// should have them with the first answer.
    pub(crate) async fn first_lists(&self, patience: Duration) {
        let has_lists = || self.read().as_ref().is_some_and(|state| !state.lists.is_empty());
        if has_lists() || *self.0.watching.borrow() == 0 {
            return;
        }
        let mut changes = self.document_changes();
        let told = async { while !has_lists() && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(patience, told).await;
    }

    fn told(&self, documents: bool) {
        if documents {
            self.0.documents.send_modify(|count| *count += 1);
        }
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Has the agent watch, for as long as the guard lives.
    #[must_use]
    pub(crate) fn updates_wanted(&self) -> UpdatesWanted {
        self.0.wanted.send_modify(|wanted| wanted.updates += 1);
        UpdatesWanted(Arc::clone(&self.0))
    }

    /// Has the agent watch and ask for revocation lists, for as long as the guard lives.
    #[must_use]
    pub(crate) fn lists_wanted(&self) -> ListsWanted {
        self.0.wanted.send_modify(|wanted| wanted.lists += 1);
        ListsWanted(Arc::clone(&self.0))
    }

    /// Who wants updates, and changes of that.
    pub(crate) fn wanted(&self) -> watch::Receiver<TrustWanted> {
        self.0.wanted.subscribe()
    }

    /// Now by the server's clock, as far as it is known.
    pub(crate) fn server_now(&self) -> Timestamp {
        let difference = SignedDuration::from_millis(self.0.difference_ms.load(Ordering::Relaxed));
        let now = self.0.clock.now();
        now.checked_add(difference).unwrap_or(now)
    }

    /// How long ago the server last confirmed that this is the newest; `None` before it has told anything.
    pub(crate) fn age(&self) -> Option<Duration> {
        let confirmed_at = self.read().as_ref()?.confirmed_at;
        Some(Duration::try_from(self.server_now().duration_since(confirmed_at)).unwrap_or_default())
    }

    /// Takes note of the server's clock, as an answer to a heartbeat tells it.
    pub(crate) fn set_clock_difference(&self, difference_ms: i64) {
        self.0.difference_ms.store(difference_ms, Ordering::Relaxed);
    }

    /// Why there are no trust updates at present, for whoever is refused because of it.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.trouble.read().clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        *self.0.trouble.write() = trouble;
    }

    /// Takes an update. After an error everything is as it was.
    pub(crate) fn apply(&self, update: WholeUpdate) -> Result<Applied, TrustUpdateError> {
        let _alone = self.0.writing.lock();
        let now = self.server_now();
        // Serials alone change neither.
        let documents = update.snapshot || !(update.roots.is_empty() && update.lists.is_empty());
        let applied = if update.snapshot {
            // Made beside the readers, who go on with the old one; what that held is freed after they may have it.
            let new = TrustState::from_snapshot(self.0.state.read().as_ref(), update, now)?;
            let old = self.0.state.write().replace(new);
            drop(old);
            Applied::Changed
        } else {
            self.0.state.write().as_mut().ok_or(TrustUpdateError::NoBase)?.apply(update, now)?
        };
        if applied == Applied::Changed {
            self.told(documents);
        }
        Ok(applied)
    }
}
