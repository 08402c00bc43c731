//! The fleet in memory: every host with what it last reported, kept in step with the store.
//!
//! Lists, search and the overview answer from here, so nothing is scanned on disk per request; a heartbeat
//! costs no commit. The store holds the truth: rows come from it, and reports are saved to it in batches.

mod entry;
pub(crate) mod host_index;
mod leaf;
mod loading;
mod query;
#[cfg(test)]
mod testing;
mod unsaved;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use parking_lot::RwLock;

use crate::app::insight::events::Events;
use crate::app::insight::fleet::entry::{Entry, Shown};
pub(crate) use crate::app::insight::fleet::host_index::HostIndex;
pub use crate::app::insight::fleet::host_index::{HostNow, HostPage, Totals};
use crate::app::insight::fleet::loading::Loading;
pub use crate::app::insight::fleet::query::{
    HostCursor, HostOrder, HostQuery, HostSortKey, NotAPlace, NotAnOrder,
};
pub(crate) use crate::app::insight::fleet::unsaved::ToSave;
use crate::app::insight::fleet::unsaved::Unsaved;
use crate::app::issue::clones::{Suspicion, Suspicions};
use crate::domain::host::{Host, HostFacts, HostState, HostTrust};
use crate::domain::identity::dns_suffix::DnsSuffix;
use crate::domain::identity::hierarchy::BundleDigest;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::live_kind::LiveKind;
use crate::domain::version::AgentVersion;
use crate::store::{HostChange, StoreReader};

/// How often an agent is asked to report.
pub const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// An agent that runs has reported long before.
const FIRST_REPORT_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// A host is online while it has missed fewer reports than this.
const MISSED_BEATS: i32 = 3;

/// Hosts of one tenant that are told of one by one at a time; more are told as one request to look again.
const TOLD_ONE_BY_ONE: usize = 50;

/// Every host.
#[derive(Debug)]
pub struct Fleet {
    rows: RwLock<Rows>,
    loading: Loading,
    events: Arc<Events>,
    suspicions: Arc<Suspicions>,
}

#[derive(Debug, Default)]
struct Rows {
    tenants: HashMap<HostId, TenantId>,
    indexes: HashMap<TenantId, HostIndex>,
    unsaved: Unsaved,
    /// Hosts whose facts have changed and of which nobody has been told yet.
    changed: HashSet<(TenantId, HostId)>,
    /// Hosts that were removed while others were still being read: an older snapshot has them.
    gone: HashSet<HostId>,
}

/// What a host has reported since its row was last saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The last report; `None`: it has shown an SVID and never reported.
    pub at: Option<Timestamp>,
    /// What is known of the machine by now, not only what the last report said.
    pub facts: HostFacts,
    /// The newest SVID that it has shown.
    pub newest_shown: Option<Serial>,
    /// Whom it has said it trusts.
    pub trust: HostTrust,
}

/// A tenant's hosts in service, summed up.
#[derive(Debug, Default)]
pub(crate) struct Census {
    pub totals: Totals,
    /// Last heard of, or enrolled, before the moment that was asked for.
    pub silent: usize,
    /// Of the silent, those that have reported before, and are not revoked.
    pub gone_silent: usize,
    /// Enrolled for more than an hour, and never reported.
    pub never_reported: usize,
    /// Whose certificates should have been renewed.
    pub overdue: usize,
    /// Hosts that report a machine id which another one reports, too.
    pub duplicates: usize,
    /// When the SVIDs that are still valid run out, in no order.
    pub expiries: Vec<Timestamp>,
    /// Whose SVIDs would have a DNS name, and whose agents do not take one.
    pub without_dns_name: usize,
}

/// What a census asks of each host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CensusQuestion<'a> {
    pub now: Timestamp,
    /// Who has not reported since is silent.
    pub silent_before: Timestamp,
    pub dns_suffix: Option<&'a DnsSuffix>,
}

/// Hosts in service by what another key of the server's would be to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerTrustCensus {
    /// All of them.
    pub hosts: usize,
    /// Those that know the server by its very certificate, and would refuse it.
    pub leaf_alone: usize,
    /// Those that have not said.
    pub unsaid: usize,
}

impl Fleet {
    /// The hosts of a store, none of which has been read.
    pub(crate) fn of(reader: StoreReader, events: Arc<Events>, suspicions: Arc<Suspicions>) -> Self {
        Self { rows: RwLock::default(), loading: Loading::from(reader), events, suspicions }
    }

