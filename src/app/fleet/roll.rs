//! A tenant's hosts in the order of their enrollment, laid out for looking at all of them.
//!
//! A question about 100,000 hosts is a walk over memory in one direction: hosts lie in leaves, each with the
//! searched text of its hosts in one piece, and what is asked of every host lies beside its id. What is only
//! counted is not walked for at all: counts are kept with every change.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use memchr::memmem::Finder;

use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::ids::HostId;
use crate::domain::serial::Serial;

/// Most hosts of a leaf. A change of facts moves at most one leaf's text.
const LEAF_MAX: usize = 256;

/// A host as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNow {
    pub host: Host,
    pub online: bool,
}

/// Which hosts are wanted.
#[derive(Debug, Clone, Default)]
pub struct HostQuery {
    /// Part of a hostname, an address or an operating system, whatever the case.
    pub text: Option<String>,
    pub online: Option<bool>,
    /// Decommissioned hosts, and only those.
    pub decommissioned: bool,
    pub after: Option<HostId>,
}

/// A page of hosts.
#[derive(Debug, Default)]
pub struct HostPage {
    pub hosts: Vec<HostNow>,
    /// How many hosts match in all.
    pub total: usize,
}

/// Hosts, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub in_service: usize,
    /// Of those in service.
    pub online: usize,
    /// Of those in service.
    pub possible_clones: usize,
    pub decommissioned: usize,
}

#[derive(Debug, Default)]
pub(super) struct Roll {
    /// None is empty; their hosts follow each other by id, which grows with time.
    leaves: Vec<Leaf>,
    totals: Totals,
    /// Who reports a machine id, of the hosts in service.
    machines: HashMap<String, HashSet<HostId>>,
    /// Machine ids that more than one host reports.
    duplicates: usize,
}

#[derive(Debug, Default)]
struct Leaf {
    cards: Vec<Card>,
    /// What search looks at: lower case, a fact a line, host after host.
    text: String,
}

/// A host, and beside it what is asked of all hosts at once.
#[derive(Debug)]
pub(super) struct Card {
    id: HostId,
    /// The last report, or the enrollment while there was none.
    quiet_since: Timestamp,
    svid_not_after: Timestamp,
    /// Where the host's text ends in the leaf's.
    text_end: usize,
    reported: bool,
    online: bool,
    in_service: bool,
    possible_clone: bool,
    /// As stored, with newer facts laid over; when it was last seen is above.
    host: Box<Host>,
    /// What the store has for facts, while newer ones have been reported.
    stored: Option<Box<HostFacts>>,
}

