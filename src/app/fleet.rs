//! The fleet in memory: every host with what it last reported, kept in step with the store.
//!
//! Lists, search and the overview answer from here, so nothing is scanned on disk per request; a heartbeat
//! costs no commit. The store holds the truth: rows come from it, and reports are saved to it in batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::{SignedDuration, Timestamp};
use memchr::memmem;

use super::events::{EventKind, Events};
use crate::domain::host::{Host, HostFacts, HostFlag};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::serial::Serial;
use crate::store::{HostChange, ReadError, View};

/// How often an agent is asked to report.
pub const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// A host is online while it has missed fewer reports than this.
const MISSED_BEATS: i32 = 3;

/// Transitions of one sweep that are told one by one; more are told as one request to look again.
const TOLD_ONE_BY_ONE: usize = 50;

/// Every host.
#[derive(Debug)]
pub struct Fleet {
    rows: RwLock<Rows>,
    events: Arc<Events>,
}

#[derive(Debug, Default)]
struct Rows {
    tenants: HashMap<HostId, TenantId>,
    /// Ids grow with time, so this is the order of enrollment. What scans look at lies close together.
    by_tenant: HashMap<TenantId, BTreeMap<HostId, Card>>,
    by_machine: HashMap<(TenantId, String), HashSet<HostId>>,
    unsaved: HashSet<HostId>,
}

#[derive(Debug)]
struct Card {
    /// What search looks at: lower case, one fact a line.
    searched: Box<str>,
    online: bool,
    in_service: bool,
    /// As stored, with the facts and the moment of the last report laid over.
    host: Box<Host>,
}

/// What a host has reported since its row was last saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub at: Option<Timestamp>,
    pub facts: HostFacts,
    pub newest_shown: Option<Serial>,
}

/// Hosts in service, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub in_service: usize,
    pub online: usize,
    pub possible_clones: usize,
}

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