    /// Follows what the store has committed. Called by the writer, in commit order.
    pub(crate) fn apply(&self, changes: &[HostChange]) {
        if changes.is_empty() {
            return;
        }
        let mut rows = self.rows.write();
        for change in changes {
            match change {
                HostChange::Put(host) => rows.put(Host::clone(host)),
                HostChange::Removed { tenant, id } => {
                    rows.remove(*tenant, *id);
                    if !self.loading.is_done() {
                        rows.gone.insert(*id);
                    }
                }
            }
        }
        drop(rows);
        for change in changes {
            let (tenant, id) = match change {
                HostChange::Put(host) => (host.tenant, host.id),
                HostChange::Removed { tenant, id } => (*tenant, *id),
            };
            self.events.tell(LiveKind::Host, Some(tenant), Some(id.to_string()));
        }
    }

    /// Follows a store whose every host this is. Who listens is told by whoever knows why.
    pub(crate) fn replace(&self, all: &[HostChange]) {
        let mut rows = self.rows.write();
        let mut gone = std::mem::take(&mut rows.tenants);
        for change in all {
            if let HostChange::Put(host) = change {
                gone.remove(&host.id);
                rows.put(Host::clone(host));
            }
        }
        let reading = !self.loading.is_done();
        for (id, tenant) in gone {
            rows.remove(tenant, id);
            if reading {
                rows.gone.insert(id);
            }
        }
    }

    /// Records a report of a host that has proved its identity with this SVID.
    pub fn report(&self, id: HostId, serial: Serial, facts: Option<HostFacts>, at: Timestamp) {
        self.meet_early(id);
        let mut rows = self.rows.write();
        let Some((tenant, index)) = rows.index_mut(id) else {
            return;
        };
        let Some(appeared) = index.change(id, |entry| entry.seen(at)) else {
            return;
        };
        let tells = |facts: &HostFacts| index.change(id, |entry| entry.tells(serial, facts)) == Some(true);
        let alternates = facts.as_ref().is_some_and(tells);
        let learned = facts.is_some_and(|facts| index.learn(id, facts));
        rows.unsaved.add(id, learned);
        if learned && !appeared {
            // However often a machine changes its mind, people are told once with each sweep.
            rows.changed.insert((tenant, id));
        }
        drop(rows);
        if alternates {
            self.suspicions.note(id, Suspicion::AlternatingFacts(serial));
        }
        if appeared {
            self.events.tell(LiveKind::Host, Some(tenant), Some(id.to_string()));
        }
    }

    /// Tells of hosts one by one, or, where a tenant has many, that it is time to look again.
    fn tell_of(&self, hosts: impl IntoIterator<Item = (TenantId, HostId)>) {
        let mut by_tenant = HashMap::<TenantId, Vec<HostId>>::new();
        for (tenant, id) in hosts {
            by_tenant.entry(tenant).or_default().push(id);
        }
        for (tenant, ids) in by_tenant {
            if ids.len() > TOLD_ONE_BY_ONE {
                self.events.tell(LiveKind::Resync, Some(tenant), None);
                continue;
            }
            for id in ids {
                self.events.tell(LiveKind::Host, Some(tenant), Some(id.to_string()));
            }
        }
    }

    /// Records that a host has shown an SVID, and tells whether it is older than one shown before.
    pub(crate) fn shown(&self, id: HostId, serial: Serial) -> bool {
        self.meet_early(id);
        let mut rows = self.rows.write();
        let shown = rows.index_mut(id).and_then(|(_, index)| index.change(id, |entry| entry.shown(serial)));
        if shown == Some(Shown::Newer) {
            rows.unsaved.add(id, true);
        }
        shown == Some(Shown::Older)
    }

    /// Records whom a host says it trusts. It says so with every report, and it is seldom news.
    pub(crate) fn told_trust(&self, id: HostId, says: HostTrust) {
        let known = |rows: &Rows| Some(rows.index(id)?.entry(id)?.host.trust);
        if known(&self.rows.read()).is_none_or(|known| says.or(known) == known) {
            return;
        }
        let mut rows = self.rows.write();
        let noted = rows
            .index_mut(id)
            .and_then(|(_, index)| index.change(id, |entry| entry.host.trust = says.or(entry.host.trust)));
        if noted.is_some() {
            rows.unsaved.add(id, true);
        }
    }

    /// Hosts in service, and how they know the server.
    pub(crate) fn knows_server(&self) -> ServerTrustCensus {
        let rows = self.rows.read();
        let mut census = ServerTrustCensus::default();
        for entry in rows.indexes.values().flat_map(HostIndex::in_service) {
            census.hosts += 1;
            census.leaf_alone += usize::from(entry.host.trust.leaf_alone == Some(true));
            census.unsaid += usize::from(entry.host.trust.leaf_alone.is_none());
        }
        census
    }