impl Roll {
    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }

    /// How many hosts in service report a machine id that another one reports, too.
    pub(super) const fn duplicates(&self) -> usize {
        self.duplicates
    }

    pub(super) fn card(&self, id: HostId) -> Option<&Card> {
        let leaf = self.leaves.get(self.leaf_of(id))?;
        leaf.position(id).ok().map(|at| &leaf.cards[at])
    }

    /// The host as it is now, with what the others' facts say of it.
    pub(super) fn now(&self, card: &Card) -> HostNow {
        let mut host = Host { last_seen: card.last_seen(), ..Host::clone(&card.host) };
        let machine = host.facts.telling_machine_id();
        if machine.is_some_and(|machine| self.machines.get(machine).is_some_and(|hosts| hosts.len() > 1)) {
            host.flags.insert(HostFlag::PossibleDuplicate);
        }
        HostNow { host, online: card.online }
    }

    /// Every host in service.
    pub(super) fn in_service(&self) -> impl Iterator<Item = &Card> {
        self.leaves.iter().flat_map(|leaf| &leaf.cards).filter(|card| card.in_service)
    }

    /// A page in the order of enrollment.
    pub(super) fn page(&self, query: &HostQuery, limit: usize) -> HostPage {
        match query.text.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => self.search(text, query, limit),
            None => self.list(query, limit),
        }
    }

    fn list(&self, query: &HostQuery, limit: usize) -> HostPage {
        let Totals { in_service, online, decommissioned, .. } = self.totals;
        let total = match (query.decommissioned, query.online) {
            (false, None) => in_service,
            (false, Some(true)) => online,
            (false, Some(false)) => in_service - online,
            (true, Some(true)) => 0,
            (true, _) => decommissioned,
        };
        let first = query.after.map_or(0, |after| self.leaf_of(after));
        let cards = self.leaves.iter().skip(first).flat_map(|leaf| &leaf.cards);
        let wanted = cards.filter(|card| query.after.is_none_or(|after| card.id > after) && card.fits(query));
        HostPage { hosts: wanted.take(limit).map(|card| self.now(card)).collect(), total }
    }

    fn search(&self, text: &str, query: &HostQuery, limit: usize) -> HostPage {
        let text = folded(text);
        let mut page = HostPage::default();
        if text.contains('\n') {
            // It ends a fact, so it is part of none.
            return page;
        }
        let finder = Finder::new(&text);
        for card in self.leaves.iter().flat_map(|leaf| leaf.matches(&finder)).filter(|card| card.fits(query))
        {
            page.total += 1;
            if page.hosts.len() < limit && query.after.is_none_or(|after| card.id > after) {
                page.hosts.push(self.now(card));
            }
        }
        page
    }

    /// Changes what is remembered of a host beside its facts.
    pub(super) fn change<T>(&mut self, id: HostId, change: impl FnOnce(&mut Card) -> T) -> Option<T> {
        let at = self.leaf_of(id);
        let leaf = self.leaves.get_mut(at)?;
        let position = leaf.position(id).ok()?;
        let card = &mut leaf.cards[position];
        self.totals.forget(card);
        let made = change(card);
        self.totals.count(card);
        Some(made)
    }

    /// Marks the hosts in service that were last heard of before `cutoff` as offline, and names them.
    pub(super) fn silence(&mut self, cutoff: Timestamp) -> Vec<HostId> {
        let mut gone = Vec::new();
        for card in self.leaves.iter_mut().flat_map(|leaf| &mut leaf.cards) {
            if card.online && card.quiet_since < cutoff {
                card.online = false;
                gone.push(card.id);
            }
        }
        self.totals.online -= gone.len();
        gone
    }

    /// Takes a row in. What memory knows better than a row of the store stays.
    pub(super) fn put(&mut self, mut host: Host) {
        let mut stored = None;
        if let Some(known) = self.card(host.id)
            && known.stored.as_deref() == Some(&host.facts)
        {
            stored.clone_from(&known.stored);
            host.facts.clone_from(&known.host.facts);
        }
        self.place(host, stored);
    }

    /// Takes in what a host says of itself, and tells whether it is news.
    pub(super) fn learn(&mut self, id: HostId, facts: HostFacts) -> bool {
        let Some(known) = self.card(id) else { return false };
        let facts = facts.or(&known.host.facts);
        if facts == known.host.facts {
            return false;
        }
        let stored = known.stored.clone().or_else(|| Some(Box::new(known.host.facts.clone())));
        let host = Host { facts, last_seen: known.last_seen(), ..Host::clone(&known.host) };
        self.place(host, stored);
        true
    }

    fn place(&mut self, mut host: Host, stored: Option<Box<HostFacts>>) {
        let at = self.leaf_of(host.id);
        let position = self.leaves.get(at).and_then(|leaf| leaf.position(host.id).ok());
        let known = position.map(|position| &self.leaves[at].cards[position]);
        let mut online = false;
        if let Some(known) = known {
            host.last_seen = host.last_seen.max(known.last_seen());
            host.newest_shown = host.newest_shown.max(known.host.newest_shown);
            online = known.online && host.decommissioned_at.is_none();
        }
        let text = searched(&host);
        let card = Card {
            id: host.id,
            quiet_since: host.last_seen.unwrap_or(host.first_enrolled_at),
            svid_not_after: host.svid_not_after,
            text_end: 0,
            reported: host.last_seen.is_some(),
            online,
            in_service: host.decommissioned_at.is_none(),
            possible_clone: host.flags.contains(&HostFlag::PossibleClone),
            host: Box::new(host),
            stored,
        };
        self.totals.count(&card);
        match position {
            Some(position) => {
                let known = self.leaves[at].replace(position, card, &text);
                self.totals.forget(&known);
                self.unlink_machine(&known);
                self.link_machine(at, position);
            }
            None => {
                let (at, position) = self.insert(card, &text);
                self.link_machine(at, position);
            }
        }
    }

    /// Puts a new card where its id belongs, and says where that is.
    fn insert(&mut self, card: Card, text: &str) -> (usize, usize) {
        // After the last of all, ids that grow leave full leaves behind.
        let at = self.leaf_of(card.id).min(self.leaves.len().saturating_sub(1));
        let Some(leaf) = self.leaves.get_mut(at) else {
            self.leaves.push(Leaf::of(card, text));
            return (at, 0);
        };
        let position = leaf.position(card.id).unwrap_or_else(|free| free);
        if leaf.cards.len() < LEAF_MAX {
            leaf.insert(position, card, text);
            return (at, position);
        }
        if position == LEAF_MAX {
            self.leaves.insert(at + 1, Leaf::of(card, text));
            return (at + 1, 0);
        }
        let mut upper = leaf.split(LEAF_MAX / 2);
        let place = match position.checked_sub(LEAF_MAX / 2) {
            Some(position) => {
                upper.insert(position, card, text);
                (at + 1, position)
            }
            None => {
                leaf.insert(position, card, text);
                (at, position)
            }
        };
        self.leaves.insert(at + 1, upper);
        place
    }

    /// Forgets a host.
    pub(super) fn remove(&mut self, id: HostId) {
        let at = self.leaf_of(id);
        let Some(leaf) = self.leaves.get_mut(at) else { return };
        let Ok(position) = leaf.position(id) else { return };
        let card = leaf.remove(position);
        if leaf.cards.is_empty() {
            self.leaves.remove(at);
        }
        self.totals.forget(&card);
        self.unlink_machine(&card);
    }

    /// The leaf where a host is or would be, and one past the last for ids above all.
    fn leaf_of(&self, id: HostId) -> usize {
        self.leaves.partition_point(|leaf| leaf.cards.last().is_some_and(|last| last.id < id))
    }

    fn link_machine(&mut self, leaf: usize, position: usize) {
        let card = &self.leaves[leaf].cards[position];
        let Some(machine) = card.machine() else { return };
        let hosts = match self.machines.get_mut(machine) {
            Some(hosts) => hosts,
            None => self.machines.entry(machine.to_owned()).or_default(),
        };
        if hosts.insert(card.id) {
            // With the second one the first is a possible duplicate, too.
            self.duplicates += match hosts.len() {
                1 => 0,
                2 => 2,
                _ => 1,
            };
        }
    }

    fn unlink_machine(&mut self, card: &Card) {
        let Some(machine) = card.machine() else { return };
        let Some(hosts) = self.machines.get_mut(machine) else { return };
        if !hosts.remove(&card.id) {
            return;
        }
        match hosts.len() {
            0 => drop(self.machines.remove(machine)),
            1 => self.duplicates -= 2,
            _ => self.duplicates -= 1,
        }
    }
}

