//! The end of the audit trail, watched: the hash chain shows every change but the loss of its newest records.
//!
//! So the revocation journal, which outlives the database, is told how far the trail has come: with every
//! revocation, when the store closes, and at most once a minute in between. What was marked and is not in the
//! trail any more was cut off, or is in a newer copy of the store than this one.

use parking_lot::Mutex;

use crate::domain::insight::audit::{ChainHead, MissingRecords};
use crate::store::ReadError;
use crate::store::view::View;

/// The newest marks, all of which are kept.
const NEWEST_KEPT: usize = 32;
/// With more marks than this, every second one of the older ones goes. So they lie the further apart the older they
/// are, and the oldest stays.
const KEPT_MAX: usize = 2 * NEWEST_KEPT;

/// The marks in a journal.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// Those that tell from where on records are missing, oldest first.
    kept: Vec<ChainHead>,
    /// How many lines of the journal are marks.
    pub(crate) lines: usize,
}

impl Marks {
    pub(crate) fn add(&mut self, mark: ChainHead) {
        self.lines += 1;
        self.kept.push(mark);
        if self.kept.len() > KEPT_MAX {
            let newest = self.kept.len() - NEWEST_KEPT;
            let mut place = 0..;
            self.kept.retain(|_| place.next().is_none_or(|place| place >= newest || place % 2 == 0));
        }
    }

    pub(crate) fn kept(&self) -> impl Iterator<Item = &ChainHead> {
        self.kept.iter()
    }

    /// The journal has no other marks any more.
    pub(crate) fn only_kept(&mut self) {
        self.lines = self.kept.len();
    }

    pub(crate) fn last(&self) -> Option<&ChainHead> {
        self.kept.last()
    }

    /// Whether this may be the trail that they are of: the last one lies on it, or beyond its end.
    pub(crate) fn may_be_of(&self, view: &View<'_>) -> Result<bool, ReadError> {
        let Some(last) = self.last() else { return Ok(true) };
        Ok(last.seq > view.audit_end()? || holds(view, last)?)
    }

    /// What the trail has lost. Only the last mark counts: those before it may be of a trail that was given up
    /// on the record.
    pub(crate) fn missing_from(&self, view: &View<'_>) -> Result<Option<MissingRecords>, ReadError> {
        let Some(last) = self.last() else { return Ok(None) };
        if holds(view, last)? {
            return Ok(None);
        }
        let Some(known) = view.known_loss()?.filter(|known| known.missing.seen == *last) else {
            return Ok(Some(MissingRecords { after: self.last_common(view, last)?, seen: last.clone() }));
        };
        if let Some(stated) = &known.stated
            && holds(view, stated)?
        {
            return Ok(None);
        }
        let end = view.audit_end()?;
        let after = known.missing.after.map(|after| after.min(end));
        Ok(Some(MissingRecords { after, ..known.missing }))
    }

    /// The last record that the trail has in common with the one that had `last`, as far as that can be known.
    fn last_common(&self, view: &View<'_>, last: &ChainHead) -> Result<Option<u64>, ReadError> {
        let end = view.audit_end()?;
        // The lowest mark that is not in the trail: it went another way before that.
        let mut lost = last.seq;
        let mut common = None;
        for mark in self.kept.iter().rev() {
            if mark.seq >= lost {
                continue;
            }
            if holds(view, mark)? {
                common = Some(mark.seq);
                break;
            }
            lost = mark.seq;
        }
        // Where nothing says that it went on from there, it ends where it was cut.
        Ok(if end < lost { Some(end) } else { common })
    }
}