    /// Hosts in service that were seen since then, and those of them that have not said that they know these roots.
    pub(crate) fn knows_bundle(&self, since: Timestamp, bundle: BundleDigest) -> (usize, usize) {
        let rows = self.rows.read();
        let in_service = rows.indexes.values().flat_map(HostIndex::in_service);
        let seen = in_service.filter(|entry| entry.reported && !entry.revoked && entry.quiet_since >= since);
        seen.fold((0, 0), |(seen, without), entry| {
            (seen + 1, without + usize::from(entry.host.trust.bundle != Some(bundle)))
        })
    }

    /// Whose reports are to be saved now.
    pub(crate) fn to_save(&self, which: ToSave) -> Vec<HostId> {
        self.rows.write().unsaved.whose_turn(which)
    }

    /// What these hosts have reported since that was last taken. It comes back unless it is saved.
    pub(crate) fn take_unsaved(&self, hosts: &[HostId]) -> Taken<'_> {
        let mut rows = self.rows.write();
        let mut taken = Vec::with_capacity(hosts.len());
        for id in hosts {
            if rows.unsaved.take(*id)
                && let Some(entry) = rows.index(*id).and_then(|index| index.entry(*id))
            {
                let Host { facts, newest_shown, trust, .. } = &*entry.host;
                let report = Report {
                    at: entry.last_seen(),
                    facts: facts.clone(),
                    newest_shown: *newest_shown,
                    trust: *trust,
                };
                taken.push((*id, report));
            }
        }
        drop(rows);
        Taken { fleet: self, reports: taken }
    }

    /// The store has what was taken of these hosts.
    fn saved(&self, hosts: impl IntoIterator<Item = HostId>) {
        let mut rows = self.rows.write();
        for id in hosts {
            if let Some((_, index)) = rows.index_mut(id) {
                // The store has these facts now.
                index.change(id, |entry| entry.stored = None);
            }
        }
    }

    /// Marks hosts that have missed too many reports as offline, and tells of them and of those whose facts have
    /// changed since the last sweep.
    pub fn sweep(&self, now: Timestamp) {
        let cutoff = now - HEARTBEAT_INTERVAL * MISSED_BEATS;
        let mut rows = self.rows.write();
        let mut changed = std::mem::take(&mut rows.changed);
        for (tenant, index) in &mut rows.indexes {
            changed.extend(index.silence(cutoff).into_iter().map(|id| (*tenant, id)));
        }
        drop(rows);
        self.tell_of(changed);
    }

    /// A host as it is now, whosever it is: the caller looks at its tenant.
    pub fn host(&self, id: HostId) -> Option<HostNow> {
        self.meet_early(id);
        let rows = self.rows.read();
        let index = rows.index(id)?;
        index.entry(id).map(|entry| index.now(entry))
    }

    /// A tenant's hosts, those that are wanted.
    pub(crate) fn page(&self, tenant: TenantId, query: &HostQuery, limit: usize) -> HostPage {
        self.rows.read().indexes.get(&tenant).map(|index| index.page(query, limit)).unwrap_or_default()
    }

    /// Tenants that have hosts.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        self.rows.read().indexes.keys().copied().collect()
    }

    /// Hosts in service that have reported last after one moment and not after another.
    pub(crate) fn fallen_silent(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> Vec<(TenantId, HostId, Timestamp)> {
        let rows = self.rows.read();
        let silent = |(tenant, index): (&TenantId, &HostIndex)| {
            let its = index
                .in_service()
                .filter(|entry| entry.reported && after < entry.quiet_since && entry.quiet_since <= until);
            its.map(|entry| (*tenant, entry.id, entry.quiet_since)).collect::<Vec<_>>()
        };
        rows.indexes.iter().flat_map(silent).collect()
    }

    /// Sums up a tenant's hosts.
    pub(crate) fn census(&self, tenant: TenantId, asked: CensusQuestion<'_>) -> Census {
        let CensusQuestion { now, silent_before, dns_suffix } = asked;
        let rows = self.rows.read();
        let Some(index) = rows.indexes.get(&tenant) else {
            return Census::default();
        };
        let totals = index.totals();
        let mut census = Census {
            totals,
            duplicates: index.duplicates(),
            silent: 0,
            gone_silent: 0,
            never_reported: 0,
            overdue: 0,
            expiries: Vec::with_capacity(totals.in_service),
            without_dns_name: 0,
        };
        let named =
            |entry: &Entry| dns_suffix.is_some_and(|suffix| suffix.name_of(&entry.host.agent).is_some());
        for entry in index.in_service() {
            let silent = entry.quiet_since < silent_before;
            let state = entry.state();
            census.silent += usize::from(silent);
            census.gone_silent += usize::from(silent && state == HostState::InService);
            let late = state == HostState::NeverReported
                && now.duration_since(entry.quiet_since) > FIRST_REPORT_WITHIN;
            census.never_reported += usize::from(late);
            census.overdue += usize::from(entry.is_overdue(now));
            let too_old = entry.version < AgentVersion::TAKES_DNS_NAMES;
            census.without_dns_name += usize::from(too_old && named(entry));
            if entry.svid_not_after > now {
                census.expiries.push(entry.svid_not_after);
            }
        }
        census
    }

    /// The decommissioned host whose machine this is, if it is no other host's, whether decommissioned or not.
    pub(crate) fn decommissioned_machine(&self, tenant: TenantId, machine_id: &str) -> Option<HostId> {
        self.rows.read().indexes.get(&tenant)?.decommissioned_machine(machine_id)
    }

    /// Hosts of each tenant that has or had some.
    pub(crate) fn totals_by_tenant(&self) -> Vec<(TenantId, Totals)> {
        self.rows.read().indexes.iter().map(|(tenant, index)| (*tenant, index.totals())).collect()
    }

    /// Hosts of all tenants together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for index in self.rows.read().indexes.values() {
            totals += index.totals();
        }
        totals
    }
}

