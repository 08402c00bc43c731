//! Typed reading: what a decision or a query sees.

mod history;
mod restored;
pub(super) mod retained;
mod sessions;
pub(super) mod tenant;
mod webhooks;

use std::collections::HashMap;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

pub(in crate::store) use self::webhooks::webhook_event_key;
use super::ReadError;
use super::record::{ClockMarksRecord, DeniedSerialRecord, FromDisk, ReportRecord, StoredHost, decode};
use super::rows::{Rows, Span, Table};
use crate::domain::enroll::enrollment::{Enrollment, RevocationReason, SpkiHash, past_not_after};
use crate::domain::host::Host;
use crate::domain::identity::clock_marks::{ClockMarks, DENIALS_KEPT};
use crate::domain::identity::deny::{AgentRef, Denial, DenyChange};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::outage::Outage;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::trust_version::TrustVersion;
use crate::domain::ids::{HostId, TenantId};
use crate::domain::people::tenant::Tenant;

/// Keys of single facts in the meta table.
pub(crate) mod meta {
    pub(crate) const SCHEMA: &[u8] = b"schema";
    pub(crate) const HIERARCHY: &[u8] = b"agent_ca";
    pub(crate) const ALIVE: &[u8] = b"alive";
    pub(crate) const BACKED_UP: &[u8] = b"backed_up";
    pub(crate) const BACKED_UP_BY_ITSELF: &[u8] = b"backed_up_by_itself";
    pub(crate) const CLOCK_MARKS: &[u8] = b"clock_marks";
    pub(crate) const DEFAULT_TENANT: &[u8] = b"default_tenant";
    pub(crate) const AUDIT_LOSS: &[u8] = b"audit_loss";
    pub(crate) const JWT_KEYS: &[u8] = b"jwt_keys";
    pub(crate) const BUNDLE_SEQUENCE: &[u8] = b"bundle_sequence";
    pub(crate) const TRUST_VERSION: &[u8] = b"trust_version";
    pub(crate) const TRUST_JUDGED_AT: &[u8] = b"trust_judged_at";
    pub(crate) const STORE_ID: &[u8] = b"store_id";
    pub(crate) const RESTORE_EPOCHS: &[u8] = b"restore_epochs";
    pub(crate) const ROLLED_BACK: &[u8] = b"rolled_back";
    pub(crate) const WEBHOOKS_LOOKED_AT: &[u8] = b"webhooks_looked_at";
    pub(crate) const RESTORE_NOTICE: &[u8] = b"restore_notice";
}

/// A consistent view of the store.
#[derive(Clone, Copy)]
pub struct View<'r> {
    pub(in crate::store) rows: &'r dyn Rows,
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("View")
    }
}

pub(crate) fn identity_key(identity: &AgentRef) -> Vec<u8> {
    [identity.tenant.as_bytes(), identity.agent.as_str().as_bytes()].concat()
}

pub(crate) fn host_serial_key(host: HostId, serial: Serial) -> Vec<u8> {
    [*host.as_bytes(), *serial.as_bytes()].concat()
}

impl<'r> View<'r> {
    pub(crate) const fn new(rows: &'r dyn Rows) -> Self {
        Self { rows }
    }

    /// The agent CA; `None` before it was made.
    pub fn hierarchy(&self) -> Result<Option<Hierarchy>, ReadError> {
        self.record(Table::Meta, meta::HIERARCHY)
    }

    /// The keys of JWT-SVIDs, their private halves sealed; none before the first was made.
    pub fn jwt_keys(&self) -> Result<JwtKeys, ReadError> {
        Ok(self.record(Table::Meta, meta::JWT_KEYS)?.unwrap_or_default())
    }

    /// The number of the trust bundle. It grows with each change of the roots and of the keys of JWT-SVIDs.
    pub fn bundle_sequence(&self) -> Result<u64, ReadError> {
        Ok(self.record(Table::Meta, meta::BUNDLE_SEQUENCE)?.unwrap_or(1))
    }

