//! What must be true of the registry, in plain maps: the rules of the contract once more, without a store, a CA or
//! a clock.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::enroll::enrollment::{RevocationReason, Via};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, HostId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;

/// How long after its expiry the newest SVID of an agent may still rotate.
pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(6);
/// From one sign of life to the next there is no outage before this.
const MISSED: SignedDuration = SignedDuration::from_secs(30);
/// How long a repeated request gets the answer that was lost.
const RETRY_WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// How long what only unexpired certificates need outlives them.
const KEPT: SignedDuration = SignedDuration::from_hours(48);
/// How long a denial does.
const DENIALS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

#[derive(Debug)]
pub(crate) struct ModelToken {
    pub id: CredentialId,
    pub agent: Option<AgentId>,
    pub expires_at: Timestamp,
    pub used: bool,
    pub voided: bool,
}

#[derive(Debug)]
pub(crate) struct ModelSecret {
    pub id: CredentialId,
    pub expires_at: Option<Timestamp>,
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub revoked: bool,
}

#[derive(Debug)]
pub(crate) struct ModelHost {
    pub agent: AgentId,
    pub decommissioned: bool,
    pub newest: Serial,
    pub not_after: Timestamp,
    pub flagged: bool,
    /// The newest SVID shown: as memory knows it, and as it was last saved.
    pub shown: Option<Serial>,
    pub shown_saved: Option<Serial>,
}

#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pub serial: Serial,
    pub host: HostId,
    /// Which of the test's keys.
    pub key: usize,
    pub via: Via,
    pub issued_at: Timestamp,
    pub not_after: Timestamp,
    pub revoked: Option<RevocationReason>,
    /// Gone with its host.
    pub deleted: bool,
}

impl Certificate {
    pub(crate) fn expired(&self, now: Timestamp) -> bool {
        now.as_second() > self.not_after.as_second()
    }

    fn live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && !self.deleted && !self.expired(now)
    }
}

/// A credential, by its place in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Token(usize),
    Secret(usize),
}

/// What a request must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExpectedOutcome {
    New,
    /// The certificate that was issued before.
    Again(Serial),
    Refused(AuditReason),
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    pub tokens: Vec<ModelToken>,
    pub secrets: Vec<ModelSecret>,
    pub hosts: BTreeMap<HostId, ModelHost>,
    /// In the order of their issue.
    pub certificates: Vec<Certificate>,
    /// Key to the certificate that last took it, until that is forgotten.
    holders: BTreeMap<usize, usize>,
    /// Serial to the end of its certificate.
    pub denied_serials: BTreeMap<Serial, Timestamp>,
    pub denied_agents: BTreeSet<AgentId>,
    /// Action and target of every audit record.
    pub trail: Vec<(AuditAction, String)>,
    pub enrollments: u64,
    /// What the clock showed when it was last noted.
    noted: Option<Timestamp>,
    alive: Option<Timestamp>,
    /// From a sign of life to the return.
    outages: Vec<(Timestamp, Timestamp)>,
}

impl Model {
    pub(crate) fn record(&mut self, action: AuditAction, target: &impl ToString) {
        self.trail.push((action, target.to_string()));
    }

    pub(crate) fn via(&self, with: With) -> Via {
        match with {
            With::Token(at) => Via::Token { id: self.tokens[at].id },
            With::Secret(at) => Via::Secret { id: self.secrets[at].id },
        }
    }

    fn holder(&self, key: usize) -> Option<&Certificate> {
        self.holders.get(&key).map(|at| &self.certificates[*at])
    }

    /// Whether nobody holds a key in an unexpired certificate.
    pub(crate) fn is_free(&self, key: usize, now: Timestamp) -> bool {
        self.holder(key).is_none_or(|holder| holder.expired(now))
    }

    pub(crate) fn host_of(&self, agent: &AgentId) -> Option<HostId> {
        self.hosts.iter().find(|(_, host)| host.agent == *agent).map(|(id, _)| *id)
    }

