//! The one writer: a thread that runs waiting decisions as a batch and puts what they change on disk together, as one frame
//! of the change log.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::apply::{Batch, Finished};
use super::change::Verdict;
use super::layers::delta::Delta;
use super::queued::{Job, Queued, Reply, WriteError, WriteQueue};
use super::view::View;
use super::write_health::WriteHealth;
use super::{HostChange, Publish, Published, ReadError};
use crate::clock::{self, Clock};
use crate::domain::identity::deny::{Denial, DenyList};
use crate::domain::insight::audit::ChainHead;
use crate::domain::withdrawal::Withdrawal;
use crate::request_id::run_for;
use crate::store::journal::audit_checkpoints::Loss;
use crate::store::journal::file::{Journal, JournalError};
use crate::store::journal::line::Line;
use crate::store::journal::net::{coalesce, newest};
use crate::store::layers::checkpoint;
use crate::store::layers::checkpoint::Checkpointer;
use crate::store::log::change_log::ChangeLog;
use crate::store::log::tap::FrameTap;
use crate::store::opening::disk::Disk;
use crate::store::opening::open;
use crate::store::opening::open::{OpenError, OpenedJournal};

/// Decisions that may wait; callers beyond that wait to get in, bounded by their own timeouts.
const QUEUE: usize = 1_024;
/// Decisions that share one frame. More would only lengthen the wait of the first.
const BATCH: usize = 256;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the writer is given to do.
pub(super) enum Work {
    Decide(Job),
    /// A checkpoint failed, and what the file holds is in doubt.
    Reopen(Failure),
}

pub(crate) struct Writer {
    // `None` once the writer is being dropped: closing the queue is what ends the thread.
    queue: Option<mpsc::Sender<Work>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    health: Arc<WriteHealth>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("health", &self.health).finish_non_exhaustive()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.get_mut().take() {
            // A panic there has already ended the process.
            let _ = thread.join();
        }
    }
}

impl Writer {
    pub(crate) fn start(
        disk: Arc<Disk>,
        (log, tap): (Option<ChangeLog>, Arc<FrameTap>),
        journal: Option<Journal>,
        loss: Arc<Loss>,
        clock: Arc<dyn Clock>,
        deny: DenyList,
        publish: Publish,
    ) -> Result<Self, std::io::Error> {
        let (queue, work) = mpsc::channel(QUEUE);
        let health = Arc::new(WriteHealth::default());
        let to_writer = queue.downgrade();
        let checkpointer = Checkpointer::start(Arc::clone(&disk), move |error| {
            // Without a writer nobody waits for the file.
            if let Some(writer) = to_writer.upgrade() {
                let _ = writer.blocking_send(Work::Reopen(error.into()));
            }
        })?;
        let mut run = Run {
            disk,
            log,
            tap,
            checkpointer: Some(checkpointer),
            journal,
            loss,
            head: None,
            alive: None,
            marked: clock::monotonic(),
            clock,
            deny,
            publish,
            health: Arc::clone(&health),
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.until_closed(work)));
            if ended.is_err() {
                tracing::error!("the store's writer failed; stopping before anything else is promised");
                std::process::abort();
            }
        })?;
        Ok(Self { queue: Some(queue), thread: Mutex::new(Some(thread)), health })
    }

    pub(crate) fn health(&self) -> &WriteHealth {
        &self.health
    }

    /// How many decisions wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// Queues a decision, which then is run whether or not anybody waits for it. Where the queue is full, it waits with its
    /// caller.
    pub(crate) fn begin<T, E, D>(&self, decision: D) -> Queued<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        Queued::new(self.queue.as_ref(), decision)
    }

    /// Another way into the queue.
    pub(crate) fn queue(&self) -> WriteQueue {
        WriteQueue::of(self.queue.clone())
    }
}

/// How long a batch waits for a checkpoint, when as much again stands above the file already.
const ROOM_WITHIN: Duration = Duration::from_secs(10);
/// How often a file that does not open is tried again.
const REOPEN_EVERY: Duration = Duration::from_secs(1);
/// How often the journal is told how far the audit trail has come, when no revocation does it anyway.
const MARK_EVERY: Duration = Duration::from_secs(60);

