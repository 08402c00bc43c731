//! Send budget: how many bytes of answers are held for clients that have not taken them yet, and whose answers end
//! when that is too much.
//!
//! A client decides how fast it takes an answer, and so how long the answer stays in memory. With HTTP/2 it can take
//! nothing at all while the connection looks alive: a flow-control window of zero stops the body, and not the pings
//! (RFC 9113 5.2). So every answer is charged to a payer from its first byte to its last: what it costs is its bytes
//! times the time that they have been held. Where that is too much, the answer with the highest cost ends, of the
//! payer with the highest cost, so whoever asks for much and takes little competes with itself. An answer of which
//! nothing is taken for a while ends in any case.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::identity::deny::AgentRef;

/// How often the budget looks for answers that have been held for too long.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a stream that was ended may still hold its answer; after that its whole connection ends. A stream whose
/// last bytes wait inside the HTTP/2 library has no task left that could be ended alone.
const STREAM_ENDS_WITHIN: Duration = Duration::from_secs(1);

/// What an answer costs besides its body: its head, its stream and its task.
const OVERHEAD: u64 = 2 * 1024;

/// Upper bounds on what is held for clients, in bytes, milliseconds, and bytes times milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct SendLimits {
    /// For everybody together.
    pub total: u64,
    /// For one payer at a time.
    pub share: u64,
    /// For one payer: the bytes of each answer times how long it has been held.
    pub byte_millis: u64,
    /// How long a client may take nothing of an answer.
    pub stall: u64,
}

impl SendLimits {
    /// A quarter of the total for one payer: ten people behind one address may each ask for the longest page at the
    /// same moment. At once and for half a minute each, a payer may hold half of its share; a client that takes a page of
    /// 1.5 MB at 10 kB/s is still served.
    pub const DEFAULT: Self =
        Self { total: 64 << 20, share: 16 << 20, byte_millis: (256 << 20) * 1000, stall: 30_000 };
}

/// Who pays for an answer that is held.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Payer {
    Address(IpAddr),
    Agent(AgentRef),
}

/// The task of an HTTP/2 stream, which is known once it has been spawned.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamTask(Arc<OnceLock<AbortHandle>>);

impl StreamTask {
    pub(crate) fn is(&self, task: AbortHandle) {
        // Something is spawned once, so nothing was there before.
        let _ = self.0.set(task);
    }

    /// Ends it; `false` where it is not known yet.
    pub(crate) fn end(&self) -> bool {
        self.0.get().map(AbortHandle::abort).is_some()
    }
}

/// How an answer is ended before its time.
#[derive(Debug, Clone)]
pub struct Ender {
    /// The HTTP/2 stream's task, once it runs; HTTP/1 has none.
    stream: Arc<OnceLock<StreamTask>>,
    connection: CancellationToken,
}

impl Ender {
    pub(crate) fn new(connection: CancellationToken) -> Self {
        Self { stream: Arc::default(), connection }
    }

    /// From now on the stream can be ended alone.
    pub(crate) fn runs_on(&self, stream: StreamTask) {
        // A stream has one task, so nothing was there before.
        let _ = self.stream.set(stream);
    }

    /// Ends the stream, or the connection where an answer has it for itself.
    pub fn end(&self) {
        if !self.stream.get().is_some_and(StreamTask::end) {
            self.connection.cancel();
        }
    }
}

#[derive(Debug)]
pub(crate) struct SendBudget {
    limits: SendLimits,
    table: Mutex<Table>,
    /// Times are counted from here, in milliseconds.
    start: Instant,
}

#[derive(Debug, Default)]
struct Table {
    accounts: HashMap<Payer, Account>,
    bytes: u64,
    next_id: u64,
    /// Streams on which things are said that everybody is told.
    standing: HashMap<u64, Arc<Transfer>>,
    /// Transfers that were told to end, and when.
    ending: Vec<(u64, Weak<Transfer>)>,
}

