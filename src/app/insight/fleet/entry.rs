//! A host in the index: what is asked of everybody, and the text that is searched.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

use crate::domain::host::{Host, HostFacts, HostState};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId};
use crate::domain::version::AgentVersion;

/// Whoever says nothing for so long has other troubles than an overdue certificate.
const SILENT: SignedDuration = SignedDuration::from_hours(24);

/// Agents renew after two thirds of a certificate's life, and try again until it ends. Three quarters: past chance.
pub(crate) fn overdue_from(made: Timestamp, not_after: Timestamp) -> Timestamp {
    not_after.checked_sub(not_after.duration_since(made) / 4).unwrap_or(not_after)
}

/// A host, and beside it what is asked of all hosts at once.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: HostId,
    /// The last report, or the enrollment while there was none.
    pub(crate) quiet_since: Timestamp,
    pub(crate) svid_not_after: Timestamp,
    /// Past this its certificate should have been renewed.
    pub(crate) overdue_from: Timestamp,
    /// Where the host's text ends in the leaf's, and how long it is.
    pub(crate) text_end: usize,
    pub(crate) text_len: usize,
    pub(crate) reported: bool,
    pub(crate) online: bool,
    pub(crate) in_service: bool,
    pub(crate) revoked: bool,
    pub(crate) possible_clone: bool,
    pub(crate) recovered: bool,
    pub(crate) let_in_by: Option<CredentialId>,
    pub(crate) version: AgentVersion,
    /// As stored, with newer facts laid over; when it was last seen is above.
    pub(crate) host: Box<Host>,
    /// What the store has for facts, while newer ones have been reported.
    pub(crate) stored: Option<Box<HostFacts>>,
    pub(crate) told: Option<Box<Told>>,
}

impl Entry {
    pub(crate) fn last_seen(&self) -> Option<Timestamp> {
        self.reported.then_some(self.quiet_since)
    }

    /// Records a report, and tells whether the host appeared with it.
    pub(crate) fn seen(&mut self, at: Timestamp) -> bool {
        (self.quiet_since, self.reported) = (at, true);
        let appeared = self.in_service && !self.online;
        self.online |= appeared;
        appeared
    }

    /// Records that an SVID was shown: whether it is the newest so far, and whether that is news.
    pub(crate) fn shown(&mut self, serial: Serial) -> Shown {
        match self.host.newest_shown {
            Some(newest) if serial < newest => Shown::Older,
            Some(newest) if serial == newest => Shown::Known,
            _ => {
                self.host.newest_shown = Some(serial);
                Shown::Newer
            }
        }
    }

    /// Records who a host says it is under an SVID, and tells whether it says again what it said before the last.
    pub(crate) fn tells(&mut self, serial: Serial, facts: &HostFacts) -> bool {
        let known = &self.host.facts;
        let mut hasher = DefaultHasher::new();
        facts.hostname.as_ref().or(known.hostname.as_ref()).hash(&mut hasher);
        facts.machine_id.as_ref().or(known.machine_id.as_ref()).hash(&mut hasher);
        let now = hasher.finish();
        match &mut self.told {
            // Whoever is flagged already need not be suspected with every report.
            Some(told) if told.serial == serial => told.returns_to(now) && !self.possible_clone,
            told => {
                *told = Some(Box::new(Told { serial, now, before: Vec::new() }));
                false
            }
        }
    }

    pub(crate) fn machine(&self) -> Option<&str> {
        self.host.facts.telling_machine_id()
    }

    /// Whether renewal fails on it: it has reported within a day, and goes on with a certificate that it should have replaced.
    pub(crate) fn is_overdue(&self, now: Timestamp) -> bool {
        self.in_service
            && !self.revoked
            && self.reported
            && self.overdue_from < now
            && now.duration_since(self.quiet_since) < SILENT
    }

    pub(crate) const fn state(&self) -> HostState {
        HostState::of(!self.in_service, self.revoked, self.reported)
    }
}

/// Who a host has said it is under one SVID: digests of hostname and machine id.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    serial: Serial,
    now: u64,
    before: Vec<u64>,
}

impl Told {
    /// Machines that are told apart.
    const BEFORE_MAX: usize = 4;

    fn returns_to(&mut self, says: u64) -> bool {
        if says == self.now {
            return false;
        }
        let before = std::mem::replace(&mut self.now, says);
        if !self.before.contains(&before) && self.before.len() < Self::BEFORE_MAX {
            self.before.push(before);
        }
        self.before.contains(&says)
    }
}

/// How an SVID that a host shows stands to those it has shown before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Older,
    Known,
    Newer,
}

/// In lower case letter by letter: what a part of a text becomes does not depend on what is around it.
pub(crate) fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

pub(crate) fn searched(host: &Host) -> String {
    // A host without a hostname goes by its agent id.
    let name = host.facts.hostname.as_deref().unwrap_or_else(|| host.agent.as_str());
    let mut text = folded(&format!("{name}\n{}\n", host.facts.os.as_deref().unwrap_or_default()));
    for ip in &host.facts.ips {
        text.push_str(&ip.to_string());
        text.push('\n');
    }
    text
}
