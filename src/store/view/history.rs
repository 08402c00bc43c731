//! What has happened, as a query sees it: the audit trail, timelines, enrollments by day.

use std::ops::ControlFlow;

use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit::{AuditRecord, ChainHead, KnownLoss};
use crate::domain::insight::online::{OnlineSample, SAMPLES_KEPT};
use crate::domain::insight::timeline::{EventKey, Source, TimelineEntry};
use crate::store::ReadError;
use crate::store::record::decode;
use crate::store::rows::{Span, Table};
use crate::store::view::{View, meta};

impl View<'_> {
    /// A host's timeline, newest first, before a given entry: what the server knows and what the agent has
    /// reported, by time.
    pub(super) fn host_events(
        &self,
        host: HostId,
        before: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, ReadError> {
        let mut entries = self.entries_of(Source::Server, host, before, limit)?;
        entries.extend(self.entries_of(Source::Agent, host, before, limit)?);
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.key));
        entries.truncate(limit);
        Ok(entries)
    }

    fn entries_of(
        &self,
        source: Source,
        host: HostId,
        before: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, ReadError> {
        let table = match source {
            Source::Server => Table::HostEvents,
            Source::Agent => Table::ReportedEvents,
        };
        let before = before.map(|EventKey(key)| [host.as_bytes().as_slice(), &key].concat());
        let span = Span::prefix(host.as_bytes()).behind(before, true);
        let mut entries = Vec::new();
        self.rows.scan(table, &span, &mut |key, content| {
            let key = EventKey(*key.last_chunk().ok_or(table.damaged())?);
            entries.push(TimelineEntry { key, source, event: decode(table, content)? });
            Ok(if entries.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(entries)
    }

    /// Enrollments of a tenant on each of the days from `first` to `last`, as days since the epoch.
    pub fn enrollments_per_day(
        &self,
        tenant: TenantId,
        first: u32,
        last: u32,
    ) -> Result<Vec<u64>, ReadError> {
        let table = Table::EnrollmentsPerDay;
        (first..=last)
            .map(|day| {
                let key = [tenant.as_bytes().as_slice(), &day.to_be_bytes()].concat();
                Ok(self.record(table, &key)?.unwrap_or(0))
            })
            .collect()
    }

    /// How many hosts of a tenant were online in the week up to a place among the samples, by place.
    pub fn online_samples(
        &self,
        tenant: TenantId,
        until: u32,
    ) -> Result<Vec<(u32, OnlineSample)>, ReadError> {
        let table = Table::OnlineSamples;
        let key = |place: u32| [tenant.as_bytes().as_slice(), &place.to_be_bytes()].concat();
        let from = key(until.saturating_sub(SAMPLES_KEPT - 1));
        let mut samples = Vec::new();
        self.rows.scan(table, &Span { from, ..Span::prefix(tenant.as_bytes()) }, &mut |key, content| {
            let place = u32::from_be_bytes(*key.last_chunk().ok_or(table.damaged())?);
            let (online, in_service) = decode(table, content)?;
            samples.push((place, OnlineSample { online, in_service }));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(samples)
    }

    /// The highest sequence number in the audit trail, whatever its record says.
    pub fn audit_end(&self) -> Result<u64, ReadError> {
        let end = self.rows.last_key(Table::Audit)?;
        Ok(end.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// Where the audit chain stands.
    pub fn audit_head(&self) -> Result<ChainHead, ReadError> {
        let mut head = ChainHead::genesis();
        self.rows.scan(Table::Audit, &Span::all().newest_first(), &mut |_, content| {
            let record: AuditRecord = decode(Table::Audit, content)?;
            head = ChainHead { seq: record.seq, hash: record.hash };
            Ok(ControlFlow::Break(()))
        })?;
        Ok(head)
    }

    /// Audit records, behind the one with a sequence number in the order asked for.
    pub fn audit(
        &self,
        behind: Option<u64>,
        newest_first: bool,
        mut visit: impl FnMut(AuditRecord) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let span = Span::all().behind(behind.map(|seq| seq.to_be_bytes().to_vec()), newest_first);
        self.rows.scan(Table::Audit, &span, &mut |_, content| Ok(visit(decode(Table::Audit, content)?)))
    }

    /// The loss that the trail was last found to have.
    pub(crate) fn known_loss(&self) -> Result<Option<KnownLoss>, ReadError> {
        self.record(Table::Meta, meta::AUDIT_LOSS)
    }

    /// One audit record. One that can't be read is an error of its own, so that a check can go on behind it.
    pub fn audit_record(&self, seq: u64) -> Result<Option<AuditRecord>, ReadError> {
        self.record(Table::Audit, &seq.to_be_bytes())
    }
}
