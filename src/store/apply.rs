//! Writing: every change, with the indexes that follow from it.

mod audit;
mod migrated;
mod online;
mod restored;
mod retained;
mod webhooks;

use std::ops::ControlFlow;

use super::by_tenant::Kind;
use super::change::Change;
use super::layers::delta::Delta;
use super::layers::snapshot::Snapshot;
use super::record::{
    ClockMarksRecord, DeniedSerialRecord, ReportRecord, SessionRecord, ToDisk, decode, encode, suspended_key,
};
use super::rows::{Rows, Span, Table, Visit, protect};
use super::view::{View, day_of, host_serial_key, identity_key, meta};
use super::{HostChange, Published, ReadError};
use crate::domain::enroll::enrollment::{Enrollment, Revocation, RevocationReason, Via};
use crate::domain::host::{Host, HostTrust};
use crate::domain::identity::deny::{AgentRef, Denial, DenyChange};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::trust_version::{TrustEpoch, TrustVersion};
use crate::domain::ids::HostId;
use crate::domain::insight::audit::{ChainHead, KnownLoss};
use crate::domain::insight::timeline::{EventKey, HostEvent, REPORTED_KEPT, Reported, Source};
use crate::domain::people::access::AccessChange;
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;
use crate::domain::webhook::row::Webhook;
use crate::domain::withdrawal::{Suspended, Withdrawal};
use crate::request_id::RequestId;

/// Decisions that become one frame of the change log: each sees what those before it have changed.
pub(crate) struct Batch {
    base: Snapshot,
    delta: Delta,
    chain: ChainHead,
    published: Published,
    denials: Vec<Denial>,
    /// What else the revocation journal keeps.
    withdrawals: Vec<Withdrawal>,
    alive: Option<jiff::Timestamp>,
    loss_accepted: bool,
    /// Whether there is something to tell to watchers of trust.
    trust_changed: bool,
    /// Who is told of events, once that was asked for.
    webhooks: Option<Vec<Webhook>>,
    /// Whose decision is being applied.
    pub(crate) request: Option<RequestId>,
}

/// What a batch has come to: for the change log, the rest of the process, and the revocation journal.
pub(crate) struct Finished {
    pub(crate) delta: Delta,
    pub(crate) published: Published,
    pub(crate) denials: Vec<Denial>,
    pub(crate) withdrawals: Vec<Withdrawal>,
    /// The last sign of life among the changes.
    pub(crate) alive: Option<jiff::Timestamp>,
    /// How far the audit trail comes with it.
    pub(crate) head: ChainHead,
    pub(crate) loss_accepted: bool,
}

impl Rows for Batch {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.base.below(&self.delta).get(table, key)
    }

    fn scan(&self, table: Table, span: &Span, visit: Visit<'_>) -> Result<(), ReadError> {
        self.base.below(&self.delta).scan(table, span, visit)
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, ReadError> {
        self.base.below(&self.delta).last_key(table)
    }

    fn count(&self, table: Table, span: &Span, enough: usize) -> Result<usize, ReadError> {
        self.base.below(&self.delta).count(table, span, enough)
    }
}

impl Batch {
    /// `base`: everything that was decided before.
    pub(crate) fn begin(base: Snapshot) -> Result<Self, ReadError> {
        let chain = View::new(&base).audit_head()?;
        Ok(Self::after(chain, base))
    }

    /// The same for who knows already how far the audit trail has come in it.
    pub(crate) fn after(chain: ChainHead, base: Snapshot) -> Self {
        Self {
            base,
            delta: Delta::default(),
            chain,
            published: Published::default(),
            denials: Vec::new(),
            withdrawals: Vec::new(),
            alive: None,
            loss_accepted: false,
            trust_changed: false,
            webhooks: None,
            request: None,
        }
    }

    /// Counts the version on where trust has changed, so that it is told with the change or not at all.
    pub(crate) fn finish(mut self) -> Result<Finished, ReadError> {
        if self.trust_changed
            && let Some(version) = View::new(&self).trust_version()?
        {
            self.put(Table::Meta, meta::TRUST_VERSION, &version.next())?;
            self.published.trust = Some(version.next());
        }
        let Self { delta, published, denials, withdrawals, alive, chain: head, loss_accepted, .. } = self;
        Ok(Finished { delta, published, denials, withdrawals, alive, head, loss_accepted })
    }

