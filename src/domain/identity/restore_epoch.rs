//! Restore epochs: the times between a backup and its restore, in which certificates were issued that are signed by us and
//! on no record. Who may come back with one is decided here.

use jiff::{SignedDuration, Timestamp};

use crate::domain::enroll::enrollment::{RevocationReason, past_not_after};
use crate::domain::identity::outage::AMNESTY;
use crate::domain::identity::serial::Serial;
use crate::domain::vocabulary::vocabulary;

/// How far the clocks of the lost machine and of this one may be apart.
pub const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(5);

/// Most epochs kept on record; of more restores within two days the oldest is forgotten.
pub const EPOCHS_MAX: usize = 8;

/// The time between a backup and its restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreEpoch {
    /// What was answered before is on record.
    pub backup_at: Timestamp,
    /// The last sign of life of the server that was lost.
    pub lost_at: Timestamp,
    /// When its store was put in place again.
    pub restored_at: Timestamp,
    /// How long who was issued a certificate in between may come back with it.
    pub until: Timestamp,
    /// Nobody may: the epoch only explains why certificates are on no record.
    pub strict: bool,
}

impl RestoreEpoch {
    /// One that is in force for as long as a certificate from before the restore can live, and a day.
    pub fn new(
        backup_at: Timestamp,
        lost_at: Timestamp,
        restored_at: Timestamp,
        lifetime: SignedDuration,
        strict: bool,
    ) -> Self {
        let lasts = lifetime.saturating_add(AMNESTY);
        let until = restored_at.saturating_add(lasts).unwrap_or(Timestamp::MAX);
        Self { backup_at, lost_at, restored_at, until, strict }
    }

    /// Whether it has not ended.
    pub fn in_force(&self, now: Timestamp) -> bool {
        now <= self.until
    }

    /// Whether a certificate of this serial was made in it.
    pub fn covers(&self, serial: Serial) -> bool {
        let from = self.backup_at.saturating_sub(CLOCKS_APART).unwrap_or(Timestamp::MIN);
        (from..=self.last_made()).contains(&serial.made_at())
    }

    /// No certificate that is on no record because of it was made later.
    pub fn last_made(&self) -> Timestamp {
        self.restored_at.saturating_add(CLOCKS_APART).unwrap_or(Timestamp::MAX)
    }
}

vocabulary! {
    /// What says when the server was lost.
    wire pub enum LostBy {
        // Its last sign of life in the revocation journal.
        Journal = "journal",
        // The last change in its replica.
        Replica = "replica",
        // The operator.
        Told = "lost_at",
        // A revocation list that it signed.
        List = "crl",
        // Nothing says more than that it made a backup.
        Backup = "backup",
    }
}

/// That SVIDs of an identity which were made before a moment and are on no record never come back, whatever became of the
/// identity since: it was let in again, its host was deleted, or another machine has taken it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryBar {
    /// What ended them.
    pub reason: RevocationReason,
    /// Those that were made before this, by whichever server.
    pub made_before: Timestamp,
    /// The same as relying parties are told it: nothing that was issued since may be refused.
    pub told_before: Timestamp,
}

/// An SVID that is on no record. Its chain is good, and whoever shows it has proved to hold its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnrecordedSvid {
    /// Its number.
    pub serial: Serial,
    /// Its last second.
    pub not_after: Timestamp,
    /// Whether what has signed it was revoked.
    pub issuer_revoked: bool,
    /// Why it is denied by its serial, if it is.
    pub serial_denied: Option<RevocationReason>,
    /// Whether its identity is denied.
    pub identity_denied: bool,
    /// What is barred of its identity.
    pub bar: Option<RecoveryBar>,
    /// Whether it has come back before, with another key.
    pub spent: bool,
    /// When the epoch began in which its identity got a certificate last, by another SVID than this one.
    pub others_returned: Option<Timestamp>,
}

