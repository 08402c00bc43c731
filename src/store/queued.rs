//! A decision on its way through the writer, and how it comes back.

use jiff::Timestamp;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::ReadError;
use super::change::{Change, Verdict};
use super::view::View;
use super::writer::Work;
use crate::request_id::RequestId;

/// Why a decision left no trace.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The decision could not be made.
    #[error("cannot read what the decision needs")]
    Read(#[from] ReadError),
    /// Whether the changes are on disk is known once the file has been opened anew.
    #[error("cannot commit to disk")]
    Commit,
    /// Nothing of it was written. After a failed commit it may be tried again, once the store takes writes.
    #[error("the store takes no writes, because it is closing or a commit failed")]
    Stopped,
}

pub(super) type Reply = Box<dyn FnOnce(Result<(), WriteError>) + Send>;
pub(super) type Run = Box<dyn FnOnce(&View<'_>, Timestamp) -> (Vec<Change>, Reply) + Send>;

/// A decision that waits.
pub(super) struct Job {
    pub(super) run: Run,
    /// Whom it is made for.
    pub(super) request: Option<RequestId>,
}

/// What a decision came to.
type Outcome<T, E> = Result<Result<T, E>, WriteError>;

/// What the writer runs, and then hands to whom it is for.
fn job<T, E, D>(decision: D, deliver: impl FnOnce(Outcome<T, E>) + Send + 'static) -> Job
where
    T: Send + 'static,
    E: Send + 'static,
    D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
{
    let run: Run = Box::new(move |view, now| {
        let (outcome, changes) = match decision(view, now) {
            Ok(Verdict { outcome, changes }) => (Ok(outcome), changes),
            Err(error) => (Err(WriteError::Read(error)), Vec::new()),
        };
        let reply: Reply =
            Box::new(move |written| deliver(outcome.and_then(|outcome| written.map(|()| outcome))));
        (changes, reply)
    });
    Job { run, request: RequestId::current() }
}

/// Hands over what a decision came to, or that the writer dropped it.
struct Delivery<T, E, F: FnOnce(Outcome<T, E>)> {
    deliver: Option<F>,
    of: std::marker::PhantomData<fn(Outcome<T, E>)>,
}

impl<T, E, F: FnOnce(Outcome<T, E>)> Delivery<T, E, F> {
    const fn new(deliver: F) -> Self {
        Self { deliver: Some(deliver), of: std::marker::PhantomData }
    }

    fn deliver(mut self, outcome: Outcome<T, E>) {
        if let Some(deliver) = self.deliver.take() {
            deliver(outcome);
        }
    }
}

impl<T, E, F: FnOnce(Outcome<T, E>)> Drop for Delivery<T, E, F> {
    fn drop(&mut self) {
        if let Some(deliver) = self.deliver.take() {
            deliver(Err(WriteError::Stopped));
        }
    }
}

/// A way to the writer that keeps its thread, and not the store.
#[derive(Debug)]
pub struct WriteQueue {
    /// `None` where the writer has ended.
    queue: Option<mpsc::Sender<Work>>,
}

impl WriteQueue {
    pub(super) const fn of(queue: Option<mpsc::Sender<Work>>) -> Self {
        Self { queue }
    }

    /// Queues a decision, and has what it comes to delivered on the writer's thread, which must not block. Where the queue is
    /// full, it waits on the caller's thread, which may.
    pub fn write_blocking<T, E, D>(self, decision: D, deliver: impl FnOnce(Outcome<T, E>) + Send + 'static)
    where
        T: Send + 'static,
        E: Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        let delivery = Delivery::new(deliver);
        let job = job(decision, move |outcome| delivery.deliver(outcome));
        // Dropping the job delivers "stopped".
        if let Some(queue) = self.queue
            && let Err(TrySendError::Full(work)) = queue.try_send(Work::Decide(job))
        {
            drop(queue.blocking_send(work));
        }
    }
}

/// A decision that the writer will run, unless the server ends before.
#[derive(Debug)]
pub struct Queued<T, E> {
    /// Where the queue was full, and the queue.
    unsent: Option<Unsent>,
    answer: oneshot::Receiver<Result<Result<T, E>, WriteError>>,
}

struct Unsent {
    queue: mpsc::Sender<Work>,
    work: Work,
}

impl std::fmt::Debug for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unsent")
    }
}

impl<T: Send + 'static, E: Send + 'static> Queued<T, E> {
    /// `queue`: `None` where the writer has ended.
    pub(super) fn new<D>(queue: Option<&mpsc::Sender<Work>>, decision: D) -> Self
    where
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        // A caller that went away has no use for the answer. Dropping the job drops the sender, which is read as "stopped".
        let job = job(decision, move |outcome| drop(sender.send(outcome)));
        let unsent = queue.and_then(|queue| match queue.try_send(Work::Decide(job)) {
            Ok(()) | Err(TrySendError::Closed(_)) => None,
            Err(TrySendError::Full(work)) => Some(Unsent { queue: queue.clone(), work }),
        });
        Self { unsent, answer }
    }

    /// What was decided, once it is on disk.
    pub(crate) async fn answer(self) -> Result<Result<T, E>, WriteError> {
        if let Some(Unsent { queue, work }) = self.unsent {
            queue.send(work).await.map_err(|_| WriteError::Stopped)?;
        }
        self.answer.await.map_err(|_| WriteError::Stopped)?
    }
}