    /// Begins another epoch: what watchers know of this store may be of a history that it has lost.
    pub(crate) fn begin_trust_epoch(&mut self, epoch: TrustEpoch) -> Result<(), ReadError> {
        self.put(Table::Meta, meta::TRUST_VERSION, &TrustVersion::first(epoch))
    }

    pub(crate) fn apply(&mut self, change: Change, now: jiff::Timestamp) -> Result<(), ReadError> {
        match change {
            Change::PutTenant(tenant) => self.put(Table::Tenants, tenant.id.as_bytes(), &tenant),
            Change::PutHierarchy(hierarchy) => {
                let before = View::new(self).hierarchy()?;
                if before.is_none_or(|before| before.roots != hierarchy.roots) {
                    self.bundle_changed(now)?;
                }
                self.put(Table::Meta, meta::HIERARCHY, &hierarchy)?;
                self.trust_changed = true;
                self.published.hierarchy = Some(Box::new(hierarchy));
                Ok(())
            }
            Change::PutJwtKeys(keys) => {
                if !View::new(self).jwt_keys()?.public().eq(keys.public()) {
                    self.bundle_changed(now)?;
                }
                self.put(Table::Meta, meta::JWT_KEYS, &keys)
            }
            Change::PutHost(mut host) => {
                let identity = host.identity();
                let key = identity_key(&identity);
                // It is so at every rotation, and its place among the others is a random one.
                if self.get(Table::HostsByAgent, &key)?.as_deref() != Some(&encode(&host.id)[..]) {
                    self.put(Table::HostsByAgent, &key, &host.id)?;
                }
                self.put(Table::Hosts, host.id.as_bytes(), &host)?;
                host.revoked_at = View::new(self).identity_denied(&identity)?;
                self.published.hosts.push(HostChange::Put(Box::new(host)));
                Ok(())
            }
            Change::RecordEnrollment { enrollment, certificate } => self.record(&enrollment, &certificate),
            Change::RevokeEnrollment { enrollment, revocation } => self.revoke(enrollment, revocation),
            Change::MarkRevoked { enrollment, revocation } => self.mark_revoked(enrollment, revocation),
            Change::DenyIdentity { identity, since } => self.deny(Denial::Identity { identity, since }),
            Change::LiftIdentity(identity) => self.deny(Denial::Lifted { identity, at: now }),
            Change::Deny(denial) => {
                if let Denial::Serial { serial, since: at, reason, .. } = denial
                    && let Some(enrollment) = View::new(self).any_tenant().enrollment(serial)?
                    && enrollment.revocation.is_none()
                {
                    self.mark_revoked(enrollment, Revocation { at, reason })?;
                }
                if let Denial::Identity { identity, since } = &denial {
                    self.revoke_all_of(identity, *since)?;
                }
                self.deny(denial)
            }
            Change::DeleteHost(host) => self.delete_host(&host, now),
            Change::HostEvent { host, event } => self.host_event(host, &event, Source::Server),
            Change::ReportedEvents { host, tenant, events } => {
                self.published.reports.push((tenant, host));
                self.reported(host, events)
            }
            Change::PutJoinToken(token) => {
                self.index_join_token(&token, now)?;
                self.put(Table::JoinTokens, token.id.as_bytes(), &token)
            }
            Change::PutEnrollmentSecret(secret) => {
                self.note_secret(&secret)?;
                self.index(Kind::EnrollmentSecret, Some(secret.tenant), secret.id.as_bytes())?;
                self.put(Table::EnrollmentSecrets, secret.id.as_bytes(), &secret)?;
                self.published.secrets.push((secret.tenant, secret.id));
                Ok(())
            }
            Change::PutUser(user) => {
                self.index_user(&user)?;
                self.put(Table::UsersByName, user.username.key().as_bytes(), &user.id)?;
                let before = View::new(self).any_tenant().user(user.id)?;
                self.note_person(before.as_ref(), &user)?;
                self.put(Table::Users, user.id.as_bytes(), &user)?;
                // How somebody wants to see things is no right.
                let preferences = user.preferences;
                let before = before.map(|before| encode(&User { preferences, ..before }));
                if before != Some(encode(&user)) {
                    self.published.access.push(AccessChange::User(user.id));
                }
                Ok(())
            }
            Change::PutSession(session) => {
                self.put(Table::Sessions, session.key.as_bytes(), &SessionRecord::from(&session))
            }
            Change::EndSession(key) => {
                self.published.access.push(AccessChange::Session(key));
                self.remove(Table::Sessions, key.as_bytes())
            }
            Change::PutApiToken(token) => {
                self.index(Kind::ApiToken, token.tenant, token.id.as_bytes())?;
                self.published.access.push(AccessChange::ApiToken(token.id));
                self.put(Table::ApiTokens, token.id.as_bytes(), &token)
            }
            Change::DeleteApiToken(id) => {
                self.withdrawals.push(Withdrawal::ApiToken(id));
                self.remove(Table::Suspended, &suspended_key(Suspended::ApiToken(id)))?;
                self.forget_api_token(id)?;
                self.published.access.push(AccessChange::ApiToken(id));
                self.remove(Table::ApiTokens, id.as_bytes())
            }
            Change::Webhook(change) => self.apply_webhook(change),
            Change::SaveReport { host, at, facts, newest_shown, trust } => {
                let HostTrust { bundle, leaf_alone } = trust;
                let bundle = bundle.map(|digest| digest.as_octets().to_vec());
                let report = ReportRecord { at, facts, newest_shown, bundle, leaf_alone };
                self.put(Table::Reports, host.as_bytes(), &report)
            }
            Change::ForgetExpired { keys, certificates, denied } => {
                for key in keys {
                    self.remove(Table::LiveKeys, key.as_bytes())?;
                }
                for serial in certificates {
                    self.remove(Table::Certificates, serial.as_bytes())?;
                }
                for serial in denied {
                    self.remove(Table::DeniedSerials, serial.as_bytes())?;
                    self.published.deny.push(DenyChange::Forget(serial));
                }
                Ok(())
            }
            Change::TakeEnrollments(serials) => self.take_enrollments(&serials),
            Change::TakeReported(events) => self.take_reported(&events),
            Change::BeginTrustEpoch(epoch) => {
                self.trust_changed = true;
                self.begin_trust_epoch(epoch)
            }
            Change::JudgeTrust(at) => self.put(Table::Meta, meta::TRUST_JUDGED_AT, &at),
            Change::NoteClock(marks) => {
                self.put(Table::Meta, meta::CLOCK_MARKS, &ClockMarksRecord::from(&marks))
            }
            Change::BackedUp { at, asked_for } => {
                let key = if asked_for { meta::BACKED_UP } else { meta::BACKED_UP_BY_ITSELF };
                self.put(Table::Meta, key, &at)
            }
            Change::Restored(change) => self.apply_restored(change, now),
            Change::Alive => {
                self.alive = Some(now);
                self.put(Table::Meta, meta::ALIVE, &now)
            }
            Change::RecordOutage(outage) => {
                let key = outage.from.as_millisecond().to_be_bytes();
                self.put(Table::Outages, &key, &(outage.from, outage.until))
            }
            Change::ForgetOutage(from) => self.remove(Table::Outages, &from.as_millisecond().to_be_bytes()),
            Change::Audit(event) => {
                self.published.audited.push(event.kind());
                self.audit(event, now)
            }
            Change::SampleOnline { place, samples } => self.online(place, &samples),
            Change::FindLoss(missing) => self.loss(&KnownLoss { missing, stated: None }),
            Change::AcceptLoss(missing) => {
                self.loss_accepted = true;
                // The record that states it is the change before this one.
                self.loss(&KnownLoss { missing, stated: Some(self.chain.clone()) })
            }
        }
    }