impl Leaf {
    fn of(card: Card, text: &str) -> Self {
        let mut leaf = Self::default();
        leaf.insert(0, card, text);
        leaf
    }

    fn position(&self, id: HostId) -> Result<usize, usize> {
        self.cards.binary_search_by_key(&id, |card| card.id)
    }

    /// Where the text of a host begins.
    fn text_start(&self, position: usize) -> usize {
        position.checked_sub(1).map_or(0, |before| self.cards[before].text_end)
    }

    fn insert(&mut self, position: usize, mut card: Card, text: &str) {
        let start = self.text_start(position);
        self.text.insert_str(start, text);
        card.text_end = start;
        self.cards.insert(position, card);
        for card in &mut self.cards[position..] {
            card.text_end += text.len();
        }
    }

    fn replace(&mut self, position: usize, mut card: Card, text: &str) -> Card {
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

    fn remove(&mut self, position: usize) -> Card {
        let start = self.text_start(position);
        let card = self.cards.remove(position);
        self.text.drain(start..card.text_end);
        for later in &mut self.cards[position..] {
            later.text_end -= card.text_end - start;
        }
        card
    }

    /// Keeps what comes before `position`, and gives what follows.
    fn split(&mut self, position: usize) -> Self {
        let start = self.text_start(position);
        let mut upper = Self { cards: self.cards.split_off(position), text: self.text.split_off(start) };
        for card in &mut upper.cards {
            card.text_end -= start;
        }
        upper
    }

    /// The hosts in whose text it is found, in order.
    fn matches(&self, finder: &Finder<'_>) -> impl Iterator<Item = &Card> {
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

impl Card {
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// The last report, or the enrollment while there was none.
    pub(super) const fn quiet_since(&self) -> Timestamp {
        self.quiet_since
    }

    pub(super) const fn svid_not_after(&self) -> Timestamp {
        self.svid_not_after
    }

    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.reported.then_some(self.quiet_since)
    }

    /// Records a report, and tells whether the host appeared with it.
    pub(super) fn seen(&mut self, at: Timestamp) -> bool {
        (self.quiet_since, self.reported) = (at, true);
        let appeared = self.in_service && !self.online;
        self.online |= appeared;
        appeared
    }

    /// Records that an SVID was shown: whether it is the newest so far, and whether that is news.
    pub(super) fn shown(&mut self, serial: Serial) -> Shown {
        match self.host.newest_shown {
            Some(newest) if serial < newest => Shown::Older,
            Some(newest) if serial == newest => Shown::Known,
            _ => {
                self.host.newest_shown = Some(serial);
                Shown::Newer
            }
        }
    }

    /// The store has these facts now.
    pub(super) fn saved(&mut self) {
        self.stored = None;
    }

    fn machine(&self) -> Option<&str> {
        self.host.facts.telling_machine_id().filter(|_| self.in_service)
    }

    fn fits(&self, query: &HostQuery) -> bool {
        self.in_service != query.decommissioned && query.online.is_none_or(|online| self.online == online)
    }
}

/// How an SVID that a host shows stands to those it has shown before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Older,
    Known,
    Newer,
}

impl Totals {
    fn count(&mut self, card: &Card) {
        self.decommissioned += usize::from(!card.in_service);
        self.in_service += usize::from(card.in_service);
        self.online += usize::from(card.in_service && card.online);
        self.possible_clones += usize::from(card.in_service && card.possible_clone);
    }