/// What has to be opened anew before anything else is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reopen {
    /// The store, and with it the journal.
    Store,
    Journal,
}

/// A batch that nobody is told was written.
struct FailedBatch {
    reopen: Reopen,
    error: Failure,
    /// What it came to, when it is in the store all the same.
    committed: Option<Box<Published>>,
}

impl FailedBatch {
    fn store(error: impl Into<Failure>) -> Self {
        Self { reopen: Reopen::Store, error: error.into(), committed: None }
    }

    fn journal(error: impl Into<Failure>) -> Self {
        Self { reopen: Reopen::Journal, error: error.into(), committed: None }
    }
}

struct Run {
    disk: Arc<Disk>,
    /// `None` for a store that lives in memory.
    log: Option<ChangeLog>,
    tap: Arc<FrameTap>,
    /// `None` when the writer ends.
    checkpointer: Option<Checkpointer>,
    /// `None` for a store that lives in memory.
    journal: Option<Journal>,
    loss: Arc<Loss>,
    /// How far the audit trail has come; `None` before the first commit, and after one that failed.
    head: Option<ChainHead>,
    /// The last sign of life, until the journal is told.
    alive: Option<Timestamp>,
    /// When the journal was last told.
    marked: Instant,
    clock: Arc<dyn Clock>,
    deny: DenyList,
    publish: Publish,
    health: Arc<WriteHealth>,
}

