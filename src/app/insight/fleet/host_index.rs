//! A tenant's hosts in the order of their enrollment, laid out for looking at all of them.
//!
//! A question about 100,000 hosts is a walk over memory in one direction: hosts lie in leaves, each with the
//! searched text of its hosts in one piece, and what is asked of every host lies beside its id. What is only
//! counted is not walked for at all: counts are kept with every change.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;

pub(crate) use crate::app::insight::fleet::entry::Entry;
use crate::app::insight::fleet::entry::{overdue_from, searched};
use crate::app::insight::fleet::leaf::{LEAF_MAX, Leaf, Wanted};
use crate::app::insight::fleet::query::{HostCursor, HostQuery, HostSortKey, Key, compare};
use crate::domain::enroll::enrollment::LetInBy;
use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::ids::HostId;
use crate::domain::version::AgentVersion;

/// A host as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNow {
    /// Its row, with what it has reported since it was saved, and with flags that follow from other hosts.
    pub host: Host,
    /// It is in service and has missed fewer than three reports.
    pub online: bool,
}

/// A page of hosts.
#[derive(Debug, Default)]
pub struct HostPage {
    /// In the order asked for, at most as many as asked for.
    pub hosts: Vec<HostNow>,
    /// How many hosts match in all.
    pub total: usize,
    /// Where the last of them stands, if others follow.
    pub next: Option<HostCursor>,
}

/// Hosts, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Those that are not decommissioned, revoked ones included.
    pub in_service: usize,
    /// Of those in service.
    pub online: usize,
    /// Of those in service.
    pub possible_clones: usize,
    /// Those that are out of service.
    pub decommissioned: usize,
}

#[derive(Debug, Default)]
pub(crate) struct HostIndex {
    /// None is empty; their hosts follow each other by id, which grows with time.
    leaves: Vec<Leaf>,
    totals: Totals,
    /// Who reports which machine id, of the hosts in service.
    machines: Machines,
    /// Hosts in service that report a machine id which another one reports, too.
    duplicates: BTreeSet<HostId>,
    /// Who reported which machine id last, of the decommissioned hosts.
    retired_machines: Machines,
    hasher: RandomState,
}

/// Hashes of machine ids, with who reports them: the ids themselves would be most of the index. Two ids may have one hash, so
/// who is found is asked for the id itself.
type Machines = BTreeSet<(u64, HostId)>;

impl HostIndex {
    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// How many hosts in service report a machine id that another one reports, too.
    pub(crate) fn duplicates(&self) -> usize {
        self.duplicates.len()
    }

    pub(crate) fn entry(&self, id: HostId) -> Option<&Entry> {
        let leaf = self.leaves.get(self.leaf_of(id))?;
        leaf.position(id).ok().map(|at| &leaf.entries[at])
    }

    /// The host as it is now, with what the others' facts say of it.
    pub(crate) fn now(&self, entry: &Entry) -> HostNow {
        let mut host = Host { last_seen: entry.last_seen(), ..Host::clone(&entry.host) };
        if self.is_duplicate(entry) {
            host.flags.insert(HostFlag::PossibleDuplicate);
        }
        HostNow { host, online: entry.online }
    }

    /// Whether more than one host in service reports the machine id of this one.
    pub(crate) fn is_duplicate(&self, entry: &Entry) -> bool {
        match entry.machine() {
            _ if self.duplicates.is_empty() => false,
            Some(machine) if !entry.in_service => self.reporting(&self.machines, machine).nth(1).is_some(),
            _ => self.duplicates.contains(&entry.id),
        }
    }

