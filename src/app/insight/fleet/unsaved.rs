//! Hosts of which memory knows more than the store, and whose turn it is to be saved.
//!
//! That a host is still alive is said twice a minute by each and seldom asked for after a crash, so it is saved in turns: what
//! an idle fleet writes to the disk does not grow with it. What is new of a host is saved with the next turn.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;

use crate::domain::ids::HostId;

/// In how many turns everybody is saved who has only been heard of.
const TURNS: usize = 60;
/// Those saved with a turn at least: small fleets are saved whole each time.
const TURN_MIN: usize = 64;

/// Whom to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToSave {
    /// Those whose turn it is.
    Due,
    /// Everybody, because the server stops.
    All,
}

#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    /// In the order in which they lie in the store: neighbours share a page.
    hosts: BTreeSet<HostId>,
    /// Those of them of whom more is new than when they were heard of.
    news: HashSet<HostId>,
    /// The last one whose turn it was.
    turn: Option<HostId>,
}

impl Unsaved {
    pub(crate) fn add(&mut self, host: HostId, is_news: bool) {
        self.hosts.insert(host);
        if is_news {
            self.news.insert(host);
        }
    }

    /// Whether it was there.
    pub(crate) fn take(&mut self, host: HostId) -> bool {
        self.news.remove(&host);
        self.hosts.remove(&host)
    }

    pub(crate) fn whose_turn(&mut self, which: ToSave) -> Vec<HostId> {
        if which == ToSave::All {
            return self.hosts.iter().copied().collect();
        }
        let turn = self.hosts.len().div_ceil(TURNS).max(TURN_MIN);
        let behind = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let mut due: BTreeSet<_> =
            self.hosts.range((behind, Bound::Unbounded)).chain(&self.hosts).take(turn).copied().collect();
        self.turn =
            self.hosts.range((behind, Bound::Unbounded)).chain(&self.hosts).take(turn).last().copied();
        due.extend(&self.news);
        due.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_news_have_the_next() {
        let host = |number: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            HostId::from_bytes(id)
        };
        let mut unsaved = Unsaved::default();
        let fleet = 9_900;
        let all_report =
            |unsaved: &mut Unsaved| (0..fleet).for_each(|number| unsaved.add(host(number), false));
        let mut saved = HashSet::new();
        for turn in 0..TURNS {
            all_report(&mut unsaved);
            let last = host(fleet - 1);
            unsaved.add(last, true);
            let due = unsaved.whose_turn(ToSave::Due);
            assert!(due.contains(&last), "turn {turn}");
            assert!(due.len() <= 166, "turn {turn}: {}", due.len());
            due.iter().for_each(|id| assert!(unsaved.take(*id)));
            saved.extend(due);
        }
        assert_eq!(saved.len(), 9_900);
        all_report(&mut unsaved);
        assert_eq!(unsaved.whose_turn(ToSave::All).len(), 9_900);
        let mut few = Unsaved::default();
        (0..40).for_each(|number| few.add(host(number), false));
        for _ in 0..3 {
            assert_eq!(few.whose_turn(ToSave::Due).len(), 40);
        }
    }
}