    /// The tenant that exists from the start.
    pub fn default_tenant(&self) -> Result<TenantId, ReadError> {
        let dangling = ReadError::Dangling { table: "(start)", missing_from: Table::Meta.name() };
        self.record(Table::Meta, meta::DEFAULT_TENANT)?.ok_or(dangling)
    }

    /// The host of an identity, which names its tenant.
    pub fn host_of(&self, identity: &AgentRef) -> Result<Option<Host>, ReadError> {
        let Some(id) = self.record(Table::HostsByAgent, &identity_key(identity))? else { return Ok(None) };
        let host = self.any_tenant().host(id)?;
        host.map(Some).ok_or(Table::HostsByAgent.dangling(Table::Hosts))
    }

    /// Hosts of all tenants in the order of their enrollment, after a given one.
    pub fn all_hosts(
        &self,
        after: Option<HostId>,
        mut visit: impl FnMut(Host) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let span = Span::all().behind(after.map(|id| id.as_bytes().to_vec()), false);
        // Few identities are denied, and there may be very many hosts.
        let mut denied = HashMap::new();
        self.denied_identities(|identity, since| {
            denied.insert(identity, since);
        })?;
        self.rows.scan(Table::Hosts, &span, &mut |key, content| {
            let report: Option<ReportRecord> = self.record(Table::Reports, key)?;
            let host: StoredHost = decode(Table::Hosts, content)?;
            let revoked_at = denied.get(&host.identity()).copied();
            Ok(visit(host.overlaid(report, revoked_at)))
        })
    }

    /// The certificate of an enrollment (DER), as long as it can still be presented.
    pub fn certificate(&self, serial: Serial) -> Result<Option<Vec<u8>>, ReadError> {
        self.rows.get(Table::Certificates, serial.as_bytes())
    }

    /// Certificates (DER) that can still be presented and were made at a moment or later, oldest first.
    pub fn certificates(
        &self,
        made_from: Option<Timestamp>,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        // Serials grow with time.
        let first = made_from.map(|at| Serial::new(at, [0; 10]).as_bytes().to_vec());
        let span = Span::all().behind(first, false);
        self.rows.scan(Table::Certificates, &span, &mut |_, der| Ok(visit(der)))
    }

    /// Whether a host has ever held a certificate for this key.
    pub fn host_has_used_key(&self, host: HostId, key: SpkiHash) -> Result<bool, ReadError> {
        let mut used = false;
        self.rows.scan(Table::EnrollmentsByHost, &Span::prefix(host.as_bytes()), &mut |_, spki| {
            used = spki == key.as_bytes();
            Ok(if used { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(used || self.used_before_retention(host, key)?)
    }

    /// The enrollment that last took this key, if its certificate may still be unexpired.
    pub fn holder_of_key(&self, key: SpkiHash) -> Result<Option<Enrollment>, ReadError> {
        let Some(serial) = self.record(Table::LiveKeys, key.as_bytes())? else { return Ok(None) };
        let enrollment = self.any_tenant().enrollment(serial)?;
        enrollment.map(Some).ok_or(Table::LiveKeys.dangling(Table::Enrollments))
    }

    /// Whether the certificate itself is denied; whether its identity is, is another question.
    pub fn serial_denied(&self, serial: Serial) -> Result<bool, ReadError> {
        Ok(self.rows.get(Table::DeniedSerials, serial.as_bytes())?.is_some())
    }

    /// Since when an identity is denied.
    pub fn identity_denied(&self, identity: &AgentRef) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::DeniedIdentities, &identity_key(identity))
    }

    /// Everything on the deny list, as the steps that build it.
    pub fn denied(&self) -> Result<Vec<DenyChange>, ReadError> {
        let mut changes = Vec::new();
        self.denials(|denial| changes.push(denial.into()))?;
        Ok(changes)
    }

    /// Everything on the deny list with what is on record about it.
    pub fn denials(&self, mut visit: impl FnMut(Denial)) -> Result<(), ReadError> {
        self.denied_serials(|serial, DeniedSerialRecord { not_after, since, reason, .. }| {
            visit(Denial::Serial { serial, not_after, since, reason });
            ControlFlow::Continue(())
        })?;
        self.denied_identities(|identity, since| visit(Denial::Identity { identity, since }))
    }

    pub(in crate::store) fn denied_serials(
        &self,
        mut visit: impl FnMut(Serial, DeniedSerialRecord) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let table = Table::DeniedSerials;
        self.rows
            .scan(table, &Span::all(), &mut |key, content| Ok(visit(table.id(key)?, decode(table, content)?)))
    }

    fn denied_identities(&self, mut visit: impl FnMut(AgentRef, Timestamp)) -> Result<(), ReadError> {
        let table = Table::DeniedIdentities;
        self.rows.each(table, &Span::all(), &mut |key, content| {
            visit(identity_of_key(key).ok_or(table.damaged())?, decode(table, content)?);
            Ok(())
        })
    }

    /// What the wall clock has shown while the server ran.
    pub fn clock_marks(&self) -> Result<ClockMarks, ReadError> {
        let record: Option<ClockMarksRecord> = self.record(Table::Meta, meta::CLOCK_MARKS)?;
        Ok(record.unwrap_or_default().into())
    }

    /// When the newest backup that somebody asked for was begun.
    pub fn backed_up(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Meta, meta::BACKED_UP)
    }

    /// When the newest backup was begun that the server made by itself.
    pub fn backed_up_by_itself(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Meta, meta::BACKED_UP_BY_ITSELF)
    }