    fn forget(&mut self, card: &Card) {
        self.decommissioned -= usize::from(!card.in_service);
        self.in_service -= usize::from(card.in_service);
        self.online -= usize::from(card.in_service && card.online);
        self.possible_clones -= usize::from(card.in_service && card.possible_clone);
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.in_service += other.in_service;
        self.online += other.online;
        self.possible_clones += other.possible_clones;
        self.decommissioned += other.decommissioned;
    }
}

/// In lower case letter by letter: what a part of a text becomes does not depend on what is around it.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn searched(host: &Host) -> String {
    // A host without a hostname goes by its agent id.
    let name = host.facts.hostname.as_deref().unwrap_or_else(|| host.agent.as_str());
    let mut text = folded(&format!("{name}\n{}\n", host.facts.os.as_deref().unwrap_or_default()));
    for ip in &host.facts.ips {
        text.push_str(&ip.to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::TenantId;

    /// What can happen to a roll. Numbers name hosts.
    #[derive(Debug, Clone)]
    enum Step {
        Put { number: u16, name: usize, machine: Option<u8>, decommissioned: bool, clone: bool },
        Remove(u16),
        Learn(u16, usize),
        Saved(u16),
        Seen(u16, i64),
        Silence(i64),
    }

    const NAMES: [&str; 4] = ["web", "Db-\u{130}", "", "a name that is longer than the others"];

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn id(number: u16) -> HostId {
        let [high, low] = number.to_be_bytes();
        HostId::from_bytes([high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }

    fn host(number: u16, name: usize, machine: Option<u8>) -> Host {
        let machine = machine.map(|machine| format!("{machine:031x}f")).unwrap_or_default();
        let [high, low] = number.to_be_bytes();
        let ip = std::net::IpAddr::from([10, 0, high, low]);
        Host {
            id: id(number),
            tenant: TenantId::from_bytes([1; 16]),
            agent: format!("agent-{number}").parse().unwrap(),
            facts: HostFacts::bounded([NAMES[name], "Debian 12", "", &machine, ""], [ip]),
            first_enrolled_at: at(0),
            last_seen: None,
            newest_shown: None,
            decommissioned_at: None,
            newest_serial: Serial::from_bytes([1; 16]),
            svid_not_after: at(i64::from(number)),
            flags: BTreeSet::new(),
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0..900u16;
        prop_oneof![
            6 => (number.clone(), 0..NAMES.len(), prop::option::of(0..40u8), any::<bool>(), any::<bool>())
                .prop_map(|(number, name, machine, decommissioned, clone)| Step::Put {
                    number, name, machine, decommissioned, clone
                }),
            3 => number.clone().prop_map(Step::Remove),
            4 => (number.clone(), 0..NAMES.len()).prop_map(|(number, name)| Step::Learn(number, name)),
            1 => number.clone().prop_map(Step::Saved),
            4 => (number, 1..100i64).prop_map(|(number, second)| Step::Seen(number, second)),
            1 => (1..100i64).prop_map(Step::Silence),
        ]
    }

    /// The same, done the plain way.
    #[derive(Debug, Default)]
    struct Plain(BTreeMap<HostId, HostNow>, BTreeMap<HostId, HostFacts>);

    impl Plain {
        fn put(&mut self, mut host: Host) {
            let known = self.0.get(&host.id);
            match (known, self.1.get(&host.id)) {
                (Some(known), Some(stored)) if *stored == host.facts => host.facts = known.host.facts.clone(),
                _ => drop(self.1.remove(&host.id)),
            }
            host.last_seen = known.and_then(|known| known.host.last_seen);
            let online = host.decommissioned_at.is_none() && known.is_some_and(|known| known.online);
            self.0.insert(host.id, HostNow { host, online });
        }

        fn shared(&self) -> BTreeSet<&str> {
            let in_service = self.0.values().filter(|now| now.host.decommissioned_at.is_none());
            let mut seen = BTreeSet::new();
            let machines = in_service.filter_map(|now| now.host.facts.machine_id.as_deref());
            machines.filter(|machine| !seen.insert(*machine)).collect()
        }

        fn duplicates(&self) -> usize {
            let shared = self.shared();
            let in_service = self.0.values().filter(|now| now.host.decommissioned_at.is_none());
            let machines = in_service.filter_map(|now| now.host.facts.machine_id.as_deref());
            machines.filter(|machine| shared.contains(machine)).count()
        }

        fn totals(&self) -> Totals {
            let mut totals = Totals::default();
            for now in self.0.values() {
                if now.host.decommissioned_at.is_some() {
                    totals.decommissioned += 1;
                    continue;
                }
                totals.in_service += 1;
                totals.online += usize::from(now.online);
                totals.possible_clones += usize::from(now.host.flags.contains(&HostFlag::PossibleClone));
            }
            totals
        }

        fn page(&self, query: &HostQuery, limit: usize) -> HostPage {
            let text = folded(query.text.as_deref().unwrap_or_default());
            let shared = self.shared();
            let mut page = HostPage::default();
            for now in self.0.values() {
                let found = searched(&now.host).lines().any(|line| line.contains(&text));
                let decommissioned = now.host.decommissioned_at.is_some();
                let status = query.online.is_none_or(|online| online == now.online);
                if !found || decommissioned != query.decommissioned || !status {
                    continue;
                }
                page.total += 1;
                if page.hosts.len() < limit && query.after.is_none_or(|after| now.host.id > after) {
                    let mut now = now.clone();
                    if now.host.facts.machine_id.as_deref().is_some_and(|machine| shared.contains(machine)) {
                        now.host.flags.insert(HostFlag::PossibleDuplicate);
                    }
                    page.hosts.push(now);
                }
            }
            page
        }
    }

    fn compare(roll: &Roll, plain: &Plain, after: HostId) {
        assert_eq!(roll.totals(), plain.totals());
        assert_eq!(roll.duplicates(), plain.duplicates());
        let expiries = |now: &&HostNow| now.host.decommissioned_at.is_none();
        let expected: Vec<_> = plain.0.values().filter(expiries).map(|now| now.host.svid_not_after).collect();
        assert_eq!(roll.in_service().map(Card::svid_not_after).collect::<Vec<_>>(), expected);
        for text in [None, Some("WEB"), Some("1"), Some("10.0.1."), Some("agent-7"), Some("b-\u{130}\nd")] {
            for (online, decommissioned) in [(None, false), (Some(true), false), (Some(false), false)]
                .into_iter()
                .chain([(None, true), (Some(true), true), (Some(false), true)])
            {
                for (after, limit) in [(None, 1_000), (Some(after), 7)] {
                    let text = text.map(str::to_owned);
                    let query = HostQuery { text, online, decommissioned, after };
                    let (page, expected) = (roll.page(&query, limit), plain.page(&query, limit));
                    assert_eq!((page.total, page.hosts), (expected.total, expected.hosts), "{query:?}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// Leaves split, fill and empty, texts grow and shrink, and the counts stay those of a plain count.
        #[test]
        fn a_roll_answers_like_a_plain_map(
            first in prop::sample::subsequence((0..900u16).collect::<Vec<_>>(), 0..900).prop_shuffle(),
            steps in prop::collection::vec(step(), 0..300),
            after in 0..900u16,
        ) {
            let (mut roll, mut plain) = (Roll::default(), Plain::default());
            for number in first {
                let name = usize::from(number) % NAMES.len();
                roll.put(host(number, name, None));
                plain.put(host(number, name, None));
            }
            compare(&roll, &plain, id(after));
            for step in steps {
                match step {
                    Step::Put { number, name, machine, decommissioned, clone } => {
                        let mut host = host(number, name, machine);
                        host.decommissioned_at = decommissioned.then(|| at(1));
                        host.flags.extend(clone.then_some(HostFlag::PossibleClone));
                        roll.put(host.clone());
                        plain.put(host);
                    }
                    Step::Remove(number) => {
                        roll.remove(id(number));
                        plain.0.remove(&id(number));
                        plain.1.remove(&id(number));
                    }
                    Step::Learn(number, name) => {
                        let facts = host(number, name, None).facts;
                        let learned = roll.learn(id(number), facts.clone());
                        let known = plain.0.get_mut(&id(number)).is_some_and(|now| {
                            let facts = facts.or(&now.host.facts);
                            let before = std::mem::replace(&mut now.host.facts, facts);
                            let news = before != now.host.facts;
                            if news {
                                plain.1.entry(id(number)).or_insert(before);
                            }
                            news
                        });
                        assert_eq!(learned, known);
                    }
                    Step::Saved(number) => {
                        roll.change(id(number), Card::saved);
                        plain.1.remove(&id(number));
                    }
                    Step::Seen(number, second) => {
                        let appeared = roll.change(id(number), |card| card.seen(at(second)));
                        let known = plain.0.get_mut(&id(number)).map(|now| {
                            now.host.last_seen = Some(at(second));
                            let appears = now.host.decommissioned_at.is_none() && !now.online;
                            now.online |= appears;
                            appears
                        });
                        assert_eq!(appeared, known);
                    }
                    Step::Silence(cutoff) => {
                        let gone = roll.silence(at(cutoff));
                        let mut expected = Vec::new();
                        for now in plain.0.values_mut() {
                            if now.online && now.host.last_seen.is_some_and(|seen| seen < at(cutoff)) {
                                now.online = false;
                                expected.push(now.host.id);
                            }
                        }
                        assert_eq!(gone, expected);
                    }
                }
            }
            compare(&roll, &plain, id(after));
        }
    }
}
