//! What restores have left in the store: epochs, who has come back in them, who never does, and what waits for the operator.

use std::ops::ControlFlow;
use std::path::Path;

use jiff::Timestamp;

use crate::domain::enroll::enrollment::{Enrollment, RevocationReason};
use crate::domain::identity::clock_marks::ClockMarks;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreEpoch, RestoreNotice, RolledBack};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::withdrawal::{StoreId, Suspended};
use crate::store::ReadError;
use crate::store::journal::facts::is_over;
use crate::store::journal::file;
use crate::store::journal::file::{JournalError, OnlyInJournal};
use crate::store::record::{DeniedSerialRecord, EpochsRecord, decode, suspended_key, suspended_of_key};
use crate::store::rows::{Span, Table};
use crate::store::view::{View, host_serial_key, identity_key, identity_of_key, meta};

/// Rows that are dropped in one commit.
const AT_ONCE: usize = 1_000;

impl View<'_> {
    /// Which store this is; `None` in one of before that has not met its journal yet.
    pub fn store_id(&self) -> Result<Option<StoreId>, ReadError> {
        self.record(Table::Meta, meta::STORE_ID)
    }

    /// The epochs of restores, those included that have ended lately; the newest last.
    pub fn restore_epochs(&self) -> Result<Vec<RestoreEpoch>, ReadError> {
        let record: Option<EpochsRecord> = self.record(Table::Meta, meta::RESTORE_EPOCHS)?;
        Ok(record.map(Into::into).unwrap_or_default())
    }

    /// That the store was found to be older than it had been, and no epoch was declared since.
    pub fn rolled_back(&self) -> Result<Option<RolledBack>, ReadError> {
        self.record(Table::Meta, meta::ROLLED_BACK)
    }

    /// What the last restore has to say.
    pub fn restore_notice(&self) -> Result<Option<RestoreNotice>, ReadError> {
        self.record(Table::Meta, meta::RESTORE_NOTICE)
    }

    /// What a revocation journal of this store knows and the store does not, as of a time that it has lost; `None`: there is
    /// none at this path.
    pub fn compare_journal(
        &self,
        path: &Path,
        lost: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Result<Option<OnlyInJournal>, JournalError> {
        file::unknown_to(self, path, lost, now)
    }

    /// Certificates that were made at a moment or later, and are on record.
    pub fn enrollments_made_from(
        &self,
        at: Timestamp,
        mut visit: impl FnMut(Enrollment),
    ) -> Result<(), ReadError> {
        let table = Table::Enrollments;
        let span = Span::all().behind(Some(Serial::new(at, [0; 10]).as_bytes().to_vec()), false);
        self.rows.each(table, &span, &mut |_, content| {
            visit(decode(table, content)?);
            Ok(())
        })
    }

    /// Why a certificate is denied by its serial, if it is.
    pub fn serial_denied_for(&self, serial: Serial) -> Result<Option<RevocationReason>, ReadError> {
        let denied: Option<DeniedSerialRecord> = self.record(Table::DeniedSerials, serial.as_bytes())?;
        Ok(denied.map(|denied| denied.reason))
    }

    /// Which SVIDs of an identity that are on no record never come back.
    pub fn recovery_bar(&self, identity: &AgentRef) -> Result<Option<RecoveryBar>, ReadError> {
        self.record(Table::RecoveryBars, &identity_key(identity))
    }

    /// Those of all identities.
    pub fn recovery_bars(&self, mut visit: impl FnMut(AgentRef, RecoveryBar)) -> Result<(), ReadError> {
        let table = Table::RecoveryBars;
        self.rows.each(table, &Span::all(), &mut |key, content| {
            visit(identity_of_key(key).ok_or(table.damaged())?, decode(table, content)?);
            Ok(())
        })
    }

    /// Bars that concern no SVID that is still good, whatever the clock may do, up to a bound.
    pub fn bars_that_are_over(&self, marks: &ClockMarks, now: Timestamp) -> Result<Vec<AgentRef>, ReadError> {
        let table = Table::RecoveryBars;
        let mut over = Vec::new();
        self.rows.scan(table, &Span::all(), &mut |key, content| {
            let bar: RecoveryBar = decode(table, content)?;
            if is_over(marks, bar.made_before, now) {
                over.push(identity_of_key(key).ok_or(table.damaged())?);
            }
            Ok(if over.len() < AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(over)
    }

    /// Who has come back in which restore epoch, up to a bound.
    pub fn returned(&self) -> Result<Vec<(HostId, Serial)>, ReadError> {
        let mut returned = Vec::new();
        self.rows.scan(Table::Returned, &Span::all(), &mut |key, _| {
            let damaged = || Table::Returned.damaged();
            let (host, serial) = key.split_first_chunk().ok_or_else(damaged)?;
            let serial: [u8; 16] = serial.try_into().map_err(|_| damaged())?;
            returned.push((HostId::from_bytes(*host), Serial::from_bytes(serial)));
            Ok(if returned.len() < AT_ONCE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(returned)
    }

    /// When the newest epoch began in which a host got a certificate with an SVID other than this one.
    pub fn others_returned(&self, host: HostId, serial: Serial) -> Result<Option<Timestamp>, ReadError> {
        let table = Table::Returned;
        let mut newest = None;
        self.rows.each(table, &Span::prefix(host.as_bytes()), &mut |key, content| {
            if *key != *host_serial_key(host, serial) {
                newest = newest.max(Some(decode(table, content)?));
            }
            Ok(())
        })?;
        Ok(newest)
    }

    /// Whether a host got a certificate with this SVID in a restore epoch.
    pub fn has_returned(&self, host: HostId, serial: Serial) -> Result<bool, ReadError> {
        Ok(self.rows.get(Table::Returned, &host_serial_key(host, serial))?.is_some())
    }

    /// Since when a credential or a password counts for nothing until the operator confirms it.
    pub fn suspended(&self, what: Suspended) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Suspended, &suspended_key(what))
    }

    /// All that waits for the operator.
    pub fn all_suspended(&self) -> Result<Vec<(Suspended, Timestamp)>, ReadError> {
        let table = Table::Suspended;
        let mut all = Vec::new();
        self.rows.each(table, &Span::all(), &mut |key, content| {
            all.push((suspended_of_key(key).ok_or(table.damaged())?, decode(table, content)?));
            Ok(())
        })?;
        Ok(all)
    }
}
