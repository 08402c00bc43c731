//! What the server last told of whom to let in, as all parts of the agent share it: read without waiting for disk or
//! network, written by the one that watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tokio::sync::watch;

use crate::agent::trust::server_clock::ServerClock;
use crate::agent::trust::state::{Applied, ToldDocuments, TrustState};
use crate::agent::trust::update::{TrustUpdateError, WholeUpdate};
use crate::clock::Clock;

/// A handle; clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct SharedTrust(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Whoever waits to write keeps new readers waiting, so it is written for moments and read for moments, except by
    /// whoever holds `writing`.
    state: RwLock<Option<TrustState>>,
    /// Held while an update is taken: two sessions may watch while one replaces the other. And by whoever reads at length.
    writing: Mutex<()>,
    /// Moves with each change of what decides, and of the lists.
    changes: watch::Sender<u64>,
    /// Moves with each change of the bundle and of the lists.
    documents: watch::Sender<u64>,
    wanted: watch::Sender<TrustWanted>,
    /// How many watches the server has accepted and not ended.
    watching: watch::Sender<usize>,
    attendance: watch::Sender<Attendance>,
    /// Why there are no trust updates at present.
    trouble: RwLock<Option<String>>,
    /// Set when the trouble is that the server tells none: what it told once counts no more.
    withdrawn: AtomicBool,
    clock: ServerClock,
}

/// Whether lists are to be expected.
#[derive(Debug, Clone, Copy, Default)]
struct Attendance {
    /// Sessions that watch, or try to.
    sessions: usize,
    /// Watches by which lists come, and have come.
    listing: usize,
}

/// Who wants trust updates at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TrustWanted {
    /// How many want to know whom to let in.
    updates: usize,
    /// How many want revocation lists, too.
    lists: usize,
    /// How many answer relying parties by them.
    answers: usize,
}

impl TrustWanted {
    pub(crate) const fn any(self) -> bool {
        self.updates + self.lists + self.answers > 0
    }

    pub(crate) const fn lists(self) -> bool {
        self.lists > 0
    }

    pub(crate) const fn answers(self) -> bool {
        self.answers > 0
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

/// While it lives, the agent watches and is told before those whom nobody asks.
#[derive(Debug)]
pub(crate) struct AnswersWanted(Arc<Shared>);

impl Drop for AnswersWanted {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| wanted.answers -= 1);
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

/// While it lives, there is a session that watches or tries to.
#[derive(Debug)]
pub(crate) struct Attended(Arc<Shared>);

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.attendance.send_modify(|attendance| attendance.sessions -= 1);
    }
}

/// While it lives, lists are the server's newest.
#[derive(Debug)]
pub(crate) struct ListsCurrent(Arc<Shared>);

