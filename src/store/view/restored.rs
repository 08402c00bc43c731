//! What restores have left in the store: epochs, who has come back in them, who never does, and what waits for the operator.

use std::path::Path;

use jiff::Timestamp;

use crate::domain::enroll::enrollment::{Enrollment, RevocationReason};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreEpoch, RestoreNotice, RolledBack};
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::withdrawal::{StoreId, Suspended};
use crate::store::ReadError;
use crate::store::journal::file;
use crate::store::journal::file::{JournalError, OnlyInJournal};
use crate::store::record::{DeniedSerialRecord, EpochsRecord, decode, suspended_key, suspended_of_key};
use crate::store::rows::{Span, Table};
use crate::store::view::{View, host_serial_key, identity_key, identity_of_key, meta};

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

    /// What another revocation journal of this store knows and the store does not; `None`: there is none at this path.
    pub fn compare_journal(
        &self,
        path: &Path,
        now: Timestamp,
    ) -> Result<Option<OnlyInJournal>, JournalError> {
        file::unknown_to(self, path, now)
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