/// Whether the trail has the record that a mark names.
fn holds(view: &View<'_>, mark: &ChainHead) -> Result<bool, ReadError> {
    match view.audit_record(mark.seq) {
        Ok(record) => Ok(record.is_some_and(|record| record.hash == mark.hash)),
        // It is there; that it is damaged is found by whoever walks the chain.
        Err(ReadError::Checksum { .. } | ReadError::Record { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// What was found missing when the store was last opened, until that is on record.
#[derive(Debug, Default)]
pub(crate) struct Loss(Mutex<Option<MissingRecords>>);

impl Loss {
    pub(crate) fn found(&self, missing: Option<MissingRecords>) {
        *self.0.lock() = missing;
    }

    pub(crate) fn accept(&self) {
        self.found(None);
    }

    pub(crate) fn get(&self) -> Option<MissingRecords> {
        self.0.lock().clone()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use redb::ReadableDatabase;

    use super::*;
    use crate::domain::insight::audit::{AuditEvent, Outcome};
    use crate::domain::insight::audit_action::AuditAction;
    use crate::store::change::Change;
    use crate::store::layers::snapshot::Snapshot;
    use crate::store::opening::open;
    use crate::store::rows::Table;

    /// A store in memory, whose trail's records tell one `branch` from another.
    struct Trail(redb::Database);

    impl Trail {
        /// With `own` records behind those of `others`.
        fn new(parts: &[(&str, u64)]) -> Self {
            let backend = redb::backends::InMemoryBackend::new();
            let database = redb::Builder::new().create_with_backend(backend).unwrap();
            open::initialise(&database, Timestamp::UNIX_EPOCH).unwrap();
            let this = Self(database);
            parts.iter().for_each(|(branch, records)| this.go_on(branch, *records));
            this
        }

        fn go_on(&self, branch: &str, records: u64) {
            let event = || AuditEvent {
                actor: branch.to_owned(),
                source: "test".to_owned(),
                tenant: None,
                action: AuditAction::TenantCreate,
                target: String::new(),
                outcome: Outcome::Success,
                reason: None,
                detail: BTreeMap::new(),
                names: BTreeMap::new(),
                host: None,
            };
            self.write((0..records).map(|_| Change::Audit(event())));
        }

        fn write(&self, changes: impl Iterator<Item = Change>) {
            let mut changes = changes;
            open::write(&self.0, |batch| changes.try_for_each(|c| batch.apply(c, Timestamp::UNIX_EPOCH)))
                .unwrap();
        }

        fn view<T>(&self, read: impl FnOnce(&View<'_>) -> T) -> T {
            let snapshot = Snapshot::of_file(self.0.begin_read().unwrap());
            read(&View::new(&snapshot))
        }

        fn mark(&self, seq: u64) -> ChainHead {
            let record = self.view(|view| view.audit_record(seq)).unwrap().unwrap();
            ChainHead { seq, hash: record.hash }
        }

        fn missing(&self, marks: &[ChainHead]) -> Option<(Option<u64>, u64)> {
            let mut all = Marks::default();
            marks.iter().for_each(|mark| all.add(mark.clone()));
            let missing = self.view(|view| all.missing_from(view)).unwrap();
            missing.map(|missing| (missing.after, missing.seen.seq))
        }
    }

    #[test]
    fn the_place_of_the_cut_is_named_as_far_as_it_is_known() {
        let whole = Trail::new(&[("a", 20)]);
        let marks = |seqs: &[u64]| seqs.iter().map(|seq| whole.mark(*seq)).collect::<Vec<_>>();
        assert_eq!(whole.missing(&marks(&[5, 20])), None);
        let cut = Trail::new(&[("a", 10)]);
        assert_eq!(cut.missing(&marks(&[5, 20])), Some((Some(10), 20)));
        assert_eq!(Trail::new(&[]).missing(&marks(&[5, 20])), Some((Some(0), 20)));
        // From an older copy it went on elsewhere, not as far or farther than the other came.
        for more in [5, 30] {
            let copy = Trail::new(&[("a", 10), ("b", more)]);
            assert_eq!(copy.missing(&marks(&[8, 12, 20])), Some((Some(8), 20)), "{more}");
            assert_eq!(copy.missing(&marks(&[12, 20])), Some((None, 20)), "{more}");
        }
        // What a trail that was given up had in common with this one says nothing of the last one.
        let marks = [marks(&[10]), [12, 14].map(|seq| Trail::new(&[("a", 10), ("b", 4)]).mark(seq)).to_vec()];
        let abandoned = [marks[0].clone(), vec![whole.mark(20)], marks[1].clone()].concat();
        assert_eq!(whole.missing(&abandoned), Some((Some(10), 14)));
    }

    #[test]
    fn an_acceptance_counts_only_with_the_record_that_states_it() {
        let marks = [Trail::new(&[("a", 20)]).mark(20)];
        let missing = MissingRecords { after: Some(10), seen: marks[0].clone() };
        let stating = || [Change::AcceptLoss(missing.clone())].into_iter();
        let copy = Trail::new(&[("a", 10), ("b", 1)]);
        copy.write(stating());
        assert_eq!(copy.missing(&marks), None);
        let transaction = copy.0.begin_write().unwrap();
        let mut audit = transaction.open_table(Table::Audit.definition()).unwrap();
        audit.remove(11_u64.to_be_bytes().as_slice()).unwrap();
        drop(audit);
        transaction.commit().unwrap();
        assert_eq!(copy.missing(&marks), Some((Some(10), 20)));
    }

    #[test]
    fn what_is_written_after_a_loss_was_found_does_not_move_it() {
        let whole = Trail::new(&[("a", 20)]);
        let marks = [whole.mark(20)];
        let copy = Trail::new(&[("a", 10)]);
        let missing = MissingRecords { after: Some(10), seen: marks[0].clone() };
        copy.write([Change::FindLoss(missing.clone())].into_iter());
        for _ in 0..3 {
            copy.go_on("b", 5);
            assert_eq!(copy.missing(&marks), Some((Some(10), 20)));
        }
        // Accepted, it is over without another mark; the next one counts again.
        copy.write([Change::AcceptLoss(missing)].into_iter());
        assert_eq!(copy.missing(&marks), None);
        let later = [copy.mark(25), Trail::new(&[("c", 40)]).mark(40)];
        assert_eq!(copy.missing(&[&marks[..], &later].concat()), Some((Some(25), 40)));
    }

    #[test]
    fn old_marks_lie_far_apart_and_reach_far_back() {
        let mut marks = Marks::default();
        for seq in 1..=100_000 {
            marks.add(ChainHead { seq, hash: String::new() });
        }
        let seqs: Vec<_> = marks.kept().map(|mark| mark.seq).collect();
        assert!(seqs.len() <= KEPT_MAX && seqs.is_sorted(), "{seqs:?}");
        assert_eq!((seqs[0], *seqs.last().unwrap(), marks.lines), (1, 100_000, 100_000));
        assert!(seqs.windows(2).rev().take(NEWEST_KEPT - 1).all(|pair| pair[0] + 1 == pair[1]), "{seqs:?}");
    }
}