    /// Writes what a store has from its first moment.
    pub(crate) fn first_rows(&mut self, default_tenant: &Tenant, layout: u32) -> Result<(), ReadError> {
        self.put(Table::Tenants, default_tenant.id.as_bytes(), default_tenant)?;
        self.put(Table::Meta, meta::DEFAULT_TENANT, &default_tenant.id)?;
        self.set_layout(layout)
    }

    pub(crate) fn set_layout(&mut self, layout: u32) -> Result<(), ReadError> {
        self.put(Table::Meta, meta::SCHEMA, &layout)
    }

    /// The trust bundle gets a higher number, be it that an older copy of the store had come further.
    fn bundle_changed(&mut self, now: jiff::Timestamp) -> Result<(), ReadError> {
        let next = View::new(self).bundle_sequence()?.saturating_add(1);
        let sequence = next.max(u64::try_from(now.as_second()).unwrap_or(0));
        self.put(Table::Meta, meta::BUNDLE_SEQUENCE, &sequence)
    }

    fn deny(&mut self, denial: Denial) -> Result<(), ReadError> {
        match &denial {
            &Denial::Serial { serial, not_after, since, reason } => {
                let holder = View::new(self).holder_of(serial)?;
                let record = DeniedSerialRecord { not_after, since, reason, holder: holder.clone() };
                self.put(Table::DeniedSerials, serial.as_bytes(), &record)?;
                self.published.holders.extend(holder.map(|holder| (serial, holder)));
                self.trust_changed = true;
            }
            Denial::Identity { identity, since } => {
                self.put(Table::DeniedIdentities, &identity_key(identity), since)?;
                self.tell_of_identity()?;
                self.publish_host_of(identity)?;
            }
            Denial::Lifted { identity, at } => {
                self.remove(Table::DeniedIdentities, &identity_key(identity))?;
                self.bar_recovery(identity, RevocationReason::Decommissioned, *at)?;
                self.tell_of_identity()?;
                self.publish_host_of(identity)?;
            }
        }
        self.published.deny.push(denial.clone().into());
        self.denials.push(denial);
        Ok(())
    }