/// What becomes of such an SVID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// It may rotate.
    Granted {
        /// The epoch in which it was made, by the moment of the restore.
        restored_at: Timestamp,
        /// Another SVID of the identity has got a certificate in that epoch or since: there may be two machines.
        perhaps_cloned: bool,
    },
    /// It, or its identity, was revoked.
    Revoked,
    /// It had expired before the server was lost, or another one of its identity has come back and it has expired since.
    Expired,
    /// Nothing explains why it is on no record, or it was deleted with its host.
    Unknown,
}

/// The one place where it is decided who comes back with an SVID that is on no record.
pub fn recovery(epochs: &[RestoreEpoch], svid: &UnrecordedSvid, now: Timestamp) -> Recovery {
    if !epochs.iter().any(|epoch| epoch.in_force(now)) {
        return Recovery::Unknown;
    }
    if svid.identity_denied {
        return Recovery::Revoked;
    }
    let barred = svid.bar.filter(|bar| svid.serial.made_at() < bar.made_before).map(|bar| bar.reason);
    match svid.serial_denied.or(barred) {
        // Nobody knows a deleted host any more.
        Some(RevocationReason::Deleted) => return Recovery::Unknown,
        Some(_) => return Recovery::Revoked,
        None => {}
    }
    if svid.issuer_revoked || svid.spent {
        return Recovery::Unknown;
    }
    let admits = |epoch: &&RestoreEpoch| epoch.in_force(now) && !epoch.strict && epoch.covers(svid.serial);
    // The strictest of those that may be meant: who had expired before any of these losses stays outside.
    let Some(epoch) = epochs.iter().rev().find(admits) else { return Recovery::Unknown };
    if past_not_after(svid.not_after, epoch.lost_at) {
        return Recovery::Expired;
    }
    let perhaps_cloned = svid.others_returned >= Some(epoch.restored_at);
    if perhaps_cloned && past_not_after(svid.not_after, now) {
        return Recovery::Expired;
    }
    Recovery::Granted { restored_at: epoch.restored_at, perhaps_cloned }
}

/// That the store was found to be older than it had been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledBack {
    /// When that was noticed.
    pub noticed_at: Timestamp,
    /// By this SVID, which is on no record.
    pub serial: Serial,
    /// The store's last sign of life before the time that it has lost.
    pub woke_from: Timestamp,
    /// When it was next seen to live.
    pub woke_at: Timestamp,
}

/// What there is to say of a restore on the overview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreNotice {
    /// What happened, what will happen, and to whom, as a clause.
    pub text: String,
    /// When it was.
    pub at: Timestamp,
    /// When an administrator first saw it.
    pub seen_at: Option<Timestamp>,
}

/// How long a notice stays that an administrator has begun to read.
const READ_WITHIN: SignedDuration = SignedDuration::from_hours(1);

