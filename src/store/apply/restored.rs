//! Writing what has to do with restores, and what a later one must not undo.

use jiff::{SignedDuration, Timestamp};

use super::Batch;
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::restore_epoch::{EPOCHS_MAX, RecoveryBar, RestoreEpoch};
use crate::domain::people::user::User;
use crate::domain::withdrawal::{PersonStanding, Suspended, Withdrawal};
use crate::store::ReadError;
use crate::store::change::RestoredChange;
use crate::store::record::{EpochsRecord, suspended_key};
use crate::store::rows::{Rows, Table};
use crate::store::view::{View, host_serial_key, identity_key, meta};

impl Batch {
    pub(super) fn apply_restored(&mut self, change: RestoredChange, now: Timestamp) -> Result<(), ReadError> {
        match change {
            RestoredChange::SetStoreId(id) => self.put(Table::Meta, meta::STORE_ID, &id),
            RestoredChange::Begin(epoch) => self.begin_restore_epoch(epoch),
            RestoredChange::Bar(identity, bar) => self.put_bar(&identity, bar),
            RestoredChange::TakenOver { identity, by } => {
                // Whatever clocks say, what was issued to the new machine is good.
                let told_before = by.made_at();
                let bar = RecoveryBar { told_before, ..self.bar(RevocationReason::Superseded, now)? };
                self.replace_bar(&identity, bar)
            }
            RestoredChange::Returned { host, with, restored_at } => {
                self.put(Table::Returned, &host_serial_key(host, with), &restored_at)
            }
            RestoredChange::Forget { bars, returned } => {
                for identity in bars {
                    self.remove(Table::RecoveryBars, &identity_key(&identity))?;
                }
                let mut keys = returned.into_iter().map(|(host, serial)| host_serial_key(host, serial));
                keys.try_for_each(|key| self.remove(Table::Returned, &key))
            }
            RestoredChange::RolledBack(found) => self.put(Table::Meta, meta::ROLLED_BACK, &found),
            RestoredChange::Suspend(what) => self.put(Table::Suspended, &suspended_key(what), &now),
            RestoredChange::Confirm(what) => self.remove(Table::Suspended, &suspended_key(what)),
            RestoredChange::LastAlive(at) => self.put(Table::Meta, meta::ALIVE, &at),
            RestoredChange::Notice(notice) => self.put(Table::Meta, meta::RESTORE_NOTICE, &notice),
        }
    }

    fn begin_restore_epoch(&mut self, epoch: RestoreEpoch) -> Result<(), ReadError> {
        let mut epochs = View::new(self).restore_epochs()?;
        epochs.push(epoch);
        let beyond = epochs.len().saturating_sub(EPOCHS_MAX);
        epochs.drain(..beyond);
        self.put(Table::Meta, meta::RESTORE_EPOCHS, &EpochsRecord::from(epochs.clone()))?;
        self.remove(Table::Meta, meta::ROLLED_BACK)?;
        self.published.restore_epochs = Some(epochs);
        self.trust_changed = true;
        Ok(())
    }

    /// From now on nothing that is on no record comes back of an identity, be it that it was made by a clock that is ahead of
    /// this one.
    pub(super) fn bar_recovery(
        &mut self,
        identity: &AgentRef,
        reason: RevocationReason,
        now: Timestamp,
    ) -> Result<(), ReadError> {
        let bar = self.bar(reason, now)?;
        self.put_bar(identity, bar)
    }

    fn bar(&self, reason: RevocationReason, now: Timestamp) -> Result<RecoveryBar, ReadError> {
        let epochs = View::new(self).restore_epochs()?;
        let lost = epochs.iter().filter(|epoch| epoch.in_force(now)).map(RestoreEpoch::last_made).max();
        let beyond = lost.and_then(|last| last.checked_add(SignedDuration::from_millis(1)).ok());
        Ok(RecoveryBar { reason, made_before: beyond.unwrap_or(now).max(now), told_before: now })
    }

    /// The later one counts.
    fn put_bar(&mut self, identity: &AgentRef, bar: RecoveryBar) -> Result<(), ReadError> {
        let known = View::new(self).recovery_bar(identity)?;
        let later = known.is_some_and(|known| known.told_before > bar.told_before);
        if later { Ok(()) } else { self.replace_bar(identity, bar) }
    }

    fn replace_bar(&mut self, identity: &AgentRef, bar: RecoveryBar) -> Result<(), ReadError> {
        let known = View::new(self).recovery_bar(identity)?;
        let made_before = known.map_or(bar.made_before, |known| known.made_before.max(bar.made_before));
        let bar = RecoveryBar { made_before, ..bar };
        self.put(Table::RecoveryBars, &identity_key(identity), &bar)?;
        self.published.bars.push((identity.clone(), bar));
        self.tell_of_identity()
    }

    /// While a restore epoch lasts, watchers of trust are told identities, too. They keep what they were told.
    pub(super) fn tell_of_identity(&mut self) -> Result<(), ReadError> {
        self.trust_changed |= self.get(Table::Meta, meta::RESTORE_EPOCHS)?.is_some();
        Ok(())
    }

    /// What of a secret a restore must not bring back.
    pub(super) fn note_secret(&mut self, secret: &EnrollmentSecret) -> Result<(), ReadError> {
        let before = View::new(self).any_tenant().enrollment_secret(secret.id)?;
        let (uses, revoked) = before.map_or((0, false), |before| (before.uses, before.revoked_at.is_some()));
        if secret.max_uses.is_some() && secret.uses != uses {
            self.withdrawals.push(Withdrawal::SecretUses { id: secret.id, uses: secret.uses });
        }
        if secret.max_uses.is_some_and(|max| secret.uses >= max && uses < max) {
            self.tell_of_exhausted(secret)?;
        }
        if secret.revoked_at.is_some() && !revoked {
            self.withdrawals.push(Withdrawal::Secret(secret.id));
            self.remove(Table::Suspended, &suspended_key(Suspended::Secret(secret.id)))?;
        }
        Ok(())
    }

    /// What of a person a restore must not bring back. A new password needs nobody to confirm it.
    pub(super) fn note_person(&mut self, before: Option<&User>, user: &User) -> Result<(), ReadError> {
        let standing = PersonStanding::of(user);
        let known = before.map(PersonStanding::of);
        if known != Some(standing) {
            self.withdrawals.push(Withdrawal::Person { id: user.id, standing });
        }
        if known.is_some_and(|known| known.password_set_at != standing.password_set_at) {
            self.remove(Table::Suspended, &suspended_key(Suspended::Person(user.id)))?;
        }
        Ok(())
    }
}