    /// The hosts among these that report a machine id.
    fn reporting<'i>(
        &'i self,
        machines: &'i Machines,
        machine: &'i str,
    ) -> impl Iterator<Item = HostId> + 'i {
        let hash = self.hasher.hash_one(machine);
        let ids = (hash, HostId::from_bytes([0; 16]))..=(hash, HostId::from_bytes([u8::MAX; 16]));
        let reports = move |id: &HostId| self.entry(*id).and_then(Entry::machine) == Some(machine);
        machines.range(ids).map(|(_, id)| *id).filter(reports)
    }

    /// The decommissioned host that reported a machine id, if no other host has or had it.
    pub(crate) fn decommissioned_machine(&self, machine_id: &str) -> Option<HostId> {
        if self.reporting(&self.machines, machine_id).next().is_some() {
            return None;
        }
        let mut hosts = self.reporting(&self.retired_machines, machine_id);
        let host = hosts.next();
        host.filter(|_| hosts.next().is_none())
    }

    /// Every host in service.
    pub(crate) fn in_service(&self) -> impl Iterator<Item = &Entry> {
        self.leaves.iter().flat_map(|leaf| &leaf.entries).filter(|entry| entry.in_service)
    }

    /// A page of the hosts that are wanted.
    pub(crate) fn page(&self, query: &HostQuery, limit: usize) -> HostPage {
        let wanted = Wanted::of(self, query);
        match query.order.by {
            HostSortKey::Enrolled => self.page_by_enrollment(&wanted, limit),
            _ => self.page_by_key(&wanted, limit),
        }
    }

    /// Ids grow with time, so the hosts lie in this order already.
    fn page_by_enrollment(&self, wanted: &Wanted<'_>, limit: usize) -> HostPage {
        let order = wanted.query.order;
        let leaves: Box<dyn Iterator<Item = &Leaf>> = match order.ascends() {
            true => Box::new(self.leaves.iter()),
            false => Box::new(self.leaves.iter().rev()),
        };
        let counted = self.counted(wanted.query);
        let after = wanted.query.after.as_ref().map(|place| place.id);
        let behind =
            |id: HostId| after.is_none_or(|after| if order.ascends() { id > after } else { id < after });
        let mut page = HostPage { total: counted.unwrap_or(0), ..HostPage::default() };
        let mut last = None;
        for leaf in leaves {
            let ends = leaf.entries.first().zip(leaf.entries.last());
            if counted.is_some() && !ends.is_some_and(|(first, last)| behind(first.id) || behind(last.id)) {
                continue;
            }
            let mut found = wanted.entries_of(leaf);
            if !order.ascends() {
                found.reverse();
            }
            for entry in found {
                page.total += usize::from(counted.is_none());
                if !behind(entry.id) {
                    continue;
                }
                if page.hosts.len() < limit {
                    page.hosts.push(self.now(entry));
                    last = Some(entry.id);
                } else if page.next.is_none() {
                    page.next = last.map(|id| HostCursor { key: Key::Enrolled, id });
                }
            }
            if counted.is_some() && page.next.is_some() {
                break;
            }
        }
        page
    }

    /// Looks at all and sorts only those of the page: a list in this order would change with every report.
    fn page_by_key(&self, wanted: &Wanted<'_>, limit: usize) -> HostPage {
        let query = wanted.query;
        let order = query.order;
        let after = query.after.as_ref().map(|place| (&place.key, place.id));
        let mut total = 0;
        let mut found = Vec::new();
        for leaf in &self.leaves {
            for entry in wanted.entries_of(leaf) {
                total += 1;
                let key = leaf.key_of(entry, order.by);
                if after.is_none_or(|after| compare(order, (&key, entry.id), after).is_gt()) {
                    found.push((key, entry));
                }
            }
        }
        let by_place = |one: &(Key<'_>, &Entry), other: &(Key<'_>, &Entry)| {
            compare(order, (&one.0, one.1.id), (&other.0, other.1.id))
        };
        let more = found.len() > limit;
        if more {
            found.select_nth_unstable_by(limit, by_place);
            found.truncate(limit);
        }
        found.sort_unstable_by(by_place);
        let next = found.last().filter(|_| more);
        let next = next.map(|(key, entry)| HostCursor { key: key.clone().into_owned(), id: entry.id });
        HostPage { hosts: found.into_iter().map(|(_, entry)| self.now(entry)).collect(), total, next }
    }

    /// How many hosts match, where that is known without looking.
    fn counted(&self, query: &HostQuery) -> Option<usize> {
        let Totals { in_service, online, decommissioned, .. } = self.totals;
        query.asks_by_status_alone().then_some(match (query.of_the_decommissioned(), query.online) {
            (false, None) => in_service,
            (false, Some(true)) => online,
            (false, Some(false)) => in_service - online,
            (true, Some(true)) => 0,
            (true, _) => decommissioned,
        })
    }

    /// Changes what is remembered of a host beside its facts.
    pub(crate) fn change<T>(&mut self, id: HostId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let at = self.leaf_of(id);
        let leaf = self.leaves.get_mut(at)?;
        let position = leaf.position(id).ok()?;
        let entry = &mut leaf.entries[position];
        self.totals.forget(entry);
        let made = change(entry);
        self.totals.count(entry);
        Some(made)
    }

    /// Marks the hosts in service that were last heard of before `cutoff` as offline, and names them.
    pub(crate) fn silence(&mut self, cutoff: Timestamp) -> Vec<HostId> {
        let mut gone = Vec::new();
        for entry in self.leaves.iter_mut().flat_map(|leaf| &mut leaf.entries) {
            if entry.online && entry.quiet_since < cutoff {
                entry.online = false;
                gone.push(entry.id);
            }
        }
        self.totals.online -= gone.len();
        gone
    }

    /// Takes a row in. What memory knows better than a row of the store stays.
    pub(crate) fn put(&mut self, mut host: Host) {
        let mut stored = None;
        if let Some(known) = self.entry(host.id)
            && known.stored.as_deref() == Some(&host.facts)
        {
            stored.clone_from(&known.stored);
            host.facts.clone_from(&known.host.facts);
        }
        self.place(host, stored);
    }

    /// Takes in what a host says of itself, and tells whether it is news.
    pub(crate) fn learn(&mut self, id: HostId, facts: HostFacts) -> bool {
        let Some(known) = self.entry(id) else { return false };
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
        let known = position.map(|position| &self.leaves[at].entries[position]);
        let (mut online, mut told) = (false, None);
        if let Some(known) = known {
            told.clone_from(&known.told);
            host.last_seen = host.last_seen.max(known.last_seen());
            host.newest_shown = host.newest_shown.max(known.host.newest_shown);
            host.trust = known.host.trust.or(host.trust);
            online = known.online && host.decommissioned_at.is_none();
        }
        let text = searched(&host);
        let entry = Entry {
            id: host.id,
            quiet_since: host.last_seen.unwrap_or(host.first_enrolled_at),
            svid_not_after: host.svid_not_after,
            overdue_from: overdue_from(host.newest_serial.made_at(), host.svid_not_after),
            text_end: 0,
            text_len: text.len(),
            reported: host.last_seen.is_some(),
            online,
            in_service: host.decommissioned_at.is_none(),
            revoked: host.revoked_at.is_some(),
            possible_clone: host.flags.contains(&HostFlag::PossibleClone),
            recovered: host.flags.contains(&HostFlag::Recovered),
            let_in_by: host.let_in_by.map(LetInBy::id),
            version: AgentVersion::stated(host.facts.agent_version.as_deref()),
            host: Box::new(host),
            stored,
            told,
        };
        self.totals.count(&entry);
        match position {
            Some(position) => {
                let known = self.leaves[at].replace(position, entry, &text);
                self.totals.forget(&known);
                self.unlink_machine(&known);
                self.link_machine(at, position);
            }
            None => {
                let (at, position) = self.insert(entry, &text);
                self.link_machine(at, position);
            }
        }
    }

    /// Puts a new entry where its id belongs, and says where that is.
    fn insert(&mut self, entry: Entry, text: &str) -> (usize, usize) {
        // After the last of all, ids that grow leave full leaves behind.
        let at = self.leaf_of(entry.id).min(self.leaves.len().saturating_sub(1));
        let Some(leaf) = self.leaves.get_mut(at) else {
            self.leaves.push(Leaf::of(entry, text));
            return (at, 0);
        };
        let position = leaf.position(entry.id).unwrap_or_else(|free| free);
        if leaf.entries.len() < LEAF_MAX {
            leaf.insert(position, entry, text);
            return (at, position);
        }
        if position == LEAF_MAX {
            self.leaves.insert(at + 1, Leaf::of(entry, text));
            return (at + 1, 0);
        }
        let mut upper = leaf.split(LEAF_MAX / 2);
        let place = match position.checked_sub(LEAF_MAX / 2) {
            Some(position) => {
                upper.insert(position, entry, text);
                (at + 1, position)
            }
            None => {
                leaf.insert(position, entry, text);
                (at, position)
            }
        };
        self.leaves.insert(at + 1, upper);
        place
    }

    /// Forgets a host.
    pub(crate) fn remove(&mut self, id: HostId) {
        let at = self.leaf_of(id);
        let Some(leaf) = self.leaves.get_mut(at) else { return };
        let Ok(position) = leaf.position(id) else { return };
        let entry = leaf.remove(position);
        if leaf.entries.is_empty() {
            self.leaves.remove(at);
        }
        self.totals.forget(&entry);
        self.unlink_machine(&entry);
    }

    /// The leaf where a host is or would be, and one past the last for ids above all.
    fn leaf_of(&self, id: HostId) -> usize {
        self.leaves.partition_point(|leaf| leaf.entries.last().is_some_and(|last| last.id < id))
    }

    fn link_machine(&mut self, leaf: usize, position: usize) {
        let entry = &self.leaves[leaf].entries[position];
        let Some(machine) = entry.machine() else { return };
        let (id, place) = (entry.id, (self.hasher.hash_one(machine), entry.id));
        if !entry.in_service {
            self.retired_machines.insert(place);
            return;
        }
        let others: Vec<_> = self.reporting(&self.machines, machine).filter(|other| *other != id).collect();
        if !others.is_empty() {
            self.duplicates.insert(id);
            self.duplicates.extend(others);
        }
        self.machines.insert(place);
    }

    /// `entry`: as it was; it has left its leaf.
    fn unlink_machine(&mut self, entry: &Entry) {
        let Some(machine) = entry.machine() else { return };
        let place = (self.hasher.hash_one(machine), entry.id);
        if !entry.in_service {
            self.retired_machines.remove(&place);
            return;
        }
        self.machines.remove(&place);
        if self.duplicates.remove(&entry.id) {
            let mut others = self.reporting(&self.machines, machine);
            if let (Some(alone), None) = (others.next(), others.next()) {
                drop(others);
                self.duplicates.remove(&alone);
            }
        }
    }
}