impl RestoreNotice {
    /// Whether it is still to be shown.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.seen_at.is_none_or(|seen| now.duration_since(seen) < READ_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + minute * 60).unwrap()
    }

    fn serial(minute: i64) -> Serial {
        Serial::new(at(minute), [7; 10])
    }

    /// A backup of minute 0, lost at minute 60, restored at minute 90, of certificates that live for a day.
    fn epoch() -> RestoreEpoch {
        RestoreEpoch::new(at(0), at(60), at(90), SignedDuration::from_hours(24), false)
    }

    /// Made half-way, good for a day.
    fn honest() -> UnrecordedSvid {
        UnrecordedSvid {
            serial: serial(30),
            not_after: at(30 + 24 * 60),
            issuer_revoked: false,
            serial_denied: None,
            identity_denied: false,
            bar: None,
            spent: false,
            others_returned: None,
        }
    }

    fn bar(reason: RevocationReason, minute: i64) -> Option<RecoveryBar> {
        Some(RecoveryBar { reason, made_before: at(minute), told_before: at(minute) })
    }

    const DAY: i64 = 24 * 60;

    #[test]
    fn who_comes_back_is_a_table() {
        use RevocationReason::{Decommissioned, Deleted, Superseded};
        let granted = Recovery::Granted { restored_at: at(90), perhaps_cloned: false };
        let cloned = Recovery::Granted { restored_at: at(90), perhaps_cloned: true };
        let made = |minute| UnrecordedSvid { serial: serial(minute), ..honest() };
        let ends = |minute| UnrecordedSvid { not_after: at(minute), ..honest() };
        let denied = |reason| UnrecordedSvid { serial_denied: Some(reason), ..honest() };
        let barred = |reason, minute| UnrecordedSvid { bar: bar(reason, minute), ..honest() };
        let second = |minute| UnrecordedSvid { others_returned: Some(at(90)), ..ends(minute) };
        let cases: &[(&str, UnrecordedSvid, i64, Recovery)] = &[
            ("an honest agent", honest(), 100, granted),
            ("until the epoch ends", honest(), 90 + 2 * DAY, granted),
            ("and not after", honest(), 91 + 2 * DAY, Recovery::Unknown),
            // Where clocks are apart.
            ("made while the backup was", made(-5), 100, granted),
            ("made before the backup, so it was on record", made(-6), 100, Recovery::Unknown),
            ("made by a clock that was ahead of this one", made(95), 100, granted),
            ("made after the restore", made(96), 100, Recovery::Unknown),
            // Expired before, while and after the server was away.
            ("expired before the loss", ends(59), 100, Recovery::Expired),
            ("expired with the loss", ends(60), 100, granted),
            ("expired while nobody was there to rotate it", ends(70), 100, granted),
            ("expired since the restore", ends(95), 100, granted),
            // Taken away.
            (
                "the identity is revoked",
                UnrecordedSvid { identity_denied: true, ..honest() },
                100,
                Recovery::Revoked,
            ),
            ("the serial is", denied(Decommissioned), 100, Recovery::Revoked),
            ("a newer enrollment took over", denied(Superseded), 100, Recovery::Revoked),
            ("its host was deleted", denied(Deleted), 100, Recovery::Unknown),
            (
                "what signed it was revoked",
                UnrecordedSvid { issuer_revoked: true, ..honest() },
                100,
                Recovery::Unknown,
            ),
            // Let in again since, which lets nobody in with what was held before.
            (
                "decommissioned and re-enabled since it was made",
                barred(Decommissioned, 31),
                100,
                Recovery::Revoked,
            ),
            ("re-enabled before it was made", barred(Decommissioned, 30), 100, granted),
            ("deleted since it was made", barred(Deleted, 31), 100, Recovery::Unknown),
            ("made for a new host of the name", barred(Deleted, 29), 100, granted),
            ("taken over by another machine", barred(Superseded, 40), 100, Recovery::Revoked),
            // Each once; a second one of the identity while it is good.
            ("it has come back", UnrecordedSvid { spent: true, ..honest() }, 100, Recovery::Unknown),
            ("another has", second(30 + DAY), 100, cloned),
            ("another has, and this one has expired", second(99), 100, Recovery::Expired),
            (
                "another has, after a later restore",
                UnrecordedSvid { others_returned: Some(at(95)), ..honest() },
                100,
                cloned,
            ),
            (
                "another has, after an earlier restore",
                UnrecordedSvid { others_returned: Some(at(-900)), ..ends(99) },
                100,
                granted,
            ),
            // What is revoked says so, whatever else is wrong with it.
            (
                "revoked and expired",
                UnrecordedSvid { identity_denied: true, ..ends(0) },
                100,
                Recovery::Revoked,
            ),
            (
                "revoked and spent",
                UnrecordedSvid { spent: true, ..denied(Superseded) },
                100,
                Recovery::Revoked,
            ),
        ];
        for (what, svid, now, expected) in cases {
            assert_eq!(recovery(&[epoch()], svid, at(*now)), *expected, "{what}");
            let strict = recovery(&[RestoreEpoch { strict: true, ..epoch() }], svid, at(*now));
            let refused =
                if matches!(strict, Recovery::Revoked) { Recovery::Revoked } else { Recovery::Unknown };
            assert_eq!(strict, refused, "strict: {what}");
            assert_eq!(recovery(&[], svid, at(*now)), Recovery::Unknown, "without a restore: {what}");
        }
    }

    fn any_reason() -> impl Strategy<Value = Option<RevocationReason>> {
        prop_oneof![
            4 => Just(None),
            1 => (0..RevocationReason::ALL.len()).prop_map(|at| RevocationReason::ALL.get(at).copied()),
        ]
    }

    prop_compose! {
        fn any_svid()(
            (made, lives) in (-30..220i64, 0..200i64),
            (issuer_revoked, identity_denied, spent) in (any_seldom(), any_seldom(), any_seldom()),
            serial_denied in any_reason(),
            (barred, bar_at) in (any_reason(), -30..220i64),
            others in prop_oneof![Just(None), Just(Some(90)), Just(Some(190))],
        ) -> UnrecordedSvid {
            UnrecordedSvid {
                serial: serial(made),
                not_after: at(made + lives),
                issuer_revoked,
                serial_denied,
                identity_denied,
                bar: barred.and_then(|reason| bar(reason, bar_at)),
                spent,
                others_returned: others.map(at),
            }
        }
    }

    fn any_seldom() -> impl Strategy<Value = bool> {
        prop::bool::weighted(0.1)
    }

    proptest! {
        /// Whoever is let in has every single one of these in his favour, in an epoch that is in force.
        #[test]
        fn nobody_comes_back_whom_anything_speaks_against(
            svid in any_svid(),
            now in 90..4_000i64,
            strict in any::<[bool; 2]>(),
        ) {
            let day = SignedDuration::from_hours(24);
            let epochs = [
                RestoreEpoch { strict: strict[0], ..epoch() },
                RestoreEpoch::new(at(100), at(160), at(190), day, strict[1]),
            ];
            let Recovery::Granted { restored_at, perhaps_cloned } = recovery(&epochs, &svid, at(now)) else {
                return Ok(());
            };
            prop_assert!(!svid.issuer_revoked && !svid.identity_denied && !svid.spent);
            prop_assert_eq!(svid.serial_denied, None);
            prop_assert!(svid.bar.is_none_or(|bar| svid.serial.made_at() >= bar.made_before));
            let epoch = epochs.iter().find(|epoch| epoch.restored_at == restored_at).unwrap();
            prop_assert!(epoch.in_force(at(now)) && !epoch.strict && epoch.covers(svid.serial));
            prop_assert!(!past_not_after(svid.not_after, epoch.lost_at));
            prop_assert_eq!(perhaps_cloned, svid.others_returned >= Some(restored_at));
            prop_assert!(!perhaps_cloned || !past_not_after(svid.not_after, at(now)));
        }
    }

    #[test]
    fn of_two_restores_the_newer_one_that_covers_it_counts() {
        // Restored at 90, backed up at 100, lost at 160, restored at 190.
        let newer = RestoreEpoch::new(at(100), at(160), at(190), SignedDuration::from_hours(24), false);
        let both = [epoch(), newer];
        let who = |minute: i64, ends: i64| {
            let svid = UnrecordedSvid { serial: serial(minute), not_after: at(ends), ..honest() };
            recovery(&both, &svid, at(200))
        };
        assert_eq!(who(30, DAY), Recovery::Granted { restored_at: at(90), perhaps_cloned: false });
        assert_eq!(who(130, DAY), Recovery::Granted { restored_at: at(190), perhaps_cloned: false });
        assert_eq!(
            who(95, 159),
            Recovery::Expired,
            "either may have lost it, and it had expired before the second"
        );
        assert_eq!(who(98, 70), Recovery::Expired);
    }
}