    /// When the store was made.
    pub fn born(&self) -> Result<Option<Timestamp>, ReadError> {
        let first: Option<Tenant> = self.record(Table::Tenants, self.default_tenant()?.as_bytes())?;
        Ok(first.map(|tenant| tenant.created_at))
    }

    /// When the server last showed that it serves.
    pub fn last_alive(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Meta, meta::ALIVE)
    }

    /// How far the store has come with what watchers of trust are told; `None` in one that has no epoch yet.
    pub fn trust_version(&self) -> Result<Option<TrustVersion>, ReadError> {
        self.record(Table::Meta, meta::TRUST_VERSION)
    }

    /// By which moment it was last put on disk that watchers of trust were told what has not ended.
    pub fn trust_judged_at(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Meta, meta::TRUST_JUDGED_AT)
    }

    /// Serials on the deny list with the ends of their certificates and those whom they belong to, as far as that is known.
    pub fn denied_certificates(
        &self,
        mut visit: impl FnMut(Serial, Timestamp, Option<AgentRef>),
    ) -> Result<(), ReadError> {
        self.denied_serials(|serial, denied| {
            visit(serial, denied.not_after, denied.holder);
            ControlFlow::Continue(())
        })
    }

    /// Whose certificate this is, if it is on record, or was when it was denied.
    pub fn holder_of(&self, serial: Serial) -> Result<Option<AgentRef>, ReadError> {
        if let Some(enrollment) = self.any_tenant().enrollment(serial)?
            && let Some(host) = self.any_tenant().host(enrollment.host)?
        {
            return Ok(Some(host.identity()));
        }
        let denied: Option<DeniedSerialRecord> = self.record(Table::DeniedSerials, serial.as_bytes())?;
        Ok(denied.and_then(|denied| denied.holder))
    }

    /// Outages, newest first.
    pub fn outages(&self, mut visit: impl FnMut(Outage) -> ControlFlow<()>) -> Result<(), ReadError> {
        let table = Table::Outages;
        self.rows.scan(table, &Span::all().newest_first(), &mut |_, content| {
            let (from, until) = decode(table, content)?;
            Ok(visit(Outage { from, until }))
        })
    }

    /// Serials on the deny list with the moment and the reason of their revocation, as a CRL names them, of
    /// certificates that are still good at `now`.
    pub fn revoked_serials(
        &self,
        now: Timestamp,
    ) -> Result<Vec<(Serial, Timestamp, RevocationReason)>, ReadError> {
        let mut revoked = Vec::new();
        self.denied_serials(|serial, denied| {
            if !past_not_after(denied.not_after, now) {
                revoked.push((serial, denied.since, denied.reason));
            }
            ControlFlow::Continue(())
        })?;
        Ok(revoked)
    }

    /// Whether there is a tenant of this id.
    pub fn has_tenant(&self, id: TenantId) -> Result<bool, ReadError> {
        Ok(self.rows.get(Table::Tenants, id.as_bytes())?.is_some())
    }

    /// All of them, in the order of their creation.
    pub fn tenants(&self) -> Result<Vec<Tenant>, ReadError> {
        let mut tenants = Vec::new();
        self.rows.each(Table::Tenants, &Span::all(), &mut |_, content| {
            tenants.push(decode(Table::Tenants, content)?);
            Ok(())
        })?;
        Ok(tenants)
    }

    /// What only unexpired certificates need, of certificates that ran out long ago whatever the clock may still
    /// do: for `kept` by the wall clock, and longer for what is denied.
    pub fn long_expired(
        &self,
        marks: &ClockMarks,
        kept: SignedDuration,
        now: Timestamp,
    ) -> Result<Expired, ReadError> {
        let past =
            |enrollment: &Enrollment| marks.long_past(enrollment.serial, enrollment.not_after, kept, now);
        let mut expired = Expired::default();
        self.rows.scan(Table::LiveKeys, &Span::all(), &mut |key, content| {
            let serial: Serial = decode(Table::LiveKeys, content)?;
            // A row whose enrollment was deleted names nothing.
            if self.any_tenant().enrollment(serial)?.is_none_or(|enrollment| past(&enrollment)) {
                expired.keys.push(Table::LiveKeys.id(key)?);
            }
            Ok(Expired::go_on(expired.keys.len()))
        })?;
        self.rows.scan(Table::Certificates, &Span::all(), &mut |key, _| {
            let serial = Table::Certificates.id(key)?;
            // Serials grow with time, so the first certificate that is still good ends the search.
            if self.any_tenant().enrollment(serial)?.is_some_and(|enrollment| !past(&enrollment)) {
                return Ok(ControlFlow::Break(()));
            }
            expired.certificates.push(serial);
            Ok(Expired::go_on(expired.certificates.len()))
        })?;
        self.denied_serials(|serial, denied| {
            if marks.long_past(serial, denied.not_after, DENIALS_KEPT.max(kept), now) {
                expired.denied.push(serial);
            }
            Expired::go_on(expired.denied.len())
        })?;
        Ok(expired)
    }

    pub(super) fn record<R: FromDisk>(&self, table: Table, key: &[u8]) -> Result<Option<R>, ReadError> {
        self.rows.get(table, key)?.map(|content| decode(table, &content)).transpose()
    }
}

/// What housekeeping may drop.
#[derive(Debug, Default)]
pub struct Expired {
    pub keys: Vec<SpkiHash>,
    pub certificates: Vec<Serial>,
    pub denied: Vec<Serial>,
}

impl Expired {
    /// Most rows of one kind dropped in one commit, so that housekeeping never holds up the writer.
    const BATCH: usize = 1_000;

    pub const fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.certificates.is_empty() && self.denied.is_empty()
    }

    const fn go_on(found: usize) -> ControlFlow<()> {
        if found < Self::BATCH { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// The day of a moment, in UTC, counted from the epoch.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().div_euclid(86_400)).unwrap_or(0)
}

pub(crate) fn identity_of_key(key: &[u8]) -> Option<AgentRef> {
    let (tenant, agent) = key.split_first_chunk()?;
    let agent = std::str::from_utf8(agent).ok()?.parse().ok()?;
    Some(AgentRef { tenant: TenantId::from_bytes(*tenant), agent })
}
