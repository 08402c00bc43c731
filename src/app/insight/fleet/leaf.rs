//! A leaf of the index: up to 256 hosts in the order of their enrollment, with their searched text in one piece.

use memchr::memmem::Finder;

use crate::app::insight::fleet::entry::{Entry, folded};
use crate::app::insight::fleet::host_index::HostIndex;
use crate::app::insight::fleet::query::{HostQuery, HostSortKey, Key};
use crate::domain::host::HostFlag;
use crate::domain::ids::HostId;

/// Most hosts of a leaf. A change of facts moves at most one leaf's text.
pub(crate) const LEAF_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Leaf {
    pub(crate) entries: Vec<Entry>,
    /// What search looks at: lower case, a fact a line, host after host.
    text: String,
}

impl Leaf {
    pub(crate) fn of(entry: Entry, text: &str) -> Self {
        let mut leaf = Self::default();
        leaf.insert(0, entry, text);
        leaf
    }

    pub(crate) fn position(&self, id: HostId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }

    /// Where the text of a host begins.
    fn text_start(&self, position: usize) -> usize {
        position.checked_sub(1).map_or(0, |before| self.entries[before].text_end)
    }

    pub(crate) fn insert(&mut self, position: usize, mut entry: Entry, text: &str) {
        let start = self.text_start(position);
        self.text.insert_str(start, text);
        entry.text_end = start;
        self.entries.insert(position, entry);
        for entry in &mut self.entries[position..] {
            entry.text_end += text.len();
        }
    }

    pub(crate) fn replace(&mut self, position: usize, mut entry: Entry, text: &str) -> Entry {
        let start = self.text_start(position);
        let end = self.entries[position].text_end;
        entry.text_end = end;
        let known = std::mem::replace(&mut self.entries[position], entry);
        // Most rows come again with the facts that they had.
        if &self.text[start..end] != text {
            self.text.replace_range(start..end, text);
            for entry in &mut self.entries[position..] {
                entry.text_end = entry.text_end - (end - start) + text.len();
            }
        }
        known
    }

    pub(crate) fn remove(&mut self, position: usize) -> Entry {
        let start = self.text_start(position);
        let entry = self.entries.remove(position);
        self.text.drain(start..entry.text_end);
        for later in &mut self.entries[position..] {
            later.text_end -= entry.text_end - start;
        }
        entry
    }

    /// Keeps what comes before `position`, and gives what follows.
    pub(crate) fn split(&mut self, position: usize) -> Self {
        let start = self.text_start(position);
        let mut upper = Self { entries: self.entries.split_off(position), text: self.text.split_off(start) };
        for entry in &mut upper.entries {
            entry.text_end -= start;
        }
        upper
    }

    /// What search looks at of one of its hosts: name and operating system, a line each, then addresses.
    fn text_of(&self, entry: &Entry) -> &str {
        self.text.get(entry.text_end - entry.text_len..entry.text_end).unwrap_or_default()
    }

    fn name_of(&self, entry: &Entry) -> &str {
        self.text_of(entry).lines().next().unwrap_or_default()
    }

    fn os_of(&self, entry: &Entry) -> &str {
        self.text_of(entry).lines().nth(1).unwrap_or_default()
    }

    pub(crate) fn key_of<'l>(&'l self, entry: &Entry, by: HostSortKey) -> Key<'l> {
        match by {
            HostSortKey::Enrolled => Key::Enrolled,
            HostSortKey::Hostname => Key::Hostname(self.name_of(entry).into()),
            HostSortKey::LastSeen => Key::LastSeen(entry.last_seen()),
            HostSortKey::Expires => Key::Expires(entry.svid_not_after),
        }
    }

    /// The hosts in whose text it is found, in order.
    fn matches(&self, finder: &Finder<'_>) -> impl Iterator<Item = &Entry> {
        let text = self.text.as_bytes();
        let (mut from, mut entries) = (0, self.entries.iter());
        std::iter::from_fn(move || {
            let found = from + finder.find(text.get(from..)?)?;
            let entry = entries.find(|entry| entry.text_end > found)?;
            from = entry.text_end;
            Some(entry)
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
    index: &'q HostIndex,
}

impl<'q> Wanted<'q> {
    pub(crate) fn of(index: &'q HostIndex, query: &'q HostQuery) -> Self {
        let text = query.text.as_deref().map(str::trim).filter(|text| !text.is_empty());
        Self {
            query,
            words: text.map(|text| text.split_whitespace().map(folded).collect()).unwrap_or_default(),
            whole: text.map(folded),
            os: query.os.as_deref().map(folded),
            index,
        }
    }

    /// The hosts of a leaf that are wanted, in the order of their ids.
    pub(crate) fn entries_of<'l>(&self, leaf: &'l Leaf) -> Vec<&'l Entry> {
        let fits = |entry: &&Entry| self.fits(leaf, entry);
        let Some((first, others)) = self.words.split_first() else {
            return leaf.entries.iter().filter(fits).collect();
        };
        let others: Vec<_> = others.iter().map(|word| Finder::new(word.as_bytes())).collect();
        let first = Finder::new(first.as_bytes());
        let mut found: Vec<_> = leaf
            .matches(&first)
            .filter(|entry| {
                let text = leaf.text_of(entry).as_bytes();
                others.iter().all(|word| word.find(text).is_some())
            })
            .collect();
        let named = self.query.named.iter().filter_map(|id| leaf.position(*id).ok());
        for entry in named.map(|position| &leaf.entries[position]) {
            if let Err(position) = found.binary_search_by_key(&entry.id, |found| found.id) {
                found.insert(position, entry);
            }
        }
        found.retain(|entry| self.fits(leaf, entry));
        found
    }

    fn fits(&self, leaf: &Leaf, entry: &Entry) -> bool {
        let query = self.query;
        let in_view = match query.of_the_decommissioned() {
            true => !entry.in_service,
            false => entry.in_service || (query.state.is_none() && self.is_named(leaf, entry)),
        };
        let flagged = || match query.flag {
            Some(HostFlag::PossibleClone) => entry.possible_clone,
            Some(HostFlag::Recovered) => entry.recovered,
            Some(HostFlag::PossibleDuplicate) => self.index.is_duplicate(entry),
            None => true,
        };
        in_view
            && query.online.is_none_or(|online| entry.online == online)
            && query.state.is_none_or(|state| entry.state() == state)
            && flagged()
            && query.let_in_by.is_none_or(|id| entry.let_in_by == Some(id))
            && self.os.as_deref().is_none_or(|os| leaf.os_of(entry).contains(os))
            && query.version.is_none_or(|range| range.holds(entry.version))
            && query.silent_before.is_none_or(|before| entry.quiet_since < before)
            && query.overdue_at.is_none_or(|now| entry.is_overdue(now))
            && query.tag.as_ref().is_none_or(|tag| entry.host.marks.tags.contains(tag))
    }

    /// Whether the text is this host's very name.
    fn is_named(&self, leaf: &Leaf, entry: &Entry) -> bool {
        let by_hostname = || self.whole.as_deref().is_some_and(|whole| whole == leaf.name_of(entry));
        self.query.named.contains(&entry.id) || by_hostname()
    }
}