/// What is held for one payer.
#[derive(Debug, Default)]
struct Account {
    transfers: HashMap<u64, Arc<Transfer>>,
    bytes: u64,
    /// The sum of bytes times the time from which they have been held.
    bytes_since: u128,
}

/// Bytes that a client has not taken yet.
#[derive(Debug)]
struct Transfer {
    bytes: u64,
    since: u64,
    /// How many pieces there are that could be taken.
    waiting: AtomicUsize,
    moved: AtomicU64,
    ender: Ender,
}

impl Transfer {
    fn new(bytes: u64, waiting: usize, now: u64, ender: Ender) -> Arc<Self> {
        Arc::new(Self { bytes, since: now, waiting: waiting.into(), moved: now.into(), ender })
    }

    fn cost(&self, now: u64) -> u128 {
        u128::from(self.bytes) * u128::from(now.saturating_sub(self.since) + 1)
    }

    fn stalled(&self, now: u64, limit: u64) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
            && now.saturating_sub(self.moved.load(Ordering::Relaxed)) >= limit
    }
}

impl Account {
    fn cost(&self, now: u64) -> u128 {
        (u128::from(self.bytes) * (u128::from(now) + 1)).saturating_sub(self.bytes_since)
    }

    fn add(&mut self, id: u64, transfer: Arc<Transfer>) {
        self.bytes += transfer.bytes;
        self.bytes_since += u128::from(transfer.bytes) * u128::from(transfer.since);
        self.transfers.insert(id, transfer);
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Transfer>> {
        let transfer = self.transfers.remove(&id)?;
        self.bytes -= transfer.bytes;
        self.bytes_since -= u128::from(transfer.bytes) * u128::from(transfer.since);
        Some(transfer)
    }

    /// Gives up transfers, the costliest first, until it is enough.
    fn give_up(&mut self, now: u64, enough: impl Fn(&Self) -> bool) -> Vec<Arc<Transfer>> {
        let mut order: Vec<_> = self.transfers.iter().map(|(&id, held)| (held.cost(now), id)).collect();
        order.sort_unstable_by(|one, other| other.cmp(one));
        let mut given_up = Vec::new();
        for (_, id) in order {
            if enough(self) {
                break;
            }
            given_up.extend(self.remove(id));
        }
        given_up
    }
}

impl Table {
    /// Room for so many bytes of this payer: within its share, and within the total.
    ///
    /// More is given up than is needed, so that a flood does not have everything sorted with each of its requests.
    fn make_room(&mut self, payer: &Payer, bytes: u64, now: u64, limits: &SendLimits) -> Vec<Arc<Transfer>> {
        let mut given_up = Vec::new();
        if let Some(account) = self.accounts.get_mut(payer)
            && account.bytes + bytes > limits.share
        {
            let goal = limits.share / 8 * 7;
            given_up = account.give_up(now, |account| account.bytes + bytes <= goal);
        }
        self.bytes -= given_up.iter().map(|transfer| transfer.bytes).sum::<u64>();
        if self.bytes + bytes > limits.total {
            let goal = limits.total / 8 * 7;
            while self.bytes + bytes > goal {
                let costliest = self.accounts.values_mut().max_by_key(|account| account.cost(now));
                let Some(account) = costliest.filter(|account| !account.transfers.is_empty()) else { break };
                // Halving leaves the others their turn before this payer has lost everything.
                let before = account.bytes;
                let too_much = self.bytes + bytes - goal;
                let ended = account.give_up(now, |account| {
                    account.bytes <= before / 2 || before - account.bytes >= too_much
                });
                self.bytes -= before - account.bytes;
                given_up.extend(ended);
            }
        }
        if !given_up.is_empty() {
            self.accounts.retain(|_, account| !account.transfers.is_empty());
        }
        given_up
    }

