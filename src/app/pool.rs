//! A bounded pool for work that would hold up the async workers: signing, hashing, long reads.
//!
//! Its queue has a length in time: what would wait too long to be of use is refused before it waits, and costs nothing.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::app::Unavailable;
use crate::clock;
use crate::request_id::{RequestId, run_for};

/// The longest that signing an SVID may wait: longer than that, and those who have come first are answered late as well. An
/// unoptimised build beside others takes twenty times as long for everything.
const ISSUING_WITHIN: Duration = Duration::from_millis(if cfg!(debug_assertions) { 4_000 } else { 200 });
/// The same for reads, which take longer themselves.
const READING_WITHIN: Duration = Duration::from_secs(10);
/// How long a thread waits for more to do before it goes back. Handing it out again costs more than waiting.
const LINGERS: Duration = Duration::from_millis(20);
/// How nice its threads are to those of the runtime (`setpriority(2)`): on a busy machine who is let in, told or asked about its
/// health waits for no certificate.
const NICE: i32 = 3;
/// Of how many pieces of work the average is.
const AVERAGED: u32 = 16;
/// Work that has waited so many times as long as it was to wait at most is not begun any more.
const LATE: u32 = 4;

/// Runs work that costs CPU away from the async workers, a bounded amount at a time.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

/// Whose work is done first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Of who is in and would be out without it.
    Urgent,
    Ordinary,
}

/// What somebody waits for.
#[derive(Debug)]
pub(crate) struct Answer<T>(oneshot::Sender<Result<T, Unavailable>>);

impl<T> Answer<T> {
    /// Whoever went away has no use for it.
    pub(crate) fn give(self, answer: Result<T, Unavailable>) {
        let _ = self.0.send(answer);
    }
}

#[derive(Debug)]
struct Shared {
    /// Threads at once.
    slots: usize,
    /// How long work may have to wait.
    within: Duration,
    state: Mutex<State>,
    /// Told when there is something to do.
    ready: Condvar,
}

#[derive(Default)]
struct State {
    /// Done before all others.
    urgent: VecDeque<Waiting>,
    ordinary: VecDeque<Waiting>,
    threads: usize,
    /// Of them, those that wait for something to do.
    idle: usize,
    /// What one piece of work has taken lately.
    average: Duration,
}

struct Waiting {
    since: Instant,
    work: Box<dyn FnOnce(Turn) + Send>,
}

/// What becomes of work whose turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Come,
    /// It has waited too long.
    TooLate,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (urgent, ordinary) = (self.urgent.len(), self.ordinary.len());
        f.debug_struct("State").field("urgent", &urgent).field("ordinary", &ordinary).finish_non_exhaustive()
    }
}

impl Pool {
    /// For checking requests and signing: as many at a time as there are cores, and nobody waits for long.
    pub(crate) fn issuing() -> Self {
        Self::new(cores(), ISSUING_WITHIN)
    }

    /// For reads.
    pub(crate) fn reading() -> Self {
        Self::new(cores() * 2, READING_WITHIN)
    }

    /// A pool that does so much at a time.
    pub(crate) fn of(slots: usize) -> Self {
        Self::new(slots, READING_WITHIN)
    }

    fn new(slots: usize, within: Duration) -> Self {
        let (state, ready) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { slots, within, state, ready }) }
    }

    /// How much waits for its turn.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.state.lock().waiting()
    }

    /// Runs work when its turn comes. Work that nobody waits for any more by then is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.run_as(Urgency::Ordinary, work).await
    }

    /// The same, of an urgency.
    pub(crate) async fn run_as<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.run_to(urgency, move |answer| answer.give(Ok(work()))).await
    }

    /// The same for work whose answer is given later, by another thread: who waits is not woken before. An answer that is
    /// dropped says that the work failed.
    pub(crate) async fn run_to<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(Answer<T>) + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let request = RequestId::current();
        let work = Box::new(move |turn| {
            if turn == Turn::TooLate {
                let _ = answer.send(Err(Unavailable::Busy));
            } else if !answer.is_closed() {
                run_for(request, || work(Answer(answer)));
            }
        });
        self.shared.queue(urgency, Waiting { since: clock::monotonic(), work })?;
        answered.await.map_err(|_| Unavailable::Failed)?
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

impl State {
    fn queue_of(&mut self, urgency: Urgency) -> &mut VecDeque<Waiting> {
        match urgency {
            Urgency::Urgent => &mut self.urgent,
            Urgency::Ordinary => &mut self.ordinary,
        }
    }

    fn waiting(&self) -> usize {
        self.urgent.len() + self.ordinary.len()
    }

    /// How long what comes in now is going to wait.
    fn wait(&self, urgency: Urgency, slots: usize) -> Duration {
        let ahead = match urgency {
            Urgency::Urgent => self.urgent.len(),
            Urgency::Ordinary => self.waiting(),
        };
        let per_slot = u32::try_from(ahead / slots.max(1)).unwrap_or(u32::MAX);
        self.average.saturating_mul(per_slot)
    }

    /// One long piece, as a backup is, says little of the next, so it counts for no more than the longest wait.
    fn note(&mut self, took: Duration, within: Duration) {
        self.average = (self.average * (AVERAGED - 1) + took.min(within)) / AVERAGED;
    }

    fn next(&mut self) -> Option<Waiting> {
        self.urgent.pop_front().or_else(|| self.ordinary.pop_front())
    }
}

