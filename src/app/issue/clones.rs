//! Possible clones: signs that two machines share an identity.
//!
//! An older SVID shown after a newer one, a second live successor of one SVID, and facts that alternate under one
//! serial. By default the host is flagged and everybody goes on, so that a restored snapshot does not lock itself
//! out; with `clone_policy: revoke` the identity is revoked, but never for what a machine says of itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::app::insight::fleet::HostNow;
use crate::app::insight::timeline::timeline;
use crate::app::issue::revoke::revocations;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::host::{ClonePolicy, Host, HostFlag};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::timeline::TimelineKind;
use crate::store::{Change, ReadError, Verdict, View};

/// Suspicions that wait to be written down; more at once are dropped, and come again with the next handshake.
const WAITING_MAX: usize = 1_000;

/// Why two machines may share an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// This SVID was shown after a newer one.
    OlderShown(Serial),
    /// Another live SVID has been rotated from this one already.
    SecondSuccessor { of: Serial, first: Serial },
    /// After a restore this SVID has come back, and another one of its identity before.
    ReturnedTwice(Serial),
    /// Under this serial two machines seem to report by turns.
    AlternatingFacts(Serial),
}

impl Suspicion {
    const fn signal(self) -> &'static str {
        match self {
            Self::OlderShown(_) => "older_shown",
            Self::SecondSuccessor { .. } => "second_successor",
            Self::ReturnedTwice(_) => "returned_twice",
            Self::AlternatingFacts(_) => "alternating_facts",
        }
    }

    /// The SVID that it is about, by what it is.
    const fn about(self) -> (&'static str, Serial) {
        match self {
            Self::OlderShown(older) => ("older_serial", older),
            Self::SecondSuccessor { of, .. } | Self::ReturnedTwice(of) => ("from_serial", of),
            Self::AlternatingFacts(serial) => ("serial", serial),
        }
    }

    /// Whether it rests on keys that were proved to be held, and not on what somebody says.
    const fn is_proved(self) -> bool {
        !matches!(self, Self::AlternatingFacts(_))
    }
}

/// What has been noticed and nobody has written down yet.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    waiting: Mutex<BTreeMap<HostId, Suspicion>>,
    noticed: Notify,
}

impl Suspicions {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// What was proved is not displaced by what was merely said.
    pub(crate) fn note(&self, host: HostId, suspicion: Suspicion) {
        let mut waiting = self.waiting.lock();
        let known = waiting.get(&host).is_some_and(|known| known.is_proved());
        if !known && (waiting.len() < WAITING_MAX || waiting.contains_key(&host)) {
            waiting.insert(host, suspicion);
            self.noticed.notify_one();
        }
    }
}

impl App {
    /// Notes that a host has shown an SVID and proved to hold its key. Runs on an async worker, so it only
    /// takes note.
    pub(crate) fn compare_shown(&self, host: HostId, serial: Serial) {
        if !self.fleet.shown(host, serial) {
            return;
        }
        let settled = |now: HostNow| match self.policy.clone_policy {
            ClonePolicy::Flag => now.host.flags.contains(&HostFlag::PossibleClone),
            ClonePolicy::Revoke => now.host.revoked_at.is_some(),
        };
        if !self.fleet.host(host).is_none_or(settled) {
            self.suspicions.note(host, Suspicion::OlderShown(serial));
        }
    }

    /// Waits until something has been noticed, and writes it down. What can't be written waits on.
    pub async fn record_suspicions(&self) -> Result<(), Unavailable> {
        self.suspicions.noticed.notified().await;
        let suspicions = self.suspicions.waiting.lock().clone();
        let policy = self.policy.clone_policy;
        let noted = suspicions.iter().map(|(host, suspicion)| Ok((*host, *suspicion, Salts::new()?)));
        let noted = noted.collect::<Result<Vec<_>, Unavailable>>()?;
        let recorded = self.decide(move |view, now| {
            let mut changes = Vec::new();
            for (host, suspicion, salts) in noted {
                if let Some(host) = view.any_tenant().host(host)? {
                    changes.extend(suspect(view, &host, suspicion, policy, now, salts)?.changes);
                }
            }
            Ok(Verdict::accept((), changes))
        });
        match recorded.await {
            Ok(()) => {
                let mut waiting = self.suspicions.waiting.lock();
                waiting.retain(|host, suspicion| suspicions.get(host) != Some(suspicion));
                Ok(())
            }
            Err(error) => {
                self.suspicions.noticed.notify_one();
                Err(error)
            }
        }
    }
}

/// What hides the host's name in the records of a suspicion, and of the revocation that may follow from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Salts {
    flag: [u8; 16],
    revocation: [u8; 16],
}

impl Salts {
    pub(crate) fn new() -> Result<Self, Unavailable> {
        Ok(Self { flag: entropy()?, revocation: entropy()? })
    }
}

/// What a suspicion comes to.
pub(crate) struct Suspected {
    pub(crate) changes: Vec<Change>,
    /// Whether the identity is revoked with it.
    pub(crate) revoked: bool,
}

/// Flags a host, once, with the record of why, and revokes its identity where that is the policy.
pub(crate) fn suspect(
    view: &View<'_>,
    host: &Host,
    suspicion: Suspicion,
    policy: ClonePolicy,
    now: Timestamp,
    salts: Salts,
) -> Result<Suspected, ReadError> {
    let mut changes = flag(host.clone(), suspicion, now, salts.flag);
    let revoked = policy == ClonePolicy::Revoke && suspicion.is_proved();
    if revoked && host.revoked_at.is_none() {
        changes.extend(revocations(view, host.id, now, RevocationReason::Revoked)?);
        changes.push(Change::DenyIdentity { identity: host.identity(), since: now });
        changes.push(timeline(host.id, now, TimelineKind::Revoked, [("by", "clone_policy".to_owned())]));
        let mut event = event(host, AuditAction::AgentRevoke, salts.revocation);
        event.detail.insert("agent_id", host.agent.to_string());
        event.detail.insert("because", suspicion.signal().to_owned());
        changes.push(Change::Audit(event));
    }
    Ok(Suspected { changes, revoked })
}

fn flag(mut host: Host, suspicion: Suspicion, now: Timestamp, salt: [u8; 16]) -> Vec<Change> {
    if !host.flags.insert(HostFlag::PossibleClone) {
        return Vec::new();
    }
    let mut event = event(&host, AuditAction::HostPossibleClone, salt);
    event.detail.insert("signal", suspicion.signal().to_owned());
    event.detail.insert("newest_serial", host.newest_serial.to_string());
    let (name, serial) = suspicion.about();
    event.detail.insert(name, serial.to_string());
    if let Suspicion::SecondSuccessor { first, .. } = suspicion {
        event.detail.insert("first_successor", first.to_string());
    }
    let told = [("signal", suspicion.signal().to_owned()), (name, serial.to_string())];
    vec![
        timeline(host.id, now, TimelineKind::PossibleClone, told),
        Change::PutHost(host),
        Change::Audit(event),
    ]
}

fn event(host: &Host, action: AuditAction, salt: [u8; 16]) -> AuditEvent {
    let mut event = AuditEvent::by_muster("server", action, Some(host.tenant), host.id);
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    event
}