    /// What has been held for too long.
    fn overdue(&mut self, now: u64, limits: &SendLimits) -> Vec<Arc<Transfer>> {
        let mut overdue = Vec::new();
        for account in self.accounts.values_mut() {
            let stalled: Vec<u64> = account
                .transfers
                .iter()
                .filter(|(_, held)| held.stalled(now, limits.stall))
                .map(|(&id, _)| id)
                .collect();
            overdue.extend(stalled.into_iter().filter_map(|id| account.remove(id)));
            let most = u128::from(limits.byte_millis);
            if account.cost(now) > most {
                overdue.extend(account.give_up(now, |account| account.cost(now) <= most));
            }
        }
        self.bytes -= overdue.iter().map(|transfer| transfer.bytes).sum::<u64>();
        self.accounts.retain(|_, account| !account.transfers.is_empty());
        overdue.extend(
            self.standing.extract_if(|_, said| said.stalled(now, limits.stall)).map(|(_, said)| said),
        );
        overdue
    }

    fn charge(&mut self, payer: &Payer, transfer: Arc<Transfer>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += transfer.bytes;
        self.accounts.entry(payer.clone()).or_default().add(id, transfer);
        id
    }

    fn release(&mut self, payer: &Payer, id: u64) {
        let Some(account) = self.accounts.get_mut(payer) else { return };
        if let Some(transfer) = account.remove(id) {
            self.bytes -= transfer.bytes;
        }
        if account.transfers.is_empty() {
            self.accounts.remove(payer);
        }
    }
}

impl SendBudget {
    pub(crate) fn new(limits: SendLimits) -> Self {
        Self { limits, table: Mutex::default(), start: clock::monotonic() }
    }

    /// Charges bytes that are about to be sent to this payer, if need be at the cost of others.
    pub(crate) fn charge(self: &Arc<Self>, payer: Payer, body_bytes: u64, ender: Ender) -> Charge {
        let (now, bytes) = (self.now(), body_bytes.saturating_add(OVERHEAD));
        let transfer = Transfer::new(bytes, 1, now, ender);
        let mut table = self.table.lock();
        let given_up = table.make_room(&payer, bytes, now, &self.limits);
        let id = table.charge(&payer, Arc::clone(&transfer));
        Self::note_ending(&mut table, &given_up, now);
        drop(table);
        end(&given_up);
        Charge { id, payer, transfer, budget: Arc::clone(self) }
    }

    /// A stream on which things are said that everybody is told: they cost nothing, and each has to be taken in time. That is
    /// said ten thousand times at once, so nothing is entered for it.
    pub(crate) fn stand(self: &Arc<Self>, ender: Ender) -> Standing {
        let said = Transfer::new(0, 0, self.now(), ender);
        let mut table = self.table.lock();
        let id = table.next_id;
        table.next_id += 1;
        table.standing.insert(id, Arc::clone(&said));
        drop(table);
        Standing { id, said, budget: Arc::clone(self) }
    }

    /// Ends what has been held for too long.
    pub(crate) fn sweep(&self) {
        let now = self.now();
        let mut table = self.table.lock();
        let stubborn: Vec<Arc<Transfer>> = {
            let due = |&(at, _): &(u64, Weak<Transfer>)| at + millis(STREAM_ENDS_WITHIN) <= now;
            let over: Vec<_> = table.ending.extract_if(.., |ending| due(ending)).collect();
            over.iter().filter_map(|(_, transfer)| transfer.upgrade()).collect()
        };
        let overdue = table.overdue(now, &self.limits);
        Self::note_ending(&mut table, &overdue, now);
        drop(table);
        for transfer in stubborn {
            transfer.ender.connection.cancel();
        }
        end(&overdue);
    }

