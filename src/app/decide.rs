//! The use cases' way to the store: reads on snapshots, long ones in a pool of their own; decisions queued with the
//! writer; records that nothing decides about.

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::pool::{Answer, Urgency};
use crate::app::{App, Unavailable};
use crate::request_id::{RequestId, done_for};
use crate::store::{Change, Queued, ReadError, Verdict, View, WriteError};

/// What was made ready in a pool.
pub(crate) enum Ready<T, D> {
    /// The answer.
    Done(T),
    /// A decision, which is still to be made.
    Decide(D),
}

impl App {
    /// Reads from a consistent snapshot, on the caller's thread: for point reads and short pages.
    pub(crate) fn query<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, ReadError>,
    ) -> Result<T, Unavailable> {
        Ok(self.store.read(read)?)
    }

    /// Runs a long read in the pool for those, so that it holds up neither an async worker nor an enrollment.
    pub(crate) async fn query_long<T, E>(
        self: &Arc<Self>,
        read: impl FnOnce(&Arc<Self>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let app = Arc::clone(self);
        self.readers.run(move || read(&app)).await?
    }

    /// Runs a walk over much of the store in the pool for those, so that it stands before no page of a list.
    pub(crate) async fn walk<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Arc<Self>) -> Result<T, Unavailable> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let app = Arc::clone(self);
        self.walkers.run(move || read(&app)).await?
    }

    /// Queues a decision with the writer and waits until its changes are on disk. The decision's one `now` is the
    /// writer's: whatever was read or signed before may be out of date by then.
    pub(crate) async fn decide<T, E, D>(&self, decision: D) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        Self::decided(self.begin_decision(decision)).await
    }

    /// Makes a decision ready in the pool for that, has it made, and waits for what it comes to. The pool's thread hands it on to
    /// the writer and the writer answers: going back to the caller in between costs two switches between threads.
    pub(crate) async fn prepare<T, E, D>(
        self: &Arc<Self>,
        urgency: Urgency,
        make: impl FnOnce(&Arc<Self>) -> Result<Ready<T, D>, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        let app = Arc::clone(self);
        let work = move |answer: Answer<Result<T, E>>| {
            let (made, queue) = (make(&app), app.store.queue());
            // Whoever is answered may close the store.
            drop(app);
            match made {
                Ok(Ready::Done(done)) => answer.give(Ok(Ok(done))),
                Err(error) => answer.give(Ok(Err(error))),
                Ok(Ready::Decide(decision)) => {
                    let deliver = move |outcome: Result<_, WriteError>| {
                        answer.give(outcome.map_err(Unavailable::from));
                    };
                    queue.write_blocking(decision, deliver);
                }
            }
        };
        self.pool.run_to(urgency, work).await?
    }

    /// Queues a decision from a thread of a pool. Once queued, it is run whether or not anybody waits for it.
    pub(crate) fn begin_decision<T, E, D>(&self, decision: D) -> Queued<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        D: FnOnce(&View<'_>, Timestamp) -> Result<Verdict<T, E>, ReadError> + Send + 'static,
    {
        self.store.begin_write(decision)
    }

    /// What it came to, once that is on disk.
    pub(crate) async fn decided<T, E>(queued: Queued<T, E>) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        queued.answer().await.map_err(Unavailable::from)?
    }

    /// Does work to its end, whether or not whoever asked for it still waits: where something in memory follows a commit, a
    /// connection that is closed between the two must not part them.
    pub(crate) async fn to_its_end<T, E, F>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let working = tokio::spawn(done_for(RequestId::current(), work(Arc::clone(self))));
        working.await.map_err(|_| Unavailable::Failed)?
    }

    /// Records what has happened and nothing decides about, such as a refusal.
    pub(crate) async fn record(&self, changes: Vec<Change>) -> Result<(), Unavailable> {
        self.decide(move |_, _| Ok(Verdict::accept((), changes))).await
    }
}

/// What a walk over rows visits, and whether it goes on.
type Visit<'v, T> = &'v mut dyn FnMut(T) -> ControlFlow<()>;

/// The first `limit` rows that a walk visits.
pub(crate) fn first<T>(
    limit: usize,
    walk: impl FnOnce(Visit<'_, T>) -> Result<(), ReadError>,
) -> Result<Vec<T>, ReadError> {
    first_of(limit, |_| true, walk)
}

/// The first `limit` of the rows that are wanted; the others are dropped as they are visited.
pub(crate) fn first_of<T>(
    limit: usize,
    wanted: impl Fn(&T) -> bool,
    walk: impl FnOnce(Visit<'_, T>) -> Result<(), ReadError>,
) -> Result<Vec<T>, ReadError> {
    let mut rows = Vec::new();
    walk(&mut |row| {
        if wanted(&row) {
            rows.push(row);
        }
        if rows.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(rows)
}