impl Shared {
    fn queue(self: &Arc<Self>, urgency: Urgency, waiting: Waiting) -> Result<(), Unavailable> {
        let mut state = self.state.lock();
        if state.wait(urgency, self.slots) > self.within {
            return Err(Unavailable::Busy);
        }
        state.queue_of(urgency).push_back(waiting);
        if state.idle < state.waiting() && state.threads < self.slots {
            state.threads += 1;
            drop(state);
            let shared = Arc::clone(self);
            drop(tokio::task::spawn_blocking(move || shared.work()));
        } else {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// What a thread does until there has been nothing to do for a while.
    fn work(&self) {
        // Without it, it only competes. The runtime's blocking threads stay so, and do nothing else that is urgent.
        let _ = rustix::process::setpriority_process(None, NICE);
        let mut state = self.state.lock();
        loop {
            if let Some(waiting) = state.next() {
                drop(state);
                let took = self.take(waiting);
                state = self.state.lock();
                state.note(took, self.within);
                continue;
            }
            state.idle += 1;
            let nothing_came = self.ready.wait_for(&mut state, LINGERS).timed_out();
            state.idle -= 1;
            if nothing_came && state.waiting() == 0 {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Does a piece of work, or tells its caller that it is too late for it; how long that took.
    fn take(&self, Waiting { since, work }: Waiting) -> Duration {
        let begun = clock::monotonic();
        let turn = if begun.duration_since(since) > self.within * LATE { Turn::TooLate } else { Turn::Come };
        // A panic has been logged by its hook, and whoever waits is told by what it drops.
        let _ = catch_unwind(AssertUnwindSafe(|| work(turn)));
        begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A pool of one thread that is kept busy until the sender is dropped, with a queue behind it.
    async fn held(within: Duration, average: Duration) -> (Arc<Pool>, mpsc::Sender<()>) {
        let pool = Arc::new(Pool::new(1, within));
        let (hold, held) = mpsc::channel::<()>();
        let (begun, has_begun) = oneshot::channel();
        let holding = Arc::clone(&pool);
        tokio::spawn(async move {
            let work = move || {
                let _ = begun.send(());
                let _ = held.recv();
            };
            drop(holding.run(work).await);
        });
        has_begun.await.unwrap();
        pool.shared.state.lock().average = average;
        (pool, hold)
    }

    fn waits(pool: &Arc<Pool>, urgency: Urgency, said: &mpsc::Sender<&'static str>, word: &'static str) {
        let (pool, said) = (Arc::clone(pool), said.clone());
        tokio::spawn(async move { drop(pool.run_as(urgency, move || said.send(word)).await) });
    }

    async fn until_waiting(pool: &Pool, count: usize) {
        while pool.shared.state.lock().waiting() < count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_would_wait_too_long_is_refused_and_the_urgent_come_first() {
        let (pool, hold) = held(Duration::from_secs(1), Duration::from_millis(600)).await;
        let (said, heard) = mpsc::channel();
        waits(&pool, Urgency::Ordinary, &said, "ordinary");
        until_waiting(&pool, 1).await;
        waits(&pool, Urgency::Ordinary, &said, "another");
        until_waiting(&pool, 2).await;
        let refused = pool.run(|| ()).await;
        assert!(matches!(refused, Err(Unavailable::Busy)), "{refused:?}");
        waits(&pool, Urgency::Urgent, &said, "urgent");
        until_waiting(&pool, 3).await;
        drop((hold, said));
        let order = tokio::task::spawn_blocking(move || heard.iter().collect::<Vec<_>>()).await.unwrap();
        assert_eq!(order, ["urgent", "ordinary", "another"]);
    }

    #[tokio::test]
    async fn nobody_works_for_who_has_left_and_a_panic_is_one_caller_s() {
        let (pool, hold) = held(Duration::from_secs(1), Duration::ZERO).await;
        let (said, heard) = mpsc::channel();
        let left = pool.run(move || said.send("done for nobody"));
        assert!(tokio::time::timeout(Duration::ZERO, left).await.is_err());
        drop(hold);
        assert!(matches!(
            pool.run(|| panic!("this is what a test looks like")).await,
            Err::<(), _>(Unavailable::Failed)
        ));
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
        assert!(heard.recv().is_err());
    }

    #[test]
    fn a_backup_keeps_no_page_waiting_outside() {
        let mut state = State::default();
        state.note(Duration::from_secs(3600), READING_WITHIN);
        assert!(state.average * 15 < READING_WITHIN, "{:?}", state.average);
    }

    #[tokio::test]
    async fn what_has_waited_too_long_is_not_begun() {
        let (pool, hold) = held(Duration::from_secs(1), Duration::ZERO).await;
        let late = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(|| ()).await }
        });
        until_waiting(&pool, 1).await;
        for waiting in &mut pool.shared.state.lock().ordinary {
            waiting.since = waiting.since.checked_sub(Duration::from_secs(5)).unwrap();
        }
        drop(hold);
        assert!(matches!(late.await.unwrap(), Err(Unavailable::Busy)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn much_is_done_by_few_threads() {
        let pool = Arc::new(Pool::new(2, Duration::from_secs(60)));
        let all = (0..500_u32).map(|number| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move { pool.run(move || number).await.unwrap() })
        });
        let mut sum = 0;
        for one in all.collect::<Vec<_>>() {
            sum += one.await.unwrap();
        }
        assert_eq!(sum, 499 * 500 / 2);
        assert!(pool.shared.state.lock().threads <= 2);
    }
}
