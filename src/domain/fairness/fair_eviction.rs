//! Who makes way where room is short: of whoever holds the most places, the one that has waited for longest.
//!
//! Oldest-first alone would let one client push out everybody else by asking often. This way a client that
//! asks for much competes with itself, and nobody with fewer places than another loses one.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Places with their holders. How many there may be is the caller's to bound.
#[derive(Debug)]
pub struct FairEviction<H, T> {
    holders: HashMap<H, BTreeMap<EvictionRank, T>>,
    /// Each holder once, the one that has to give up a place first.
    order: BTreeMap<(Reverse<usize>, EvictionRank), H>,
    places: usize,
    next_number: u64,
}

/// When a place makes way among those of its holder. No two places share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvictionRank {
    worth: Worth,
    /// Given out in order.
    number: u64,
}

/// The lesser makes way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// Nothing is lost by its giving way.
    Idle,
    /// Something is going on in it.
    InUse,
}

impl<H, T> Default for FairEviction<H, T> {
    fn default() -> Self {
        Self { holders: HashMap::new(), order: BTreeMap::new(), places: 0, next_number: 0 }
    }
}

impl<H: Copy + Eq + Hash, T> FairEviction<H, T> {
    /// A place for this holder, the last of its worth to make way.
    pub fn add(&mut self, holder: H, worth: Worth, what: T) -> EvictionRank {
        let turn = EvictionRank { worth, number: self.next_number };
        self.next_number += 1;
        self.changing(holder, |held| held.insert(turn, what));
        self.places += 1;
        turn
    }

    /// What was in this place, unless it has been given up before.
    pub fn remove(&mut self, holder: H, turn: EvictionRank) -> Option<T> {
        let what = self.changing(holder, |held| held.remove(&turn))?;
        self.places -= 1;
        Some(what)
    }

    /// Takes the place that has to make way.
    pub fn give_up_one(&mut self) -> Option<T> {
        let (&(_, turn), &holder) = self.order.first_key_value()?;
        self.remove(holder, turn)
    }

    /// Takes the place that a holder gives up first.
    pub fn give_up_one_of(&mut self, holder: H) -> Option<T> {
        let (&turn, _) = self.holders.get(&holder)?.first_key_value()?;
        self.remove(holder, turn)
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.places
    }

    /// Whether there is no place.
    pub fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// How many places one holder has.
    pub fn held_by(&self, holder: H) -> usize {
        self.holders.get(&holder).map_or(0, BTreeMap::len)
    }

    /// How many places the one has that would have to make way.
    pub fn most_held(&self) -> usize {
        self.order.first_key_value().map_or(0, |(&(Reverse(held), _), _)| held)
    }

    /// Changes what one holder has, and moves the holder to where it belongs.
    fn changing<R>(&mut self, holder: H, change: impl FnOnce(&mut BTreeMap<EvictionRank, T>) -> R) -> R {
        let held = self.holders.entry(holder).or_default();
        if let Some(rank) = rank(held) {
            self.order.remove(&rank);
        }
        let changed = change(held);
        match rank(held) {
            Some(rank) => drop(self.order.insert(rank, holder)),
            None => drop(self.holders.remove(&holder)),
        }
        changed
    }
}

fn rank<T>(held: &BTreeMap<EvictionRank, T>) -> Option<(Reverse<usize>, EvictionRank)> {
    held.first_key_value().map(|(&first, _)| (Reverse(held.len()), first))
}

#[cfg(test)]
mod tests {
    use super::Worth::{Idle, InUse};
    use super::*;

    /// Adds places in this order, and says in which order they make way.
    fn check(places: &[(char, Worth, u8)], expected: &[u8]) {
        let mut shares = FairEviction::default();
        for &(holder, worth, what) in places {
            shares.add(holder, worth, what);
        }
        assert_eq!(shares.len(), places.len());
        let given_up: Vec<u8> = std::iter::from_fn(|| shares.give_up_one()).collect();
        assert_eq!(given_up, expected, "{places:?}");
        assert!(shares.is_empty() && shares.holders.is_empty() && shares.order.is_empty());
    }

    #[test]
    fn whoever_holds_the_most_gives_up_what_has_waited_for_longest() {
        check(&[], &[]);
        check(&[('a', Idle, 1), ('b', Idle, 2), ('c', Idle, 3)], &[1, 2, 3]);
        check(&[('a', Idle, 1), ('b', Idle, 2), ('b', Idle, 3), ('b', Idle, 4)], &[2, 3, 1, 4]);
        check(&[('a', Idle, 1), ('a', Idle, 2), ('b', Idle, 3), ('b', Idle, 4)], &[1, 3, 2, 4]);
        check(&[('a', InUse, 1), ('b', InUse, 2), ('c', Idle, 3)], &[3, 1, 2]);
        check(&[('a', InUse, 1), ('a', InUse, 2), ('a', Idle, 3), ('b', Idle, 4)], &[3, 1, 4, 2]);
    }

    #[test]
    fn a_holder_gives_up_its_own() {
        let mut shares = FairEviction::default();
        for (holder, worth, what) in [('a', InUse, 1), ('a', Idle, 2), ('b', Idle, 3), ('b', Idle, 4)] {
            shares.add(holder, worth, what);
        }
        let given_up: Vec<_> = std::iter::from_fn(|| shares.give_up_one_of('a')).collect();
        assert_eq!(given_up, [2, 1]);
        assert_eq!((shares.held_by('a'), shares.len()), (0, 2));
    }

    #[test]
    fn places_come_back_once() {
        let mut shares = FairEviction::default();
        let first = shares.add('a', Idle, 1);
        let second = shares.add('a', InUse, 2);
        assert_eq!((shares.held_by('a'), shares.held_by('b')), (2, 0));
        assert_eq!(shares.remove('b', first), None, "it is somebody else's");
        assert_eq!(shares.remove('a', first), Some(1));
        assert_eq!(shares.remove('a', first), None);
        assert_eq!((shares.len(), shares.held_by('a')), (1, 1));
        assert_eq!(shares.remove('a', second), Some(2));
        assert!(shares.holders.is_empty() && shares.order.is_empty());
    }
}