/// Reports on their way to the store. Whatever becomes of that, those that did not get there are unsaved again.
#[derive(Debug)]
pub(crate) struct Taken<'f> {
    fleet: &'f Fleet,
    reports: Vec<(HostId, Report)>,
}

impl Taken<'_> {
    pub(crate) fn reports(&self) -> &[(HostId, Report)] {
        &self.reports
    }

    /// The store has them.
    pub(crate) fn saved(mut self) {
        self.fleet.saved(std::mem::take(&mut self.reports).into_iter().map(|(host, _)| host));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.reports.is_empty() {
            return;
        }
        let mut rows = self.fleet.rows.write();
        for (host, _) in &self.reports {
            if rows.tenants.contains_key(host) {
                rows.unsaved.add(*host, true);
            }
        }
    }
}

impl Rows {
    fn index(&self, id: HostId) -> Option<&HostIndex> {
        self.indexes.get(self.tenants.get(&id)?)
    }

    fn index_mut(&mut self, id: HostId) -> Option<(TenantId, &mut HostIndex)> {
        let tenant = *self.tenants.get(&id)?;
        Some((tenant, self.indexes.get_mut(&tenant)?))
    }

    fn put(&mut self, host: Host) {
        self.tenants.insert(host.id, host.tenant);
        self.indexes.entry(host.tenant).or_default().put(host);
    }