    fn withdrawn(&self, with: With) -> Option<AuditReason> {
        match with {
            With::Token(at) => self.tokens[at].voided.then_some(AuditReason::TokenVoided),
            With::Secret(at) => self.secrets[at].revoked.then_some(AuditReason::Revoked),
        }
    }

    fn used_up(&self, with: With, now: Timestamp) -> Option<AuditReason> {
        match with {
            With::Token(at) if self.tokens[at].used => Some(AuditReason::TokenUsed),
            With::Token(at) => (now >= self.tokens[at].expires_at).then_some(AuditReason::TokenExpired),
            With::Secret(at) if self.secrets[at].expires_at.is_some_and(|end| now >= end) => {
                Some(AuditReason::Expired)
            }
            With::Secret(_) => (self.admits(with) == 0).then_some(AuditReason::Exhausted),
        }
    }

    /// How many more a credential admits, as far as it is counted.
    pub(crate) fn admits(&self, with: With) -> usize {
        match with {
            With::Token(at) => usize::from(!self.tokens[at].used),
            With::Secret(at) => {
                let ModelSecret { max_uses, uses, .. } = self.secrets[at];
                max_uses.map_or(usize::MAX, |max| usize::try_from(max - uses).unwrap())
            }
        }
    }

    pub(crate) fn judge_enrollment(&self, with: With, key: usize, now: Timestamp) -> ExpectedOutcome {
        if let Some(refusal) = self.withdrawn(with) {
            return ExpectedOutcome::Refused(refusal);
        }
        let holder = self.holder(key);
        let retried = holder.filter(|holder| {
            holder.via == self.via(with)
                && holder.live(now)
                && now.duration_since(holder.issued_at) <= RETRY_WINDOW
        });
        if let Some(answered) = retried {
            return ExpectedOutcome::Again(answered.serial);
        }
        if let Some(refusal) = self.used_up(with, now) {
            return ExpectedOutcome::Refused(refusal);
        }
        let named = match with {
            With::Token(at) => self.tokens[at].agent.as_ref(),
            With::Secret(_) => None,
        };
        if named.is_some_and(|agent| self.denied_agents.contains(agent)) {
            return ExpectedOutcome::Refused(AuditReason::IdentityRevoked);
        }
        let own = named.and_then(|agent| self.host_of(agent));
        if holder.is_some_and(|holder| !holder.expired(now) && Some(holder.host) != own) {
            return ExpectedOutcome::Refused(AuditReason::KeyTaken);
        }
        ExpectedOutcome::New
    }

    /// What an accepted enrollment does.
    pub(crate) fn enrolled(&mut self, with: With, agent: AgentId, certificate: Certificate, now: Timestamp) {
        let host = certificate.host;
        let own_name: AgentId = host.to_string().parse().unwrap();
        match with {
            With::Token(at) => {
                let token = &mut self.tokens[at];
                assert!(!token.used, "a token admits one host");
                token.used = true;
                assert_eq!(agent, token.agent.clone().unwrap_or(own_name));
            }
            With::Secret(at) => {
                let secret = &mut self.secrets[at];
                secret.uses += 1;
                assert!(secret.max_uses.is_none_or(|max| secret.uses <= max), "a cap is kept");
                assert_eq!(agent, own_name, "a secret makes a new host");
            }
        }
        let known = self.host_of(&agent);
        assert_eq!(known.is_some(), self.hosts.contains_key(&host));
        assert!(known.is_none_or(|known| known == host), "an agent id has one host");
        let shown = known.map_or((None, None), |id| (self.hosts[&id].shown, self.hosts[&id].shown_saved));
        if known.is_some() {
            self.revoke_all(host, RevocationReason::Superseded, now);
        }
        let row = ModelHost {
            agent,
            decommissioned: false,
            newest: certificate.serial,
            not_after: certificate.not_after,
            flagged: false,
            shown: shown.0,
            shown_saved: shown.1,
        };
        self.hosts.insert(host, row);
        self.enrollments += 1;
        self.issue(certificate);
        self.record(AuditAction::AgentEnroll, &host);
    }

