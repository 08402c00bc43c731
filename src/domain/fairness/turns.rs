//! Who comes next where many wait for one worker, and who goes away when too many wait.
//!
//! First come, first served would give the worker to whoever asks most. Here those who have shown lately that they
//! belong come first, and of all others whoever has asked least lately; the same order, from its other end, says
//! who makes way. A client that asks without end competes with itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long one attempt counts against a client. Attempts add up.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);
/// The most that attempts count for in all: whoever stops asking is like anybody else after this.
const ALL_FORGIVEN_AFTER: Duration = Duration::from_mins(10);
/// How long it counts for a client that it has shown that it belongs.
const WELCOME_FOR: Duration = Duration::from_hours(7 * 24);
/// Clients remembered for their attempts; beyond that, those whose attempts are forgiven are forgotten, then all.
const ASKERS_MAX: usize = 50_000;
/// Clients remembered because they belong; beyond that, the one that showed it longest ago is forgotten.
const WELCOME_MAX: usize = 10_000;

/// What a client can say for itself. The lesser comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    /// It has proved who it is with this very request.
    Proved,
    /// It has shown lately that it belongs.
    Welcome,
    Stranger,
}

/// A place among those who wait. The least is next, the greatest makes way; no two are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    claim: Claim,
    /// How long it would have taken until this client's earlier attempts were forgiven.
    held_against: Duration,
    number: u64,
}

/// Those who wait, and what is remembered of who has asked.
#[derive(Debug)]
pub struct Turns<C, T> {
    waiting: BTreeMap<Place, T>,
    /// When the attempts of each client are forgiven.
    forgiven: HashMap<C, Instant>,
    welcome: HashMap<C, Instant>,
    next_number: u64,
}

impl<C, T> Default for Turns<C, T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), forgiven: HashMap::new(), welcome: HashMap::new(), next_number: 0 }
    }
}

impl<C: Copy + Eq + Hash, T> Turns<C, T> {
    /// Counts an attempt. Returns what is held against this client besides.
    pub fn ask(&mut self, client: C, now: Instant) -> Duration {
        if self.forgiven.len() >= ASKERS_MAX {
            self.forgiven.retain(|_, at| *at > now);
            if self.forgiven.len() >= ASKERS_MAX {
                self.forgiven.clear();
            }
        }
        let forgiven = self.forgiven.entry(client).or_insert(now);
        let before = forgiven.saturating_duration_since(now);
        *forgiven = now + (before + FORGIVEN_AFTER).min(ALL_FORGIVEN_AFTER);
        before
    }

    /// Waits, with so much held against the client. Returns what has to make way where more than `most` wait now,
    /// which may be what has just come.
    pub fn wait(&mut self, asking: &Asking<C>, now: Instant, what: T, most: usize) -> Option<T> {
        let lately = |at: &Instant| now.saturating_duration_since(*at) < WELCOME_FOR;
        let claim = match self.welcome.get(&asking.client) {
            _ if asking.proved => Claim::Proved,
            Some(at) if lately(at) => Claim::Welcome,
            _ => Claim::Stranger,
        };
        self.waiting
            .insert(Place { claim, held_against: asking.held_against, number: self.next_number }, what);
        self.next_number += 1;
        if self.waiting.len() > most { self.waiting.pop_last().map(|(_, what)| what) } else { None }
    }

    /// Whoever comes next.
    pub fn take_next(&mut self) -> Option<T> {
        self.waiting.pop_first().map(|(_, what)| what)
    }

    /// A client has shown that it belongs: the attempt that showed it does not count against it.
    pub fn belongs(&mut self, client: C, now: Instant) {
        if let Some(forgiven) = self.forgiven.get_mut(&client) {
            *forgiven = now + forgiven.saturating_duration_since(now).saturating_sub(FORGIVEN_AFTER);
        }
        self.welcome.insert(client, now);
        if self.welcome.len() > WELCOME_MAX
            && let Some(oldest) = self.welcome.iter().min_by_key(|(_, at)| **at).map(|(client, _)| *client)
        {
            self.welcome.remove(&oldest);
        }
    }
}

/// Who asks for a turn.
#[derive(Debug, Clone, Copy)]
pub struct Asking<C> {
    /// By what it is told apart, such as its address.
    pub client: C,
    /// Whether it has proved who it is with this very request.
    pub proved: bool,
    /// What its latest attempts count against it.
    pub held_against: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        turns: Turns<char, u8>,
        now: Instant,
    }

    impl Room {
        fn new() -> Self {
            Self { turns: Turns::default(), now: Instant::now() }
        }

        fn comes(&mut self, client: char, proved: bool, what: u8) -> Option<u8> {
            let held_against = self.turns.ask(client, self.now);
            self.turns.wait(&Asking { client, proved, held_against }, self.now, what, 4)
        }

        fn order(&mut self) -> Vec<u8> {
            std::iter::from_fn(|| self.turns.take_next()).collect()
        }
    }

    #[test]
    fn whoever_has_asked_least_lately_comes_first() {
        let mut room = Room::new();
        for (client, what) in [('a', 1), ('a', 2), ('b', 3), ('c', 4)] {
            assert_eq!(room.comes(client, false, what), None);
        }
        assert_eq!(room.order(), [1, 3, 4, 2]);
        // What a client was told to do later still counts, until it is forgiven.
        assert_eq!((room.comes('a', false, 5), room.comes('d', false, 6)), (None, None));
        assert_eq!(room.order(), [6, 5]);
        room.now += ALL_FORGIVEN_AFTER;
        assert_eq!((room.comes('a', false, 7), room.comes('d', false, 8)), (None, None));
        assert_eq!(room.order(), [7, 8]);
    }

    #[test]
    fn whoever_belongs_comes_before_strangers_and_whoever_proves_it_before_all() {
        let mut room = Room::new();
        room.turns.belongs('b', room.now);
        for (client, proved, what) in [('a', false, 1), ('b', false, 2), ('c', true, 3)] {
            assert_eq!(room.comes(client, proved, what), None);
        }
        assert_eq!(room.order(), [3, 2, 1]);
        room.now += WELCOME_FOR;
        assert_eq!((room.comes('a', false, 4), room.comes('b', false, 5)), (None, None));
        assert_eq!(room.order(), [4, 5]);
    }

    #[test]
    fn whoever_asks_most_makes_way_and_not_who_came_last() {
        let mut room = Room::new();
        for what in 1..=4 {
            assert_eq!(room.comes('a', false, what), None);
        }
        assert_eq!(room.comes('b', false, 5), Some(4));
        assert_eq!(room.comes('a', false, 6), Some(6), "itself");
        assert_eq!(room.comes('a', true, 7), Some(3));
        assert_eq!(room.order(), [7, 1, 5, 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut turns, now) = (Turns::<usize, ()>::default(), Instant::now());
        for client in 0..=ASKERS_MAX {
            assert_eq!(turns.ask(client, now), Duration::ZERO);
        }
        assert!(turns.forgiven.len() <= ASKERS_MAX);
        for _ in 0..1_000 {
            turns.ask(0, now);
        }
        assert_eq!(turns.ask(0, now), ALL_FORGIVEN_AFTER);
        for client in 0..WELCOME_MAX + 10 {
            turns.belongs(client, now + Duration::from_secs(client as u64));
        }
        assert_eq!(turns.welcome.len(), WELCOME_MAX);
        assert!(turns.welcome.contains_key(&10) && !turns.welcome.contains_key(&9));
    }
}
