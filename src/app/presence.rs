//! Who is there: the latest report of every host, in memory. A heartbeat costs no commit.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::domain::host::HostFacts;
use crate::domain::ids::HostId;
use crate::domain::serial::Serial;

/// Independent locks, so that reports of many hosts rarely wait for each other.
const SHARDS: usize = 64;

/// How often an agent is asked to report.
pub const HEARTBEAT_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// What is known of a host's doings since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// When it last reported.
    pub at: Option<Timestamp>,
    /// What it last said of itself.
    pub facts: Option<HostFacts>,
    /// The newest SVID that it has shown.
    pub newest_shown: Option<Serial>,
}

/// The latest report of every host that has reported since the server started.
#[derive(Debug)]
pub struct Presence {
    shards: Vec<Mutex<Shard>>,
}

#[derive(Debug, Default)]
struct Shard {
    latest: HashMap<HostId, Report>,
    /// Reported since the last [`Presence::take_unsaved`].
    unsaved: HashSet<HostId>,
}

impl Default for Presence {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Presence {
    /// Records a report of a host whose identity has been proved.
    pub fn report(&self, host: HostId, facts: Option<HostFacts>, at: Timestamp) {
        let mut shard = self.shard(host);
        let report = shard.latest.entry(host).or_default();
        report.at = Some(at);
        if facts.is_some() {
            report.facts = facts;
        }
        shard.unsaved.insert(host);
    }

    /// Records that a host has shown an SVID, and tells whether it is older than one shown before.
    /// `saved` is the newest one of earlier runs of the server.
    pub fn shown(&self, host: HostId, serial: Serial, saved: Option<Serial>) -> bool {
        let mut shard = self.shard(host);
        let report = shard.latest.entry(host).or_default();
        let newest = report.newest_shown.max(saved);
        if newest.is_some_and(|newest| serial < newest) {
            return true;
        }
        if newest != Some(serial) {
            report.newest_shown = Some(serial);
            shard.unsaved.insert(host);
        }
        false
    }

    /// Some of the reports that came in since they were last taken.
    pub fn take_unsaved(&self, limit: usize) -> Vec<(HostId, Report)> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            while taken.len() < limit
                && let Some(host) = shard.unsaved.iter().next().copied()
            {
                shard.unsaved.remove(&host);
                if let Some(report) = shard.latest.get(&host) {
                    taken.push((host, report.clone()));
                }
            }
        }
        taken
    }

    /// The latest report of a host since the server started.
    pub fn latest(&self, host: HostId) -> Option<Report> {
        self.shard(host).latest.get(&host).cloned()
    }

    pub fn forget(&self, host: HostId) {
        let mut shard = self.shard(host);
        shard.latest.remove(&host);
        shard.unsaved.remove(&host);
    }

    fn shard(&self, host: HostId) -> std::sync::MutexGuard<'_, Shard> {
        let index = usize::from(host.as_bytes()[15]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