    fn issue(&mut self, certificate: Certificate) {
        self.holders.insert(certificate.key, self.certificates.len());
        self.certificates.push(certificate);
    }

    /// What a rotation must come to, and whether it counts as a sight of the presented certificate.
    pub(crate) fn judge_rotation(&self, from: usize, key: usize, now: Timestamp) -> (ExpectedOutcome, bool) {
        let refused = |reason| (ExpectedOutcome::Refused(reason), false);
        let current = &self.certificates[from];
        let Some(host) = self.hosts.get(&current.host).filter(|_| !current.deleted) else {
            return refused(AuditReason::UnknownSerial);
        };
        if current.revoked.is_some() || self.denied_agents.contains(&host.agent) {
            return refused(AuditReason::IdentityRevoked);
        }
        let holder = self.holder(key);
        let successor = holder.filter(|holder| holder.via == Via::Rotation { from: current.serial });
        if let Some(answered) = successor.filter(|successor| successor.live(now)) {
            return (ExpectedOutcome::Again(answered.serial), false);
        }
        let mut lost = false;
        if current.expired(now) {
            let newest = self.certificates.iter().find(|other| other.serial == host.newest).unwrap();
            lost = newest.via == Via::Rotation { from: current.serial } && newest.key == key;
            let is_newest = newest.serial == current.serial || lost;
            let in_time = now <= newest.not_after + GRACE || self.excused(newest.not_after, now);
            if !is_newest || newest.revoked.is_some() || !in_time {
                return refused(AuditReason::SvidExpired);
            }
        }
        if !self.is_free(key, now) {
            return refused(AuditReason::KeyReused);
        }
        let used = |other: &Certificate| !other.deleted && other.host == current.host && other.key == key;
        if !lost && self.certificates.iter().any(used) {
            return (ExpectedOutcome::Refused(AuditReason::KeyReused), true);
        }
        (ExpectedOutcome::New, true)
    }

    /// A host has shown a certificate and proved to hold its key.
    pub(crate) fn shown(&mut self, from: usize) {
        let Certificate { serial, host, .. } = self.certificates[from];
        let host = self.hosts.get_mut(&host).unwrap();
        host.shown = host.shown.max(Some(serial));
    }

    /// What an accepted rotation does.
    pub(crate) fn rotated(&mut self, from: usize, certificate: Certificate, now: Timestamp) {
        let presented = self.certificates[from].serial;
        let id = certificate.host;
        assert_eq!(id, self.certificates[from].host);
        // Another live one has been rotated from it already.
        let forked = self.certificates.iter().any(|other| {
            other.via == Via::Rotation { from: presented }
                && other.serial > presented
                && other.key != certificate.key
                && other.live(now)
        });
        let host = self.hosts.get_mut(&id).unwrap();
        let shown = host.shown_saved.is_some_and(|newest| newest > presented);
        let first_suspicion = (shown || forked) && !host.flagged;
        host.flagged |= first_suspicion;
        host.newest = host.newest.max(certificate.serial);
        host.not_after = host.not_after.max(certificate.not_after);
        if first_suspicion {
            self.record(AuditAction::HostPossibleClone, &id);
        }
        self.issue(certificate);
        self.record(AuditAction::AgentRotate, &id);
    }

    fn revoke_all(&mut self, host: HostId, reason: RevocationReason, now: Timestamp) {
        for certificate in &mut self.certificates {
            if certificate.host == host && certificate.revoked.is_none() && !certificate.deleted {
                certificate.revoked = Some(reason);
                // What was noted to have expired long ago needs no denial.
                let seen = self.noted.is_some_and(|noted| certificate.expired(noted));
                if !seen || certificate.not_after >= now - DENIALS_KEPT {
                    self.denied_serials.insert(certificate.serial, certificate.not_after);
                }
            }
        }
    }