    fn remove(&mut self, tenant: TenantId, id: HostId) {
        self.tenants.remove(&id);
        self.unsaved.take(id);
        if let Some(index) = self.indexes.get_mut(&tenant) {
            index.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "0123456789abcdef0123456789abcdef";

    fn host(number: u8, hostname: &str) -> Host {
        let ip = std::net::IpAddr::from([10, 0, 0, number]);
        Host {
            id: HostId::from_bytes([number; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            agent: format!("agent-{number}").parse().unwrap(),
            facts: HostFacts::bounded([hostname, "Debian 12", "", MACHINE, ""], [ip]),
            first_enrolled_at: Timestamp::UNIX_EPOCH,
            last_seen: None,
            newest_shown: None,
            trust: HostTrust::default(),
            decommissioned_at: None,
            revoked_at: None,
            let_in_by: None,
            newest_serial: Serial::from_bytes([number; 16]),
            svid_not_after: Timestamp::UNIX_EPOCH,
            flags: std::collections::BTreeSet::new(),
            marks: crate::domain::host::tag::HostMarks::default(),
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
        // The last sigma of a word has a small letter of its own.
        let greek = [host(4, "ΟΔΟΣΑ"), host(5, "ΟΔΟΣ")];
        fleet.apply(&greek.map(|host| HostChange::Put(Box::new(host))));
        assert_eq!((count("ΟΔΟΣ"), count("οδοσ")), (2, 2));
    }

    #[test]
    fn newer_facts_outlive_a_row_with_those_that_the_store_had() {
        let fleet = fleet();
        let id = HostId::from_bytes([1; 16]);
        let name = || fleet.host(id).unwrap().host.facts.hostname.unwrap();
        let put = |name| fleet.apply(&[HostChange::Put(Box::new(host(1, name)))]);
        fleet.report(id, Serial::from_bytes([1; 16]), Some(host(1, "web-9").facts), Timestamp::UNIX_EPOCH);
        put("Web-1");
        assert_eq!(name(), "web-9");
        put("enrolled-anew");
        assert_eq!(name(), "enrolled-anew");
        fleet.report(id, Serial::from_bytes([1; 16]), Some(host(1, "web-9").facts), Timestamp::UNIX_EPOCH);
        fleet.take_unsaved(&[id]).saved();
        put("enrolled-anew");
        assert_eq!(name(), "enrolled-anew", "the store had the newer facts, and got others since");
    }

    #[test]
    fn pages_follow_each_other() {
        let fleet = fleet();
        let tenant = TenantId::from_bytes([1; 16]);
        let first = fleet.page(tenant, &HostQuery::default(), 2);
        assert_eq!((first.hosts.len(), first.total), (2, 3));
        let after = first.next;
        assert!(after.is_some());
        let second = fleet.page(tenant, &HostQuery { after, ..HostQuery::default() }, 2);
        assert_eq!((second.hosts.len(), second.total, second.next), (1, 3, None));
    }

    #[test]
    fn reports_make_a_host_online_and_silence_makes_it_offline() {
        let fleet = fleet();
        let id = HostId::from_bytes([1; 16]);
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        fleet.report(id, Serial::from_bytes([1; 16]), None, at(100));
        fleet.sweep(at(190));
        assert!(fleet.host(id).unwrap().online);
        fleet.sweep(at(191));
        assert!(!fleet.host(id).unwrap().online);
        // What was taken and not saved, because the save failed or was given up, comes back.
        for _ in 0..2 {
            assert_eq!(fleet.take_unsaved(&[id]).reports().len(), 1);
        }
        fleet.take_unsaved(&[id]).saved();
        assert!(fleet.take_unsaved(&[id]).reports().is_empty());
    }

    #[test]
    fn facts_that_come_back_under_one_serial_are_suspect() {
        let fleet = fleet();
        let id = HostId::from_bytes([1; 16]);
        let report = |serial, name| {
            let facts = Some(host(1, name).facts);
            fleet.report(id, Serial::from_bytes([serial; 16]), facts, Timestamp::UNIX_EPOCH);
            fleet.suspicions.is_empty()
        };
        assert!(report(1, "web-1") && report(1, "web-1") && report(1, "renamed") && report(1, "renamed"));
        assert!(report(2, "web-1"), "another certificate may be another boot");
        assert!(report(2, "renamed"));
        assert!(!report(2, "web-1"));
    }

    #[test]
    fn a_machine_is_known_by_its_decommissioned_host_unless_another_has_it() {
        let fleet = Fleet::empty();
        let tenant = TenantId::from_bytes([1; 16]);
        let gone = |number| Host { decommissioned_at: Some(Timestamp::UNIX_EPOCH), ..host(number, "x") };
        let put = |host| fleet.apply(&[HostChange::Put(Box::new(host))]);
        let known = || fleet.decommissioned_machine(tenant, MACHINE);
        put(host(1, "x"));
        assert_eq!(known(), None);
        put(gone(1));
        assert_eq!(known(), Some(HostId::from_bytes([1; 16])));
        assert_eq!(fleet.decommissioned_machine(tenant, "other"), None);
        assert_eq!(fleet.decommissioned_machine(TenantId::from_bytes([2; 16]), MACHINE), None);
        put(host(2, "x"));
        assert_eq!(known(), None, "another has it");
        put(gone(2));
        assert_eq!(known(), None, "another had it");
        fleet.apply(&[HostChange::Removed { tenant, id: HostId::from_bytes([2; 16]) }]);
        assert_eq!(known(), Some(HostId::from_bytes([1; 16])));
        put(host(1, "x"));
        assert_eq!(known(), None, "it is back");
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

    #[test]
    fn images_that_were_never_started_are_no_duplicates() {
        let fleet = fleet();
        for number in 1..=3 {
            let facts = HostFacts::bounded(["", "", "", "uninitialized", ""], []);
            fleet.apply(&[HostChange::Put(Box::new(Host { facts, ..host(number, "x") }))]);
        }
        assert!(fleet.host(HostId::from_bytes([1; 16])).unwrap().host.flags.is_empty());
        assert_eq!(
            fleet
                .census(
                    TenantId::from_bytes([1; 16]),
                    CensusQuestion {
                        now: Timestamp::UNIX_EPOCH,
                        silent_before: Timestamp::UNIX_EPOCH,
                        dns_suffix: None,
                    },
                )
                .duplicates,
            0
        );
    }
}
