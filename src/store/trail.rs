//! The end of the audit trail, watched: the hash chain shows every change but the loss of its newest records.
//!
//! So the revocation journal, which outlives the database, is told how far the trail has come: with every
//! revocation, when the store closes, and at most once a minute in between. What was marked and is not in the
//! trail any more was cut off, or is in a newer copy of the store than this one.

use std::sync::{Mutex, PoisonError};

use super::ReadError;
use super::view::View;
use crate::domain::audit::{ChainHead, MissingRecords};

/// The newest marks, all of which are kept.
const NEWEST_KEPT: usize = 32;
/// With more marks than this, every second one of the older ones goes. So they lie the further apart the older they
/// are, and the oldest stays.
const KEPT_MAX: usize = 2 * NEWEST_KEPT;

/// The marks in a journal.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Those that tell from where on records are missing, oldest first.
    kept: Vec<ChainHead>,
    /// How many lines of the journal are marks.
    pub(super) lines: usize,
}

impl Marks {
    pub(super) fn add(&mut self, mark: ChainHead) {
        self.lines += 1;
        self.kept.push(mark);
        if self.kept.len() > KEPT_MAX {
            let newest = self.kept.len() - NEWEST_KEPT;
            let mut place = 0..;
            self.kept.retain(|_| place.next().is_none_or(|place| place >= newest || place % 2 == 0));
        }
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &ChainHead> {
        self.kept.iter()
    }

    /// The journal has no other marks any more.
    pub(super) fn only_kept(&mut self) {
        self.lines = self.kept.len();
    }

    pub(super) fn last(&self) -> Option<&ChainHead> {
        self.kept.last()
    }

    /// What the trail has lost. Only the last mark counts: those before it may be of a trail that was given up
    /// on the record.
    pub(super) fn missing_from(&self, view: &View<'_>) -> Result<Option<MissingRecords>, ReadError> {
        let Some(last) = self.last() else { return Ok(None) };
        if holds(view, last)? {
            return Ok(None);
        }
        let end = view.audit_end()?;
        let mut after = end.min(last.seq.saturating_sub(1));
        if end >= last.seq {
            // It was written on since, so where it was cut can only be said as closely as the marks lie.
            after = 0;
            for mark in self.kept.iter().rev() {
                if holds(view, mark)? {
                    after = mark.seq;
                    break;
                }
            }
        }
        Ok(Some(MissingRecords { after, seen: last.seq }))
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

/// What was found missing when the store was opened, until that is on record.
#[derive(Debug, Default)]
pub(super) struct Loss(Mutex<Option<MissingRecords>>);

impl Loss {
    pub(super) fn found(&self, missing: Option<MissingRecords>) {
        if missing.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = missing;
        }
    }

    pub(super) fn accept(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn get(&self) -> Option<MissingRecords> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
