//! The system held against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::model::{Certificate, ModelHost};
use super::world::World;
use crate::app::insight::fleet::HostQuery;
use crate::app::issue::hosts::HostError;
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::host::{Host, HostFlag};
use crate::domain::identity::admission::Admission;
use crate::domain::identity::deny::{AgentRef, DenyChange};
use crate::domain::identity::serial::Serial;
use crate::store::{ReadError, View, day_of};

const MANY: usize = 1_000;

/// What the model knows of a row, and the newest SVID shown.
fn essence(host: &Host) -> (String, bool, Serial, jiff::Timestamp, bool, Option<Serial>) {
    let flagged = host.flags.contains(&HostFlag::PossibleClone);
    let decommissioned = host.decommissioned_at.is_some();
    let agent = host.agent.to_string();
    (agent, decommissioned, host.newest_serial, host.svid_not_after, flagged, host.newest_shown)
}

fn expected(
    host: &ModelHost,
    shown: Option<Serial>,
) -> (String, bool, Serial, jiff::Timestamp, bool, Option<Serial>) {
    (host.agent.to_string(), host.decommissioned, host.newest, host.not_after, host.flagged, shown)
}

impl World<'_> {
    fn read<T>(&self, read: impl FnOnce(&View<'_>) -> Result<T, ReadError>) -> T {
        self.app().store.read::<T, ReadError>(read).unwrap()
    }

    /// Action and target of every audit record.
    pub(crate) fn trail(&self) -> Vec<(String, String)> {
        let mut trail = Vec::new();
        self.read(|view| {
            view.audit(None, false, |record| {
                trail.push((record.action, record.target));
                ControlFlow::Continue(())
            })
        });
        trail
    }

    /// What can be said after every step.
    pub(crate) fn compare(&self) {
        self.compare_credentials();
        self.compare_hosts();
        self.compare_denials();
        self.compare_admission();
        let expected = self.model.trail.iter().map(|(action, target)| (action.to_string(), target.clone()));
        assert_eq!(self.trail(), expected.collect::<Vec<_>>(), "one record for each change");
    }

    /// What takes a walk over everything besides.
    pub(crate) async fn compare_all(&self) {
        self.compare();
        self.app().check(|_| {}).await.unwrap().unwrap();
        let chain = self.app().verify_audit(None).await.unwrap();
        assert_eq!((chain.records, chain.broken), (self.model.trail.len() as u64, None));
        let first = day_of(self.latest) - 400;
        let days = self.read(|view| view.enrollments_per_day(self.tenant, first, day_of(self.latest)));
        assert_eq!(days.iter().sum::<u64>(), self.model.enrollments);
    }

    fn compare_credentials(&self) {
        for expected in &self.model.tokens {
            let token = self.read(|view| view.any_tenant().join_token(expected.id)).unwrap();
            let found = (token.used_at.is_some(), token.voided_at.is_some());
            assert_eq!(found, (expected.used, expected.voided), "{expected:?}");
        }
        for expected in &self.model.secrets {
            let secret = self.read(|view| view.any_tenant().enrollment_secret(expected.id)).unwrap();
            let found = (secret.uses, secret.max_uses, secret.revoked_at.is_some());
            assert_eq!(found, (expected.uses, expected.max_uses, expected.revoked), "{expected:?}");
            assert!(secret.max_uses.is_none_or(|max| secret.uses <= max), "{secret:?}");
        }
    }

    fn compare_hosts(&self) {
        let mut stored = BTreeMap::new();
        self.read(|view| {
            view.all_hosts(None, |host| {
                stored.insert(host.id, essence(&host));
                ControlFlow::Continue(())
            })
        });
        let hosts = &self.model.hosts;
        let rows: BTreeMap<_, _> =
            hosts.iter().map(|(id, host)| (*id, expected(host, host.shown_saved))).collect();
        assert_eq!(stored, rows);
        for (id, host) in hosts {
            let now = self.app().host(self.tenant, *id).unwrap();
            assert_eq!((essence(&now.host), now.online), (expected(host, host.shown), false), "in memory");
            let found = self.app().enrollments(self.tenant, *id, None, MANY).unwrap();
            let found: BTreeMap<_, _> =
                found.iter().map(|e| (e.serial, (e.via.as_str(), e.revocation.map(|r| r.reason)))).collect();
            let issued = self.model.certificates.iter().filter(|issued| issued.host == *id);
            let issued: BTreeMap<_, _> =
                issued.map(|issued| (issued.serial, (issued.via.as_str(), issued.revoked))).collect();
            assert_eq!(found, issued, "every certificate of {id}");
        }
        for gone in self.model.certificates.iter().filter(|certificate| certificate.deleted) {
            let found = self.app().enrollments(self.tenant, gone.host, None, MANY);
            assert!(matches!(found, Err(HostError::NotFound)));
            assert!(self.read(|view| view.any_tenant().enrollment(gone.serial)).is_none());
        }
        for decommissioned in [false, true] {
            let query = HostQuery { decommissioned, ..HostQuery::default() };
            self.app().fleet.wait_until_whole().unwrap();
            let listed = self.app().fleet.page(self.tenant, &query, MANY).total;
            let expected = hosts.values().filter(|host| host.decommissioned == decommissioned).count();
            assert_eq!(listed, expected, "listed");
        }
    }

    fn compare_denials(&self) {
        let (mut serials, mut identities) = (BTreeSet::new(), BTreeSet::new());
        for denied in self.read(|view| view.denied()) {
            match denied {
                DenyChange::Serial { serial, .. } => drop(serials.insert(serial)),
                DenyChange::Identity(identity) => drop(identities.insert(identity.agent)),
                DenyChange::LiftIdentity(_) | DenyChange::Forget(_) => {}
            }
        }
        assert_eq!(serials, self.model.denied_serials.keys().copied().collect(), "denied serials");
        assert_eq!(identities, self.model.denied_agents, "denied identities");
        let live = self.app().store.deny_list();
        let nobody = AgentRef { tenant: self.tenant, agent: "nobody".parse().unwrap() };
        assert!(serials.iter().all(|serial| live.denies(*serial, &nobody)));
        let nothing = Serial::from_bytes([0; 16]);
        let denied = |agent| live.denies(nothing, &AgentRef { tenant: self.tenant, agent });
        assert!(identities.iter().cloned().all(denied));
        assert_eq!(live.size(), (serials.len(), identities.len()), "denied in memory");
    }

    /// Who may come in over mutual TLS. Whether a certificate has expired is not asked there.
    fn compare_admission(&self) {
        let now = crate::clock::Clock::now(&*self.clock);
        for (certificate, held) in self.model.certificates.iter().zip(&self.held) {
            let Certificate { serial, host, .. } = certificate;
            let (_, leaf) = x509_parser::parse_x509_certificate(&held.leaf).unwrap();
            let key = SpkiHash::of(leaf.public_key().raw);
            let admitted = self.app().admit(&held.leaf, key, *serial, &held.id);
            let barred = certificate.deleted
                || certificate.revoked.is_some()
                || self.model.denied_agents.contains(&held.id.agent);
            if barred {
                assert!(admitted.is_err(), "{certificate:?}");
            } else if !certificate.expired(now) {
                assert_eq!(admitted.unwrap(), *host, "{certificate:?}");
            }
        }
    }
}