impl Fleet {
    /// Reads every host from the store.
    pub(super) fn load(view: &View<'_>, events: Arc<Events>) -> Result<Self, ReadError> {
        let mut rows = Rows::default();
        view.hosts(None, |host| {
            rows.put(host);
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(Self { rows: RwLock::new(rows), events })
    }

    /// A fleet that no store knows, for tests of rooms above.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self { rows: RwLock::default(), events: Arc::new(Events::new(0)) }
    }

    /// Adds a host that no store knows.
    #[cfg(test)]
    pub(crate) fn meet(&self, id: HostId) {
        self.write().put(Host {
            id,
            tenant: TenantId::from_bytes([1; 16]),
            agent: id.to_string().parse().expect("a UUID is a valid agent id"),
            facts: HostFacts::default(),
            first_enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            newest_shown: None,
            decommissioned_at: None,
            newest_serial: Serial::from_bytes(*id.as_bytes()),
            svid_not_after: Timestamp::UNIX_EPOCH,
            flags: std::collections::BTreeSet::new(),
        });
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Rows> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what the store has committed. Called by the writer, in commit order.
    pub(super) fn apply(&self, changes: &[HostChange]) {
        if changes.is_empty() {
            return;
        }
        let mut rows = self.write();
        for change in changes {
            match change {
                HostChange::Put(host) => rows.put(Host::clone(host)),
                HostChange::Removed { tenant, id } => rows.remove(*tenant, *id),
            }
        }
        drop(rows);
        for change in changes {
            let (tenant, id) = match change {
                HostChange::Put(host) => (host.tenant, host.id),
                HostChange::Removed { tenant, id } => (*tenant, *id),
            };
            self.events.tell(EventKind::Host, Some(tenant), Some(id.to_string()));
        }
    }

    /// Records a report of a host whose identity has been proved.
    pub fn report(&self, id: HostId, facts: Option<HostFacts>, at: Timestamp) {
        let mut rows = self.write();
        let Some(card) = rows.card_mut(id) else {
            return;
        };
        card.host.last_seen = Some(at);
        let appeared = !card.online && card.in_service;
        card.online |= appeared;
        let tenant = card.host.tenant;
        let mut changed = appeared;
        if let Some(facts) = facts {
            let facts = facts.or(&card.host.facts);
            if facts != card.host.facts {
                changed = true;
                let host = Host { facts, ..Host::clone(&card.host) };
                rows.put(host);
            }
        }
        rows.unsaved.insert(id);
        drop(rows);
        if changed {
            self.events.tell(EventKind::Host, Some(tenant), Some(id.to_string()));
        }
    }

    /// Records that a host has shown an SVID, and tells whether it is older than one shown before.
    pub(super) fn shown(&self, id: HostId, serial: Serial) -> bool {
        let mut rows = self.write();
        let Some(card) = rows.card_mut(id) else {
            return false;
        };
        if card.host.newest_shown.is_some_and(|newest| serial < newest) {
            return true;
        }
        if card.host.newest_shown != Some(serial) {
            card.host.newest_shown = Some(serial);
            rows.unsaved.insert(id);
        }
        false
    }

    /// Some of the reports that came in since they were last taken.
    pub(super) fn take_unsaved(&self, limit: usize) -> Vec<(HostId, Report)> {
        let mut rows = self.write();
        let ids: Vec<HostId> = rows.unsaved.iter().take(limit).copied().collect();
        let mut taken = Vec::with_capacity(ids.len());
        for id in ids {
            rows.unsaved.remove(&id);
            if let Some(card) = rows.card(id) {
                let Host { last_seen, facts, newest_shown, .. } = Host::clone(&card.host);
                taken.push((id, Report { at: last_seen, facts, newest_shown }));
            }
        }
        taken
    }

    /// Marks hosts that have missed too many reports as offline, and tells.
    pub fn sweep(&self, now: Timestamp) {
        let mut rows = self.write();
        let mut gone = Vec::new();
        for card in rows.by_tenant.values_mut().flat_map(BTreeMap::values_mut) {
            if card.online && !recent(&card.host, now) {
                card.online = false;
                gone.push((card.host.tenant, card.host.id));
            }
        }
        drop(rows);
        if gone.len() > TOLD_ONE_BY_ONE {
            self.events.tell(EventKind::Resync, None, None);
            return;
        }
        for (tenant, id) in gone {
            self.events.tell(EventKind::Host, Some(tenant), Some(id.to_string()));
        }
    }

    pub fn host(&self, id: HostId) -> Option<HostNow> {
        let rows = self.read();
        rows.card(id).map(|card| rows.now(card))
    }

    /// A tenant's hosts in the order of their enrollment.
    pub(super) fn page(&self, tenant: TenantId, query: &HostQuery, limit: usize) -> HostPage {
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let finder = text.as_ref().map(|text| memmem::Finder::new(text.as_bytes()));
        let wanted = |card: &Card| {
            card.in_service != query.decommissioned
                && query.online.is_none_or(|online| card.online == online)
                && finder.as_ref().is_none_or(|finder| finder.find(card.searched.as_bytes()).is_some())
        };
        let rows = self.read();
        let mut page = HostPage::default();
        for card in rows.of(tenant).filter(|card| wanted(card)) {
            page.total += 1;
            if page.hosts.len() < limit && query.after.is_none_or(|after| card.host.id > after) {
                page.hosts.push(rows.now(card));
            }
        }
        page
    }

    /// Visits the hosts of a tenant that are not decommissioned.
    pub(super) fn for_each_in_service(&self, tenant: TenantId, mut visit: impl FnMut(&Host, bool)) -> usize {
        let rows = self.read();
        let mut decommissioned = 0;
        for card in rows.of(tenant) {
            if card.in_service {
                visit(&card.host, card.online);
            } else {
                decommissioned += 1;
            }
        }
        decommissioned
    }

    /// How many machine ids of a tenant are reported by more than one host.
    pub(super) fn duplicates(&self, tenant: TenantId) -> usize {
        let shared =
            |(key, hosts): &(&(TenantId, String), &HashSet<HostId>)| key.0 == tenant && hosts.len() > 1;
        self.read().by_machine.iter().filter(shared).count()
    }

    /// Hosts of all tenants together.
    pub fn totals(&self) -> Totals {
        let rows = self.read();
        let mut totals = Totals::default();
        for card in rows.by_tenant.values().flat_map(BTreeMap::values).filter(|card| card.in_service) {
            totals.in_service += 1;
            totals.online += usize::from(card.online);
            totals.possible_clones += usize::from(card.host.flags.contains(&HostFlag::PossibleClone));
        }
        totals
    }
}

fn recent(host: &Host, now: Timestamp) -> bool {
    host.last_seen.is_some_and(|at| now.duration_since(at) <= HEARTBEAT_INTERVAL * MISSED_BEATS)
}

impl Rows {
    fn of(&self, tenant: TenantId) -> impl Iterator<Item = &Card> {
        self.by_tenant.get(&tenant).into_iter().flat_map(BTreeMap::values)
    }

    fn card(&self, id: HostId) -> Option<&Card> {
        self.by_tenant.get(self.tenants.get(&id)?)?.get(&id)
    }

    fn card_mut(&mut self, id: HostId) -> Option<&mut Card> {
        self.by_tenant.get_mut(self.tenants.get(&id)?)?.get_mut(&id)
    }

    fn now(&self, card: &Card) -> HostNow {
        let mut host = Host::clone(&card.host);
        let machine = host.facts.machine_id.as_ref().map(|machine| (host.tenant, machine.clone()));
        if machine.is_some_and(|key| self.by_machine.get(&key).is_some_and(|hosts| hosts.len() > 1)) {
            host.flags.insert(HostFlag::PossibleDuplicate);
        }
        HostNow { host, online: card.online }
    }

    /// Takes a row in. What memory knows better than a row of the store stays.
    fn put(&mut self, mut host: Host) {
        let mut online = false;
        if let Some(known) = self.card(host.id) {
            host.last_seen = host.last_seen.max(known.host.last_seen);
            host.newest_shown = host.newest_shown.max(known.host.newest_shown);
            online = known.online && host.decommissioned_at.is_none();
            let known = (known.host.tenant, known.host.id, known.host.facts.machine_id.clone());
            self.unlink_machine(known.0, known.1, known.2);
        }
        if let Some(machine) = &host.facts.machine_id
            && host.decommissioned_at.is_none()
        {
            self.by_machine.entry((host.tenant, machine.clone())).or_default().insert(host.id);
        }
        self.tenants.insert(host.id, host.tenant);
        let searched = searched(&host).into_boxed_str();
        let in_service = host.decommissioned_at.is_none();
        let (tenant, id) = (host.tenant, host.id);
        let card = Card { searched, online, in_service, host: Box::new(host) };
        self.by_tenant.entry(tenant).or_default().insert(id, card);
    }

    fn remove(&mut self, tenant: TenantId, id: HostId) {
        self.tenants.remove(&id);
        let card = self.by_tenant.get_mut(&tenant).and_then(|cards| cards.remove(&id));
        if let Some(card) = card {
            self.unlink_machine(tenant, id, card.host.facts.machine_id);
        }
        self.unsaved.remove(&id);
    }

    fn unlink_machine(&mut self, tenant: TenantId, id: HostId, machine: Option<String>) {
        let Some(machine) = machine else { return };
        let key = (tenant, machine);
        if let Some(hosts) = self.by_machine.get_mut(&key) {
            hosts.remove(&id);
            if hosts.is_empty() {
                self.by_machine.remove(&key);
            }
        }
    }
}

fn searched(host: &Host) -> String {
    // A host without a hostname goes by its agent id.
    let name = host.facts.hostname.as_deref().unwrap_or_else(|| host.agent.as_str());
    let mut text = format!("{name}\n{}\n", host.facts.os.as_deref().unwrap_or_default()).to_lowercase();
    for ip in &host.facts.ips {
        text.push_str(&ip.to_string());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8, hostname: &str) -> Host {
        let ip = std::net::IpAddr::from([10, 0, 0, number]);
        Host {
            id: HostId::from_bytes([number; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            agent: format!("agent-{number}").parse().unwrap(),
            facts: HostFacts::bounded([hostname, "Debian 12", "", "machine", ""], [ip]),
            first_enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            newest_shown: None,
            decommissioned_at: None,
            newest_serial: Serial::from_bytes([number; 16]),
            svid_not_after: Timestamp::UNIX_EPOCH,
            flags: std::collections::BTreeSet::new(),
        }
    }

    fn fleet() -> Fleet {
        let fleet = Fleet::empty();
        let hosts = [host(1, "Web-1"), host(2, "db-1"), host(3, "")];
        fleet.apply(&hosts.map(|host| HostChange::Put(Box::new(host))));
        fleet
    }

    #[test]
    fn search_finds_parts_of_names_addresses_and_systems() {
        let fleet = fleet();
        let tenant = TenantId::from_bytes([1; 16]);
        let count = |text: &str| {
            let query = HostQuery { text: Some(text.to_owned()), ..HostQuery::default() };
            fleet.page(tenant, &query, 10).total
        };
        let cases =
            [("WEB", 1), ("-1", 2), ("10.0.0.", 3), ("debian", 3), ("agent-3", 1), ("agent-1", 0), ("%", 0)];
        for (text, expected) in cases {
            assert_eq!(count(text), expected, "{text}");
        }
        assert_eq!(fleet.page(TenantId::from_bytes([2; 16]), &HostQuery::default(), 10).total, 0);
    }

    #[test]
    fn pages_follow_each_other() {
        let fleet = fleet();
        let tenant = TenantId::from_bytes([1; 16]);
        let first = fleet.page(tenant, &HostQuery::default(), 2);
        assert_eq!((first.hosts.len(), first.total), (2, 3));
        let after = first.hosts.last().map(|now| now.host.id);
        let second = fleet.page(tenant, &HostQuery { after, ..HostQuery::default() }, 2);
        assert_eq!((second.hosts.len(), second.total), (1, 3));
    }

    #[test]
    fn reports_make_a_host_online_and_silence_makes_it_offline() {
        let fleet = fleet();
        let id = HostId::from_bytes([1; 16]);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        fleet.report(id, None, at(100));
        fleet.sweep(at(190));
        assert!(fleet.host(id).unwrap().online);
        fleet.sweep(at(191));
        assert!(!fleet.host(id).unwrap().online);
        assert_eq!(fleet.take_unsaved(10).len(), 1);
        assert!(fleet.take_unsaved(10).is_empty());
    }

    #[test]
    fn one_machine_id_on_two_hosts_is_flagged_until_one_leaves() {
        let fleet = fleet();
        let flagged = || fleet.host(HostId::from_bytes([1; 16])).unwrap().host.flags.len();
        assert_eq!(flagged(), 1);
        let gone = |number| Host { decommissioned_at: Some(Timestamp::UNIX_EPOCH), ..host(number, "x") };
        fleet.apply(&[HostChange::Put(Box::new(gone(2))), HostChange::Put(Box::new(gone(3)))]);
        assert_eq!(flagged(), 0);
    }
}