impl Totals {
    fn count(&mut self, entry: &Entry) {
        self.decommissioned += usize::from(!entry.in_service);
        self.in_service += usize::from(entry.in_service);
        self.online += usize::from(entry.in_service && entry.online);
        self.possible_clones += usize::from(entry.in_service && entry.possible_clone);
    }

    fn forget(&mut self, entry: &Entry) {
        self.decommissioned -= usize::from(!entry.in_service);
        self.in_service -= usize::from(entry.in_service);
        self.online -= usize::from(entry.in_service && entry.online);
        self.possible_clones -= usize::from(entry.in_service && entry.possible_clone);
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::app::insight::fleet::entry::folded;
    use crate::app::insight::fleet::query::HostOrder;
    use crate::domain::host::HostState;
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::TenantId;

    /// What can happen to an index. Numbers name hosts.
    #[derive(Debug, Clone)]
    enum Step {
        Put { number: u16, name: usize, machine: Option<u8>, out: Option<bool>, clone: bool },
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
            trust: crate::domain::host::HostTrust::default(),
            decommissioned_at: None,
            revoked_at: None,
            let_in_by: None,
            newest_serial: Serial::from_bytes([1; 16]),
            svid_not_after: at(i64::from(number)),
            flags: BTreeSet::new(),
            marks: crate::domain::host::tag::HostMarks::default(),
        }
    }