    /// Whether an identity is denied is part of what its host says.
    fn publish_host_of(&mut self, identity: &AgentRef) -> Result<(), ReadError> {
        if let Some(host) = View::new(self).host_of(identity)? {
            self.published.hosts.push(HostChange::Put(Box::new(host)));
        }
        Ok(())
    }

    fn revoke(&mut self, enrollment: Enrollment, revocation: Revocation) -> Result<(), ReadError> {
        let (serial, not_after) = (enrollment.serial, enrollment.not_after);
        self.mark_revoked(enrollment, revocation)?;
        let Revocation { at: since, reason } = revocation;
        self.deny(Denial::Serial { serial, not_after, since, reason })
    }

    /// Revokes what an identity holds that was denied in a history which the store has lost: relying parties are told
    /// serials.
    fn revoke_all_of(&mut self, identity: &AgentRef, since: jiff::Timestamp) -> Result<(), ReadError> {
        let Some(host) = View::new(self).host_of(identity)? else { return Ok(()) };
        let mut held = Vec::new();
        View::new(self).any_tenant().enrollments_of(host.id, None, |enrollment| {
            held.extend(Some(enrollment).filter(|enrollment| enrollment.revocation.is_none()));
            ControlFlow::Continue(())
        })?;
        let revocation = Revocation { at: since, reason: RevocationReason::Revoked };
        held.into_iter().try_for_each(|enrollment| self.revoke(enrollment, revocation))
    }

    fn mark_revoked(&mut self, mut enrollment: Enrollment, revocation: Revocation) -> Result<(), ReadError> {
        enrollment.revocation = Some(revocation);
        self.put(Table::Enrollments, enrollment.serial.as_bytes(), &enrollment)
    }

    fn record(&mut self, enrollment: &Enrollment, certificate: &[u8]) -> Result<(), ReadError> {
        let serial = enrollment.serial.as_bytes();
        self.put(Table::Enrollments, serial, enrollment)?;
        self.put(Table::LiveKeys, enrollment.spki.as_bytes(), &enrollment.serial)?;
        let by_host = host_serial_key(enrollment.host, enrollment.serial);
        self.insert(Table::EnrollmentsByHost, &by_host, enrollment.spki.as_bytes())?;
        self.insert(Table::Certificates, serial, certificate)?;
        if !matches!(enrollment.via, Via::Rotation { .. }) {
            self.count_enrollment(enrollment)?;
        }
        self.published.enrollments.push((enrollment.tenant, enrollment.host));
        Ok(())
    }