    fn note_ending(table: &mut Table, ended: &[Arc<Transfer>], now: u64) {
        table.ending.extend(ended.iter().map(|transfer| (now, Arc::downgrade(transfer))));
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }
}

/// Wakes tasks, so it is done without the lock.
fn end(transfers: &[Arc<Transfer>]) {
    for transfer in transfers {
        transfer.ender.end();
    }
    if !transfers.is_empty() {
        tracing::debug!(answers = transfers.len(), "answers ended because their clients did not take them");
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes that are held for a payer, until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    id: u64,
    payer: Payer,
    transfer: Arc<Transfer>,
    budget: Arc<SendBudget>,
}

impl Charge {
    /// Some of the bytes have been taken.
    pub(crate) fn moved(&self) {
        self.transfer.moved.store(self.budget.now(), Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.table.lock().release(&self.payer, self.id);
    }
}

/// A stream on which things are said, until this is dropped.
#[derive(Debug)]
pub(crate) struct Standing {
    id: u64,
    said: Arc<Transfer>,
    budget: Arc<SendBudget>,
}

impl Standing {
    /// A piece is about to be sent.
    pub(crate) fn says(&self) {
        // Others that wait have not been taken because of this one.
        if self.said.waiting.load(Ordering::Acquire) == 0 {
            self.moved();
        }
        self.said.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// Some of what was said has been taken.
    pub(crate) fn moved(&self) {
        self.said.moved.store(self.budget.now(), Ordering::Relaxed);
    }

    /// A piece is gone.
    pub(crate) fn is_gone(&self) {
        self.said.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.budget.table.lock().standing.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SendLimits = SendLimits { total: 1000, share: 500, byte_millis: 100_000, stall: 1000 };

    fn address(last: u8) -> Payer {
        Payer::Address(IpAddr::from([10, 0, 0, last]))
    }

    /// A table in which transfers are charged as the budget does it, and how each can be recognised.
    #[derive(Default)]
    struct Ledger {
        table: Table,
        enders: HashMap<u64, CancellationToken>,
    }

    impl Ledger {
        fn charge(&mut self, last: u8, bytes: u64, now: u64) -> u64 {
            let payer = address(last);
            end(&self.table.make_room(&payer, bytes, now, &LIMITS));
            let connection = CancellationToken::new();
            let ender = Ender::new(connection.clone());
            let id = self.table.charge(&payer, Transfer::new(bytes, 1, now, ender));
            self.enders.insert(id, connection);
            id
        }

        fn ended(&self) -> Vec<u64> {
            let mut ended: Vec<_> =
                self.enders.iter().filter(|(_, ender)| ender.is_cancelled()).map(|(&id, _)| id).collect();
            ended.sort_unstable();
            ended
        }

        fn moved(&self, last: u8, id: u64, now: u64) {
            self.table.accounts[&address(last)].transfers[&id].moved.store(now, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_holds_the_most_for_the_longest_makes_way() {
        let mut ledger = Ledger::default();
        let modest = ledger.charge(1, 100, 0);
        let greedy = [ledger.charge(2, 200, 10), ledger.charge(2, 250, 20)];
        let other = ledger.charge(3, 300, 90);
        assert!(ledger.ended().is_empty());
        let newcomer = ledger.charge(4, 200, 100);
        assert_eq!(ledger.ended(), [greedy[1]], "250 bytes for 80 ms cost more than 200 for 90");
        for id in [modest, greedy[0], other, newcomer] {
            assert!(!ledger.enders[&id].is_cancelled());
        }
        assert_eq!(ledger.table.bytes, 800);
    }

    #[test]
    fn a_payer_that_has_its_share_gives_up_its_own() {
        let mut ledger = Ledger::default();
        let other = ledger.charge(1, 90, 0);
        let own: Vec<u64> = (0..5).map(|number| ledger.charge(2, 100, 10 + number)).collect();
        let newest = ledger.charge(2, 100, 20);
        assert_eq!(ledger.ended(), own[..2], "down to seven eighths");
        assert!(!ledger.enders[&other].is_cancelled() && !ledger.enders[&newest].is_cancelled());
    }

    #[test]
    fn a_client_that_takes_nothing_loses_its_answer_and_one_that_takes_its_time_does_not() {
        let mut ledger = Ledger::default();
        let [stalled, slow] = [ledger.charge(1, 10, 0), ledger.charge(2, 10, 0)];
        ledger.moved(2, slow, 900);
        end(&ledger.table.overdue(999, &LIMITS));
        assert!(ledger.ended().is_empty());
        end(&ledger.table.overdue(1000, &LIMITS));
        assert_eq!(ledger.ended(), [stalled]);
        assert_eq!((ledger.table.bytes, ledger.table.accounts.len()), (10, 1));
    }

    #[test]
    fn bytes_times_time_are_bounded_for_each_payer() {
        let mut ledger = Ledger::default();
        let dripping = [ledger.charge(1, 200, 0), ledger.charge(1, 100, 0)];
        let other = ledger.charge(2, 250, 0);
        for now in (0..400).step_by(50) {
            dripping.iter().for_each(|&id| ledger.moved(1, id, now));
            ledger.moved(2, other, now);
            end(&ledger.table.overdue(now, &LIMITS));
        }
        assert_eq!(ledger.ended(), [dripping[0]], "300 bytes for 350 ms; the costliest ends");
    }

    #[test]
    fn what_is_given_back_is_counted_once() {
        let budget = Arc::new(SendBudget::new(LIMITS));
        let ender = Ender::new(CancellationToken::new());
        let charge = budget.charge(address(1), 0, ender.clone());
        assert_eq!(budget.table.lock().bytes, OVERHEAD);
        // One more than the whole share: the first is given up, and its charge gives back nothing.
        let second = budget.charge(address(1), 0, Ender::new(CancellationToken::new()));
        assert!(ender.connection.is_cancelled());
        drop(charge);
        assert_eq!(budget.table.lock().bytes, OVERHEAD);
        drop(second);
        let table = budget.table.lock();
        assert!(table.bytes == 0 && table.accounts.is_empty());
    }

    #[test]
    fn what_is_said_to_everybody_has_to_be_taken_and_silence_is_no_stall() {
        let budget = Arc::new(SendBudget::new(LIMITS));
        let ender = Ender::new(CancellationToken::new());
        let standing = budget.stand(ender.clone());
        assert!(budget.table.lock().overdue(u64::MAX, &LIMITS).is_empty(), "nothing has been said");
        standing.says();
        standing.says();
        standing.is_gone();
        assert!(budget.table.lock().overdue(999, &LIMITS).is_empty());
        standing.said.moved.store(900, Ordering::Relaxed);
        assert!(budget.table.lock().overdue(1_899, &LIMITS).is_empty());
        end(&budget.table.lock().overdue(1_900, &LIMITS));
        assert!(ender.connection.is_cancelled());
        drop(standing);
        assert!(budget.table.lock().standing.is_empty() && budget.table.lock().bytes == 0);
    }

    #[tokio::test]
    async fn an_answer_that_outlives_its_stream_ends_its_connection() {
        let budget = Arc::new(SendBudget { start: Instant::now(), ..SendBudget::new(LIMITS) });
        let (stream, connection) = (StreamTask::default(), CancellationToken::new());
        let task = tokio::spawn(std::future::pending::<()>());
        stream.is(task.abort_handle());
        let ender = Ender::new(connection.clone());
        ender.runs_on(stream);
        let charge = budget.charge(address(1), 0, ender);
        let overdue = budget.table.lock().overdue(5000, &LIMITS);
        SendBudget::note_ending(&mut budget.table.lock(), &overdue, 0);
        end(&overdue);
        drop(overdue);
        assert!(!connection.is_cancelled());
        assert!(task.await.unwrap_err().is_cancelled());
        let later = SendBudget {
            start: Instant::now() - Duration::from_secs(5),
            limits: LIMITS,
            table: Mutex::new(std::mem::take(&mut *budget.table.lock())),
        };
        later.sweep();
        assert!(connection.is_cancelled());
        drop(charge);
    }
}