    fn step() -> impl Strategy<Value = Step> {
        let number = 0..900u16;
        prop_oneof![
            6 => (number.clone(), 0..NAMES.len(), prop::option::of(0..40u8), any::<Option<bool>>(), any::<bool>())
                .prop_map(|(number, name, machine, out, clone)| Step::Put { number, name, machine, out, clone }),
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

        /// All hosts that are wanted, in order.
        fn all(&self, query: &HostQuery) -> Vec<HostNow> {
            let shared = self.shared();
            let flagged = self.0.values().cloned().map(|mut now| {
                if now.host.facts.machine_id.as_deref().is_some_and(|machine| shared.contains(machine)) {
                    now.host.flags.insert(HostFlag::PossibleDuplicate);
                }
                now
            });
            let mut found: Vec<_> = flagged.filter(|now| wanted(now, query)).collect();
            found.sort_by(|one, other| compare_plainly(query.order, one, other));
            found
        }
    }

    fn name(now: &HostNow) -> String {
        folded(now.host.facts.hostname.as_deref().unwrap_or_else(|| now.host.agent.as_str()))
    }

    fn wanted(now: &HostNow, query: &HostQuery) -> bool {
        let text = folded(query.text.as_deref().unwrap_or_default());
        let searched = searched(&now.host);
        let words = text.split_whitespace().all(|word| searched.lines().any(|line| line.contains(word)));
        let named = query.named.contains(&now.host.id);
        let decommissioned = now.host.decommissioned_at.is_some();
        let in_view = match query.decommissioned || query.state == Some(HostState::Decommissioned) {
            true => decommissioned,
            false => !decommissioned || (query.state.is_none() && (named || name(now) == text.trim())),
        };
        let os = now.host.facts.os.as_deref().unwrap_or_default();
        (words || named)
            && in_view
            && query.online.is_none_or(|online| online == now.online)
            && query.state.is_none_or(|state| now.host.state() == state)
            && query.flag.is_none_or(|flag| now.host.flags.contains(&flag))
            && query.os.as_deref().is_none_or(|wanted| folded(os).contains(&folded(wanted)))
            && query
                .silent_before
                .is_none_or(|before| now.host.last_seen.unwrap_or(now.host.first_enrolled_at) < before)
    }

    fn compare_plainly(order: HostOrder, one: &HostNow, other: &HostNow) -> std::cmp::Ordering {
        let ids = one.host.id.cmp(&other.host.id);
        let natural = match order.by {
            HostSortKey::Enrolled => ids.reverse(),
            HostSortKey::Hostname => name(one).cmp(&name(other)).then(ids),
            HostSortKey::LastSeen => one.host.last_seen.cmp(&other.host.last_seen).then(ids).reverse(),
            HostSortKey::Expires => one.host.svid_not_after.cmp(&other.host.svid_not_after).then(ids),
        };
        if order.reversed { natural.reverse() } else { natural }
    }

    /// Every page of a list after the other: each host once, in order, and the total with each.
    fn pages(index: &HostIndex, query: &HostQuery, limit: usize) -> (Vec<HostNow>, usize) {
        let (mut hosts, mut query) = (Vec::new(), query.clone());
        loop {
            let page = index.page(&query, limit);
            assert!(page.hosts.len() <= limit);
            hosts.extend(page.hosts);
            query.after = page.next.map(|place| place.to_string().parse().unwrap());
            if query.after.is_none() {
                return (hosts, page.total);
            }
        }
    }

    fn queries(named: HostId) -> Vec<HostQuery> {
        let text = |text: &str| HostQuery { text: Some(text.to_owned()), ..HostQuery::default() };
        let state = |state| HostQuery { state: Some(state), ..HostQuery::default() };
        let flag = |flag| HostQuery { flag: Some(flag), ..HostQuery::default() };
        let order = |text: &str| HostQuery { order: text.parse().unwrap(), ..HostQuery::default() };
        let mut queries = vec![
            HostQuery::default(),
            text("WEB"),
            text("1"),
            text("10.0.1."),
            text("agent-7"),
            text("web 10.0.2.1 debian"),
            text("b-\u{130}\nd"),
            text("web"),
            HostQuery { named: vec![named], ..text("no such text") },
            HostQuery { os: Some("BIAN".to_owned()), ..order("hostname") },
            HostQuery { silent_before: Some(at(50)), ..order("-last_seen") },
        ];
        queries.push(HostQuery { online: Some(true), ..HostQuery::default() });
        queries.extend(
            [HostState::Decommissioned, HostState::Revoked, HostState::NeverReported, HostState::InService]
                .map(state),
        );
        queries.extend([HostFlag::PossibleClone, HostFlag::PossibleDuplicate].map(flag));
        queries.extend(
            ["-enrolled", "hostname", "-hostname", "last_seen", "-last_seen", "expires", "-expires"]
                .map(order),
        );
        let ways = [(None, false), (Some(false), true)];
        let each = queries.iter().flat_map(|query| {
            ways.map(|(online, decommissioned)| HostQuery { online, decommissioned, ..query.clone() })
        });
        each.collect()
    }

    fn compare_with(index: &HostIndex, plain: &Plain, named: HostId) {
        assert_eq!(index.totals(), plain.totals());
        assert_eq!(index.duplicates(), plain.duplicates());
        let expiries = |now: &&HostNow| now.host.decommissioned_at.is_none();
        let expected: Vec<_> = plain.0.values().filter(expiries).map(|now| now.host.svid_not_after).collect();
        assert_eq!(index.in_service().map(|entry| entry.svid_not_after).collect::<Vec<_>>(), expected);
        for query in queries(named) {
            let expected = plain.all(&query);
            let (found, total) = pages(index, &query, 170);
            assert_eq!((total, found), (expected.len(), expected), "{query:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        /// Leaves split, fill and empty, texts grow and shrink, and the counts stay those of a plain count.
        #[test]
        fn an_index_answers_like_a_plain_map(
            first in prop::sample::subsequence((0..900u16).collect::<Vec<_>>(), 0..900).prop_shuffle(),
            steps in prop::collection::vec(step(), 0..300),
            named in 0..900u16,
        ) {
            let (mut index, mut plain) = (HostIndex::default(), Plain::default());
            for number in first {
                let name = usize::from(number) % NAMES.len();
                index.put(host(number, name, None));
                plain.put(host(number, name, None));
            }
            compare_with(&index, &plain, id(named));
            for step in steps {
                match step {
                    // Revoked, or decommissioned besides.
                    Step::Put { number, name, machine, out, clone } => {
                        let mut host = host(number, name, machine);
                        host.revoked_at = out.map(|_| at(1));
                        host.decommissioned_at = (out == Some(true)).then(|| at(1));
                        host.flags.extend(clone.then_some(HostFlag::PossibleClone));
                        index.put(host.clone());
                        plain.put(host);
                    }
                    Step::Remove(number) => {
                        index.remove(id(number));
                        plain.0.remove(&id(number));
                        plain.1.remove(&id(number));
                    }
                    Step::Learn(number, name) => {
                        let facts = host(number, name, None).facts;
                        let learned = index.learn(id(number), facts.clone());
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
                        index.change(id(number), |entry| entry.stored = None);
                        plain.1.remove(&id(number));
                    }
                    Step::Seen(number, second) => {
                        let appeared = index.change(id(number), |entry| entry.seen(at(second)));
                        let known = plain.0.get_mut(&id(number)).map(|now| {
                            now.host.last_seen = Some(at(second));
                            let appears = now.host.decommissioned_at.is_none() && !now.online;
                            now.online |= appears;
                            appears
                        });
                        assert_eq!(appeared, known);
                    }
                    Step::Silence(cutoff) => {
                        let gone = index.silence(at(cutoff));
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
            compare_with(&index, &plain, id(named));
        }
    }
}