impl Drop for ListsCurrent {
    fn drop(&mut self) {
        self.0.attendance.send_modify(|attendance| attendance.listing -= 1);
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
            attendance: watch::Sender::default(),
            trouble: RwLock::default(),
            withdrawn: AtomicBool::new(false),
            clock: ServerClock::new(clock),
        }))
    }

    /// What the server last told; `None` before it has told anything. For a moment: see [`Self::read_at_length`].
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Option<TrustState>> {
        self.0.state.read()
    }

    /// The same for whoever looks at all of it, which takes as long as there are denied serials. Updates wait meanwhile and
    /// nobody else does, so it is not for the runtime's own threads.
    pub(crate) fn read_at_length<T>(&self, read: impl FnOnce(&TrustState) -> T) -> Option<T> {
        let _alone = self.0.writing.lock();
        self.0.state.read().as_ref().map(read)
    }

    /// Bundle and lists, to be read at leisure.
    pub(crate) fn documents(&self) -> Option<ToldDocuments> {
        self.read().as_ref().map(TrustState::documents)
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
        let confirmed_at = kept.as_ref().map(|kept| kept.confirmed_at);
        self.0.clock.remember(difference_ms.unwrap_or(0), confirmed_at);
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

    /// A session watches, or tries to, for as long as the guard lives.
    pub(crate) fn attended(&self) -> Attended {
        self.0.attendance.send_modify(|attendance| attendance.sessions += 1);
        Attended(Arc::clone(&self.0))
    }

    /// The server has told lists and goes on telling them, for as long as the guard lives.
    pub(crate) fn lists_current(&self) -> ListsCurrent {
        self.0.attendance.send_modify(|attendance| attendance.listing += 1);
        ListsCurrent(Arc::clone(&self.0))
    }

    /// Returns when lists are the newest, when there are some and the server is away, when it tells none, or after a moment:
    /// whoever asks for the first time should have them with the first answer.
    pub(crate) async fn first_lists(&self, patience: Duration) {
        let mut documents = self.document_changes();
        let mut attendance = self.0.attendance.subscribe();
        let there = || {
            let Attendance { sessions, listing } = *self.0.attendance.borrow();
            let has_lists = || self.read().as_ref().is_some_and(|state| !state.lists.is_empty());
            listing > 0 || self.withdrawn().is_some() || sessions == 0 && has_lists()
        };
        let told = async {
            while !there() {
                tokio::select! {
                    changed = documents.changed() => if changed.is_err() { return },
                    changed = attendance.changed() => if changed.is_err() { return },
                }
            }
        };
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

    /// Has the agent watch because relying parties ask it, for as long as the guard lives.
    #[must_use]
    pub(crate) fn answers_wanted(&self) -> AnswersWanted {
        self.0.wanted.send_modify(|wanted| wanted.answers += 1);
        AnswersWanted(Arc::clone(&self.0))
    }

    /// Who wants updates, and changes of that.
    pub(crate) fn wanted(&self) -> watch::Receiver<TrustWanted> {
        self.0.wanted.subscribe()
    }

    /// Now by the server's clock, as far as it is known.
    pub(crate) fn server_now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How long ago the server last confirmed that this is the newest; `None` before it has told anything, `Duration::MAX` where
    /// the machine's clock was set back since and nothing has been heard.
    pub(crate) fn age(&self) -> Option<Duration> {
        let confirmed_at = self.read().as_ref()?.confirmed_at;
        Some(self.0.clock.since(confirmed_at))
    }

    /// Takes note of the server's clock, as an answer to a heartbeat tells it.
    pub(crate) fn hear_server_time(&self, server_time_ms: i64) {
        self.0.clock.hear(server_time_ms);
    }

    /// Why there are no trust updates at present, for whoever is refused because of it.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.trouble.read().clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.0.withdrawn.store(false, Ordering::SeqCst);
        *self.0.trouble.write() = trouble;
    }

    /// Why what is known decides no more: the server tells no trust updates, so it would stay as it is for ever.
    pub(crate) fn withdrawn(&self) -> Option<String> {
        if self.0.withdrawn.load(Ordering::SeqCst) { self.trouble() } else { None }
    }

    /// The server has said that it tells no trust updates.
    pub(crate) fn withdraw(&self, why: &str) {
        self.set_trouble(Some(why.to_owned()));
        self.0.withdrawn.store(true, Ordering::SeqCst);
        // Whoever waits for lists waits in vain.
        self.told(true);
    }

    /// Takes an update. After an error everything is as it was. It may take a while, so it is not for the runtime's own threads.
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
        if self.read().as_ref().is_some_and(|state| state.confirmed_at == now) {
            self.0.clock.confirm();
        }
        if applied == Applied::Changed {
            self.told(documents);
        }
        Ok(applied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::trust::server_clock::tests::SetClocks;
    use crate::agent::trust::update::UpdateReader;
    use crate::agent::trust::update::tests::{authority, denied, update};
    use crate::clock;
    use crate::grpc::proto::TrustUpdate;

    fn whole(with_lists: bool) -> WholeUpdate {
        let (root, list) = authority();
        let lists = if with_lists { vec![list] } else { Vec::new() };
        let told = TrustUpdate { snapshot: true, roots: vec![root], lists, ..update(1, Vec::new()) };
        UpdateReader::default().take(told).unwrap().unwrap()
    }

    fn trust() -> SharedTrust {
        SharedTrust::new(Arc::new(SetClocks::default()))
    }

    #[test]
    fn whoever_reads_at_length_keeps_updates_waiting_and_no_reader() {
        let trust = trust();
        trust.apply(whole(false)).unwrap();
        let delta = UpdateReader::default().take(update(2, vec![denied(1, i64::from(u32::MAX), "")]));
        let delta = delta.unwrap().unwrap();
        let writer = trust.read_at_length(|_| {
            let trust_of_writer = trust.clone();
            let writer = std::thread::spawn(move || trust_of_writer.apply(delta));
            // The writer comes to wait meanwhile.
            let begun = clock::monotonic();
            while begun.elapsed() < Duration::from_millis(50) {
                assert!(trust.0.state.try_read().is_some());
                std::thread::yield_now();
            }
            assert!(!writer.is_finished());
            writer
        });
        assert_eq!(writer.unwrap().join().unwrap(), Ok(Applied::Changed));
    }

    #[test]
    fn what_a_server_told_counts_no_more_once_it_tells_nothing() {
        let trust = trust();
        trust.apply(whole(false)).unwrap();
        trust.set_trouble(Some("it broke".to_owned()));
        assert_eq!(trust.withdrawn(), None, "the next watch goes on");
        trust.withdraw("too old");
        assert_eq!(
            (trust.withdrawn().as_deref(), trust.trouble().as_deref()),
            (Some("too old"), Some("too old"))
        );
        trust.set_trouble(None);
        assert_eq!(trust.withdrawn(), None, "it was updated");
    }

    #[tokio::test]
    async fn first_lists_are_waited_for_unless_there_are_none_to_come() {
        let (short, long) = (Duration::from_millis(20), Duration::from_secs(600));
        let waits = async |trust: &SharedTrust| {
            let begun = clock::monotonic();
            trust.first_lists(short).await;
            begun.elapsed() >= short
        };
        let trust = trust();
        assert!(waits(&trust).await, "the agent has just started");
        trust.apply(whole(true)).unwrap();
        // The server is away.
        trust.first_lists(long).await;
        let session = trust.attended();
        assert!(waits(&trust).await, "they may be old");
        let listing = trust.lists_current();
        trust.first_lists(long).await;
        drop(listing);
        trust.withdraw("too old");
        // There will be none.
        trust.first_lists(long).await;
        drop(session);
    }
}