impl Run {
    fn until_closed(&mut self, mut work: mpsc::Receiver<Work>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while work.blocking_recv_many(&mut waiting, BATCH) > 0 {
            let mut jobs = Vec::with_capacity(waiting.len());
            let mut in_doubt = None;
            for given in waiting.drain(..) {
                match given {
                    Work::Decide(job) => jobs.push(job),
                    Work::Reopen(error) => in_doubt = Some(error),
                }
            }
            if let Some(error) = in_doubt {
                // Nothing can be decided. Dropping a job drops its reply, which its caller reads as "stopped".
                drop(jobs);
                self.failed(FailedBatch::store(error), Vec::new(), &mut work);
                continue;
            }
            if !self.disk.wait_for_room(ROOM_WITHIN) {
                self.health.refused();
                tracing::error!(
                    "the store's file does not take what stands above it; writes are refused until it does"
                );
                continue;
            }
            let mut replies = Vec::with_capacity(jobs.len());
            match self.commit(jobs.into_iter(), &mut replies) {
                Ok(published) => {
                    self.publish(&published);
                    replies.into_iter().for_each(|reply| reply(Ok(())));
                }
                Err(failed) => self.failed(failed, replies, &mut work),
            }
        }
        if let Err(error) = self.mark() {
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                "the end of the audit trail is not marked"
            );
        }
        self.checkpointer = None;
        if let Err(error) = self.disk.settle(self.log.take()) {
            tracing::error!(
                error = &*error as &dyn std::error::Error,
                "the store was not closed cleanly; its change log is read when it is opened again"
            );
        }
    }

    /// Tells everybody that a batch failed, and opens anew what is in doubt.
    fn failed(&mut self, failed: FailedBatch, replies: Vec<Reply>, work: &mut mpsc::Receiver<Work>) {
        let FailedBatch { reopen, error, committed } = failed;
        tracing::error!(
            error = &*error as &dyn std::error::Error,
            in_doubt = ?reopen,
            "a write failed; opening anew what is in doubt"
        );
        self.health.failed(reopen == Reopen::Store);
        self.head = None;
        // Who is revoked in the store is out, whatever else is still to be done.
        committed.iter().for_each(|published| self.publish(published));
        replies.into_iter().for_each(|reply| reply(Err(WriteError::Commit)));
        self.recover(reopen, work);
    }

    fn publish(&self, published: &Published) {
        let deny = published.deny.iter().cloned();
        if published.whole {
            self.deny.replace(deny);
        } else {
            self.deny.apply(deny);
        }
        if *published != Published::default() {
            (self.publish)(published);
        }
    }

    /// Opens what is in doubt anew until it works, refusing what comes in meanwhile, and tells everybody what is in
    /// the store.
    fn recover(&mut self, mut reopen: Reopen, jobs: &mut mpsc::Receiver<Work>) {
        loop {
            // Dropping a job drops its reply, which its caller reads as "stopped".
            while jobs.try_recv().is_ok() {}
            if jobs.is_closed() {
                return;
            }
            match self.reopen(&mut reopen) {
                Ok(()) => {
                    self.health.reopened();
                    tracing::warn!("the store is open again");
                    return;
                }
                Err(error) => {
                    tracing::error!(
                        error = &*error as &dyn std::error::Error,
                        in_doubt = ?reopen,
                        "what is in doubt cannot be opened anew"
                    );
                    std::thread::sleep(REOPEN_EVERY);
                }
            }
        }
    }

    /// The store first, and what it says is told at once: a revocation must not wait for room in the journal, and
    /// a store that is whole again is not closed because of it.
    fn reopen(&mut self, reopen: &mut Reopen) -> Result<(), Failure> {
        if *reopen == Reopen::Store {
            let log = self.log.insert(self.disk.reopen(self.clock.now())?);
            // What was in doubt may be in the store and was told to no replica.
            self.tap.begin(log.head(), Vec::new(), true);
            self.publish(&self.everything()?);
            self.health.set_in_doubt(false);
            *reopen = Reopen::Journal;
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let database = self.disk.database().ok_or(ReadError::Reopening)?;
        let path = journal.path().to_owned();
        let now = self.clock.now();
        let opened =
            self.disk.snapshot().map_err(OpenError::from).and_then(|store| open::journal(store, &path, now));
        let compared = opened.and_then(|OpenedJournal { journal, missing, lesson }| {
            if !lesson.is_empty() {
                self.disk.put_all_in_file().map_err(open::failed)?;
                self.disk.write_beside(|| lesson.teach(&database, now))?;
                if let Some(log) = &self.log {
                    self.tap.begin(log.head(), Vec::new(), true);
                }
            }
            Ok((journal, missing))
        });
        let (opened, missing) = compared.inspect_err(|error| {
            if !matches!(error, OpenError::Journal(_)) {
                self.health.set_in_doubt(true);
                *reopen = Reopen::Store;
            }
        })?;
        *journal = opened;
        self.loss.found(missing);
        // The store may have learned something of the journal.
        self.publish(&self.everything()?);
        Ok(())
    }

    /// What others must know of the whole store: a failed commit may have reached the disk all the same.
    fn everything(&self) -> Result<Published, Failure> {
        let snapshot = self.disk.snapshot()?;
        let view = View::new(&snapshot);
        let deny = view.denied()?;
        let (hierarchy, trust) = (view.hierarchy()?.map(Box::new), view.trust_version()?);
        let mut published = Published { deny, hierarchy, trust, whole: true, ..Published::default() };
        view.denied_certificates(|serial, _, holder| {
            published.holders.extend(holder.map(|holder| (serial, holder)));
        })?;
        view.recovery_bars(|identity, bar| published.bars.push((identity, bar)))?;
        published.restore_epochs = Some(view.restore_epochs()?);
        view.all_hosts(None, |host| {
            published.hosts.push(HostChange::Put(Box::new(host)));
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(published)
    }

    /// Puts a batch on disk, and writes what denies or lifts into the journal.
    ///
    /// Lifts go into the journal before the change log and denials after it. So, wherever a crash strikes, what the
    /// journal denies and the database does not is a revocation that the database has lost, and never an
    /// identity that was let in again.
    fn commit(
        &mut self,
        jobs: impl Iterator<Item = Job>,
        replies: &mut Vec<Reply>,
    ) -> Result<Published, FailedBatch> {
        let begun = clock::monotonic();
        let Finished { delta, published, denials, withdrawals, alive, head, loss_accepted } =
            self.decide(jobs, replies).map_err(FailedBatch::store)?;
        if delta.is_empty() {
            return Ok(published);
        }
        let (lifted, denied): (Vec<_>, Vec<_>) =
            coalesce(denials).into_iter().partition(|denial| matches!(denial, Denial::Lifted { .. }));
        let (changed, withdrawn): (Vec<_>, Vec<_>) =
            newest(withdrawals).into_iter().partition(|it| matches!(it, Withdrawal::Person { .. }));
        self.journal(&lifted, changed, None).map_err(FailedBatch::journal)?;
        self.append(delta).map_err(FailedBatch::store)?;
        if loss_accepted {
            self.loss.accept();
        }
        let noted = self.journal(&denied, withdrawn, Some(&head));
        self.head = Some(head);
        self.alive = alive.or(self.alive);
        let noted = noted.and_then(|()| {
            if loss_accepted || self.marked.elapsed() >= MARK_EVERY {
                self.mark()
            } else {
                self.tell_journal(None)
            }
        });
        match noted {
            Ok(()) => {
                self.health.written(replies.len(), begun.elapsed());
                Ok(published)
            }
            Err(error) => {
                Err(FailedBatch { committed: Some(Box::new(published)), ..FailedBatch::journal(error) })
            }
        }
    }

    /// Runs the decisions, each against what those before it have changed.
    fn decide(&self, jobs: impl Iterator<Item = Job>, replies: &mut Vec<Reply>) -> Result<Finished, Failure> {
        let base = self.disk.snapshot()?;
        let mut batch = match &self.head {
            Some(head) => Batch::after(head.clone(), base),
            None => Batch::begin(base)?,
        };
        for job in jobs {
            let now = self.clock.now();
            let Job { run, request } = job;
            let (changes, reply) = run_for(request, || run(&View::new(&batch), now));
            replies.push(reply);
            batch.request = request;
            for change in changes {
                batch.apply(change, now)?;
            }
        }
        Ok(batch.finish()?)
    }

    /// Puts what a batch changes on disk, and above the file for those who read.
    fn append(&mut self, delta: Delta) -> Result<(), Failure> {
        let mut logged = None;
        if let Some(log) = &mut self.log {
            if !log.is_begun() {
                let begun = log.begin()?;
                let database = self.disk.database().ok_or(ReadError::Reopening)?;
                checkpoint::commit_position(&database, &begun)?;
                log.has_begun();
            }
            logged = Some((log.append(&delta, self.disk.in_file(), self.clock.now())?, log.head()));
        }
        self.disk.install(delta, logged.as_ref().map(|(_, head)| *head));
        if let Some((frame, _)) = logged {
            self.tap.push(frame);
        }
        if self.disk.window_is_full()
            && let Some(checkpointer) = &self.checkpointer
        {
            checkpointer.ask();
        }
        Ok(())
    }

    /// A mark would hide that records are missing, so there is none before that is on record.
    fn journal(
        &mut self,
        denials: &[Denial],
        withdrawals: Vec<Withdrawal>,
        head: Option<&ChainHead>,
    ) -> Result<(), Failure> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let head = head.filter(|_| !denials.is_empty() && !self.loss.is_open());
        let now = self.clock.now();
        let denials = denials.iter().cloned().map(Line::Denial);
        let withdrawals = withdrawals.into_iter().map(|withdrawal| Line::Withdrawal(withdrawal, now));
        Ok(journal.append_lines(denials.chain(withdrawals).collect(), head)?)
    }

    /// Tells the journal how far the audit trail has come. An error means that it has to be opened anew.
    fn mark(&mut self) -> Result<(), Failure> {
        self.marked = clock::monotonic();
        let head = self.head.clone().filter(|_| !self.loss.is_open());
        self.tell_journal(head.as_ref())
    }

    /// Tells it of a sign of life, too: it outlives the store, and says when that was lost.
    fn tell_journal(&mut self, head: Option<&ChainHead>) -> Result<(), Failure> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.append_lines(self.alive.take().map(Line::Alive).into_iter().collect(), head) {
            Err(error @ JournalError::InDoubt { .. }) => Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the end of the audit trail is not marked; it will be tried again"
                );
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