    fn count_enrollment(&mut self, enrollment: &Enrollment) -> Result<(), ReadError> {
        let table = Table::EnrollmentsPerDay;
        let key =
            [enrollment.tenant.as_bytes().as_slice(), &day_of(enrollment.issued_at).to_be_bytes()].concat();
        let before = self.get(table, &key)?.map_or(Ok(0), |content| decode::<u64>(table, &content))?;
        self.put(table, &key, &(before + 1))
    }

    fn host_event(&mut self, host: HostId, event: &HostEvent, source: Source) -> Result<(), ReadError> {
        let table = match source {
            Source::Server => Table::HostEvents,
            Source::Agent => Table::ReportedEvents,
        };
        // Entries of one millisecond get the next free number.
        for EventKey(place) in EventKey::places(event.at, source) {
            let key = [host.as_bytes().as_slice(), &place].concat();
            if self.get(table, &key)?.is_none() {
                return self.put(table, &key, event);
            }
        }
        Ok(())
    }

    fn reported(&mut self, host: HostId, events: Vec<Reported>) -> Result<(), ReadError> {
        for event in events {
            self.host_event(host, &event.into_event(), Source::Agent)?;
        }
        let table = Table::ReportedEvents;
        let keys = self.keys(table, &Span::prefix(host.as_bytes()))?;
        let beyond = keys.len().saturating_sub(REPORTED_KEPT);
        keys.iter().take(beyond).try_for_each(|key| self.remove(table, key))
    }

    fn delete_host(&mut self, host: &Host, now: jiff::Timestamp) -> Result<(), ReadError> {
        let identity = host.identity();
        self.bar_recovery(&identity, RevocationReason::Deleted, now)?;
        self.withdrawals.push(Withdrawal::Host { id: host.id, identity });
        let prefix = Span::prefix(host.id.as_bytes());
        for key in self.keys(Table::EnrollmentsByHost, &prefix)? {
            let serial = key.get(16..).unwrap_or_default().to_vec();
            if let Some(content) = self.get(Table::Enrollments, &serial)? {
                self.forget_key(&decode(Table::Enrollments, &content)?)?;
            }
            self.remove(Table::Enrollments, &serial)?;
            self.remove(Table::Certificates, &serial)?;
            self.remove(Table::EnrollmentsByHost, &key)?;
        }
        for table in [Table::HostEvents, Table::ReportedEvents, Table::UsedKeys, Table::Returned] {
            for key in self.keys(table, &prefix)? {
                self.remove(table, &key)?;
            }
        }
        self.destroy_names(host.id)?;
        self.remove(Table::HostsByAgent, &identity_key(&host.identity()))?;
        self.remove(Table::Reports, host.id.as_bytes())?;
        self.remove(Table::Hosts, host.id.as_bytes())?;
        self.published.hosts.push(HostChange::Removed { tenant: host.tenant, id: host.id });
        Ok(())
    }

    /// Drops the index entry of a key, unless another enrollment has taken the key over.
    fn forget_key(&mut self, enrollment: &Enrollment) -> Result<(), ReadError> {
        let table = Table::LiveKeys;
        match self.get(table, enrollment.spki.as_bytes())? {
            Some(content) if decode::<Serial>(table, &content)? == enrollment.serial => {
                self.remove(table, enrollment.spki.as_bytes())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn keys(&self, table: Table, span: &Span) -> Result<Vec<Vec<u8>>, ReadError> {
        let mut keys = Vec::new();
        self.each(table, span, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        Ok(keys)
    }

    pub(in crate::store) fn put(
        &mut self,
        table: Table,
        key: &[u8],
        record: &impl ToDisk,
    ) -> Result<(), ReadError> {
        self.insert(table, key, &encode(record))
    }

    pub(crate) fn insert(&mut self, table: Table, key: &[u8], content: &[u8]) -> Result<(), ReadError> {
        self.delta.put(table, key, protect(table, key, content));
        Ok(())
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), ReadError> {
        self.delta.remove(table, key);
        Ok(())
    }
}
