//! What retention may take, and what it has left.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::domain::enroll::enrollment::{Enrollment, SpkiHash, Via};
use crate::domain::identity::clock_marks::ClockMarks;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::insight::timeline::{EventKey, HostEvent};
use crate::store::ReadError;
use crate::store::record::decode;
use crate::store::rows::{Span, Table};
use crate::store::view::View;

/// Of the hash of a used key. It is compared with the keys of one host alone.
pub(crate) const KEY_OCTETS: usize = 8;

/// Some rows that may go, and where the walk that found them stopped.
#[derive(Debug)]
pub struct PastRetention<T> {
    /// What may go.
    pub rows: Vec<T>,
    /// Where to go on; `None`: that was all.
    pub after: Option<T>,
}

/// The clock by which something is old, and how it may be wrong.
#[derive(Debug, Clone, Copy)]
pub struct OldBy<'m> {
    /// What the wall clock has shown.
    pub marks: &'m ClockMarks,
    /// How long it is kept.
    pub kept: SignedDuration,
    /// By the wall clock.
    pub now: Timestamp,
}

/// How long a clock is doubted by which something has just become old: one that jumps ahead for an afternoon costs no history.
const DOUBTED_FOR: SignedDuration = SignedDuration::from_hours(24);

impl OldBy<'_> {
    fn is_old(self, at: Timestamp) -> bool {
        let end = at.saturating_add(self.kept).unwrap_or(Timestamp::MAX);
        self.marks.surely_past(end, DOUBTED_FOR, SignedDuration::ZERO, self.now)
    }
}

impl View<'_> {
    /// Whether an enrollment is history of which nothing depends: a rotation that has run out long ago, was never revoked and is
    /// not the newest of its host.
    pub fn is_past_retention(&self, enrollment: &Enrollment, old: OldBy<'_>) -> Result<bool, ReadError> {
        let OldBy { marks, now, .. } = old;
        let of_no_use = matches!(enrollment.via, Via::Rotation { .. }) && enrollment.revocation.is_none();
        let is_over = marks.long_past(enrollment.serial, enrollment.not_after, SignedDuration::ZERO, now);
        if !of_no_use || !is_over || !old.is_old(enrollment.not_after) {
            return Ok(false);
        }
        let host = self.any_tenant().host(enrollment.host)?;
        Ok(host.is_some_and(|host| host.newest_serial != enrollment.serial))
    }

    /// Looks at the next so many enrollments, oldest first, for those that are past retention.
    pub fn past_retention(
        &self,
        old: OldBy<'_>,
        after: Option<Serial>,
        enough: usize,
    ) -> Result<PastRetention<Serial>, ReadError> {
        let span = Span::all().behind(after.map(|serial| serial.as_bytes().to_vec()), false);
        let mut found = PastRetention { rows: Vec::new(), after: None };
        let mut seen = 0;
        self.rows.scan(Table::Enrollments, &span, &mut |key, content| {
            let serial: Serial = Table::Enrollments.id(key)?;
            // Serials grow with time, so none behind this one is older.
            if serial.made_at() > old.now - old.kept {
                found.after = None;
                return Ok(ControlFlow::Break(()));
            }
            if self.is_past_retention(&decode(Table::Enrollments, content)?, old)? {
                found.rows.push(serial);
            }
            seen += 1;
            found.after = Some(serial);
            Ok(if seen < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        found.after = found.after.filter(|_| seen == enough);
        Ok(found)
    }

    /// Looks at the next so many reported events for those that are old.
    pub fn old_reports(
        &self,
        old: OldBy<'_>,
        after: Option<(HostId, EventKey)>,
        enough: usize,
    ) -> Result<PastRetention<(HostId, EventKey)>, ReadError> {
        let table = Table::ReportedEvents;
        let after = after.map(|(host, EventKey(key))| [host.as_bytes().as_slice(), &key].concat());
        let span = Span::all().behind(after, false);
        let mut found = PastRetention { rows: Vec::new(), after: None };
        let mut seen = 0;
        self.rows.scan(table, &span, &mut |key, content| {
            let (host, place) = key.split_first_chunk().ok_or(table.damaged())?;
            let place = EventKey(place.try_into().map_err(|_| table.damaged())?);
            let place = (HostId::from_bytes(*host), place);
            let event: HostEvent = decode(table, content)?;
            if old.is_old(event.at) {
                found.rows.push(place);
            }
            seen += 1;
            found.after = Some(place);
            Ok(if seen < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        found.after = found.after.filter(|_| seen == enough);
        Ok(found)
    }

    /// Whether a host has used a key for a certificate that retention has taken.
    pub(super) fn used_before_retention(&self, host: HostId, key: SpkiHash) -> Result<bool, ReadError> {
        let mut used = false;
        self.rows.scan(Table::UsedKeys, &Span::prefix(host.as_bytes()), &mut |_, content| {
            used = content.chunks(KEY_OCTETS).any(|known| key.as_bytes().starts_with(known));
            Ok(if used { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(used)
    }

    /// How many certificates of a host retention has taken.
    pub fn taken_by_retention(&self, host: HostId) -> Result<u64, ReadError> {
        let mut octets = 0;
        self.rows.each(Table::UsedKeys, &Span::prefix(host.as_bytes()), &mut |_, content| {
            octets += content.len();
            Ok(())
        })?;
        Ok(u64::try_from(octets / KEY_OCTETS).unwrap_or(u64::MAX))
    }
}