    /// Returns whether there is such a host.
    pub(crate) fn revoked(&mut self, agent: &AgentId, now: Timestamp) -> bool {
        let Some(host) = self.host_of(agent) else { return false };
        if self.denied_agents.insert(agent.clone()) {
            self.revoke_all(host, RevocationReason::Revoked, now);
            self.record(AuditAction::AgentRevoke, &host);
        }
        true
    }

    pub(crate) fn decommissioned(&mut self, id: HostId, now: Timestamp) {
        let host = self.hosts.get_mut(&id).unwrap();
        if std::mem::replace(&mut host.decommissioned, true) {
            return;
        }
        self.denied_agents.insert(host.agent.clone());
        self.revoke_all(id, RevocationReason::Decommissioned, now);
        self.record(AuditAction::HostDecommission, &id);
    }

    pub(crate) fn re_enabled(&mut self, id: HostId) {
        let host = self.hosts.get_mut(&id).unwrap();
        let was_denied = self.denied_agents.remove(&host.agent);
        if !std::mem::take(&mut host.decommissioned) && !was_denied {
            return;
        }
        host.flagged = false;
        self.record(AuditAction::HostReEnable, &id);
    }

    pub(crate) fn deleted(&mut self, id: HostId, now: Timestamp) {
        self.revoke_all(id, RevocationReason::Deleted, now);
        let host = self.hosts.remove(&id).unwrap();
        self.denied_agents.remove(&host.agent);
        for certificate in self.certificates.iter_mut().filter(|certificate| certificate.host == id) {
            certificate.deleted = true;
        }
        let certificates = &self.certificates;
        self.holders.retain(|_, holder| !certificates[*holder].deleted);
        self.record(AuditAction::HostDelete, &id);
    }

    /// What housekeeping does.
    pub(crate) fn tidied(&mut self, now: Timestamp) {
        self.saved();
        self.noted = Some(now);
        let limit = now - KEPT - GRACE;
        let certificates = &self.certificates;
        self.holders.retain(|_, holder| certificates[*holder].not_after >= limit);
        self.denied_serials.retain(|_, not_after| *not_after >= now - DENIALS_KEPT);
    }

    pub(crate) fn saved(&mut self) {
        self.hosts.values_mut().for_each(|host| host.shown_saved = host.shown);
    }

    /// The server gives a sign of life, and notes the outage that it ends.
    pub(crate) fn alive(&mut self, now: Timestamp) {
        match self.alive {
            Some(ahead) if ahead > now => {
                self.outages.retain(|(from, _)| *from < now);
                self.outages.iter_mut().for_each(|(_, until)| *until = now.min(*until));
            }
            Some(last) if now.duration_since(last) > MISSED => self.outages.push((last, now)),
            _ => {}
        }
        self.alive = Some(now);
    }

    /// Whether a certificate ran out while nobody was there to rotate it, less than a day after the return. An outage
    /// that is still going on ends with whoever asks.
    fn excused(&self, not_after: Timestamp, now: Timestamp) -> bool {
        let day = SignedDuration::from_hours(24);
        let ending = self.alive.map(|last| (last, now));
        let ending = ending.filter(|(last, now)| now.duration_since(*last) > MISSED);
        let excuses = |(from, until): (Timestamp, Timestamp)| {
            from.as_second() <= not_after.as_second()
                && not_after <= until
                && (until..=until + day).contains(&now)
        };
        self.outages.iter().copied().chain(ending).any(excuses)
    }

    /// Memory is gone.
    pub(crate) fn crashed(&mut self) {
        self.hosts.values_mut().for_each(|host| host.shown = host.shown_saved);
    }
}
