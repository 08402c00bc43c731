//! A leaf of the index: up to 256 hosts in the order of their enrollment, with their searched text in one piece.

use memchr::memmem::Finder;

use crate::app::insight::fleet::entry::{Entry, folded};
use crate::app::insight::fleet::host_index::HostIndex;
use crate::app::insight::fleet::query::{HostQuery, HostSortKey, KeyOf};
use crate::domain::host::HostFlag;
use crate::domain::ids::HostId;

/// Most hosts of a leaf. A change of facts moves at most one leaf's text.
pub(crate) const LEAF_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Leaf {
    pub(crate) cards: Vec<Entry>,
    /// What search looks at: lower case, a fact a line, host after host.
    text: String,
}

impl Leaf {
    pub(crate) fn of(card: Entry, text: &str) -> Self {
        let mut leaf = Self::default();
        leaf.insert(0, card, text);
        leaf
    }

    pub(crate) fn position(&self, id: HostId) -> Result<usize, usize> {
        self.cards.binary_search_by_key(&id, |card| card.id)
    }

    /// Where the text of a host begins.
    fn text_start(&self, position: usize) -> usize {
        position.checked_sub(1).map_or(0, |before| self.cards[before].text_end)
    }

    pub(crate) fn insert(&mut self, position: usize, mut card: Entry, text: &str) {
        let start = self.text_start(position);
        self.text.insert_str(start, text);
        card.text_end = start;
        self.cards.insert(position, card);
        for card in &mut self.cards[position..] {
            card.text_end += text.len();
        }
    }

    pub(crate) fn replace(&mut self, position: usize, mut card: Entry, text: &str) -> Entry {
        let start = self.text_start(position);
        let end = self.cards[position].text_end;
        card.text_end = end;
        let known = std::mem::replace(&mut self.cards[position], card);
        // Most rows come again with the facts that they had.
        if &self.text[start..end] != text {
            self.text.replace_range(start..end, text);
            for card in &mut self.cards[position..] {
                card.text_end = card.text_end - (end - start) + text.len();
            }
        }
        known
    }

    pub(crate) fn remove(&mut self, position: usize) -> Entry {
        let start = self.text_start(position);
        let card = self.cards.remove(position);
        self.text.drain(start..card.text_end);
        for later in &mut self.cards[position..] {
            later.text_end -= card.text_end - start;
        }
        card
    }

    /// Keeps what comes before `position`, and gives what follows.
    pub(crate) fn split(&mut self, position: usize) -> Self {
        let start = self.text_start(position);
        let mut upper = Self { cards: self.cards.split_off(position), text: self.text.split_off(start) };
        for card in &mut upper.cards {
            card.text_end -= start;
        }
        upper
    }

    /// What search looks at of one of its hosts: name and operating system, a line each, then addresses.
    fn text_of(&self, card: &Entry) -> &str {
        self.text.get(card.text_end - card.text_len..card.text_end).unwrap_or_default()
    }

    fn name_of(&self, card: &Entry) -> &str {
        self.text_of(card).lines().next().unwrap_or_default()
    }

    fn os_of(&self, card: &Entry) -> &str {
        self.text_of(card).lines().nth(1).unwrap_or_default()
    }

    pub(crate) fn key_of<'l>(&'l self, card: &Entry, by: HostSortKey) -> KeyOf<'l> {
        match by {
            HostSortKey::Enrolled => KeyOf::Enrolled,
            HostSortKey::Hostname => KeyOf::Hostname(self.name_of(card)),
            HostSortKey::LastSeen => KeyOf::Moment(card.last_seen()),
            HostSortKey::Expires => KeyOf::Moment(Some(card.svid_not_after)),
        }
    }

    /// The hosts in whose text it is found, in order.
    fn matches(&self, finder: &Finder<'_>) -> impl Iterator<Item = &Entry> {
        let text = self.text.as_bytes();
        let (mut from, mut cards) = (0, self.cards.iter());
        std::iter::from_fn(move || {
            let found = from + finder.find(text.get(from..)?)?;
            let card = cards.find(|card| card.text_end > found)?;
            from = card.text_end;
            Some(card)
        })
    }
}

/// A query, with what looking for it needs.
pub(crate) struct Wanted<'q> {
    pub(crate) query: &'q HostQuery,
    words: Vec<String>,
    /// The text as one hostname.
    whole: Option<String>,
    os: Option<String>,
    roll: &'q HostIndex,
}

impl<'q> Wanted<'q> {
    pub(crate) fn of(roll: &'q HostIndex, query: &'q HostQuery) -> Self {
        let text = query.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        Self {
            query,
            words: text.map(|text| text.split_whitespace().map(folded).collect()).unwrap_or_default(),
            whole: text.map(folded),
            os: query.os.as_deref().map(folded),
            roll,
        }
    }

    /// The hosts of a leaf that are wanted, in the order of their ids.
    pub(crate) fn cards_of<'l>(&self, leaf: &'l Leaf) -> Vec<&'l Entry> {
        let fits = |card: &&Entry| self.fits(leaf, card);
        let Some((first, others)) = self.words.split_first() else {
            return leaf.cards.iter().filter(fits).collect();
        };
        let others: Vec<_> = others.iter().map(|word| Finder::new(word.as_bytes())).collect();
        let first = Finder::new(first.as_bytes());
        let mut found: Vec<_> = leaf
            .matches(&first)
            .filter(|card| {
                let text = leaf.text_of(card).as_bytes();
                others.iter().all(|word| word.find(text).is_some())
            })
            .collect();
        let named = self.query.named.iter().filter_map(|id| leaf.position(*id).ok());
        for card in named.map(|position| &leaf.cards[position]) {
            if let Err(position) = found.binary_search_by_key(&card.id, |found| found.id) {
                found.insert(position, card);
            }
        }
        found.retain(|card| self.fits(leaf, card));
        found
    }

    fn fits(&self, leaf: &Leaf, card: &Entry) -> bool {
        let query = self.query;
        let in_view = match query.of_the_decommissioned() {
            true => !card.in_service,
            false => card.in_service || (query.state.is_none() && self.is_named(leaf, card)),
        };
        let flagged = || match query.flag {
            Some(HostFlag::PossibleClone) => card.possible_clone,
            Some(HostFlag::PossibleDuplicate) => self.roll.is_duplicate(card),
            None => true,
        };
        in_view
            && query.online.is_none_or(|online| card.online == online)
            && query.state.is_none_or(|state| card.state() == state)
            && flagged()
            && query.let_in_by.is_none_or(|id| card.let_in_by == Some(id))
            && self.os.as_deref().is_none_or(|os| leaf.os_of(card).contains(os))
            && query.version.is_none_or(|range| range.holds(card.version))
            && query.silent_before.is_none_or(|before| card.quiet_since < before)
    }

    /// Whether the text is this host's very name.
    fn is_named(&self, leaf: &Leaf, card: &Entry) -> bool {
        let by_hostname = || self.whole.as_deref().is_some_and(|whole| whole == leaf.name_of(card));
        self.query.named.contains(&card.id) || by_hostname()
    }
}
