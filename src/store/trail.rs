//! The end of the audit trail, watched: the hash chain shows every change but the loss of its newest records.
//!
//! So the revocation journal, which outlives the database, is told how far the trail has come: with every
//! revocation, when the store closes, and at most once a minute in between. What was marked and is not in the
//! trail any more was cut off, or is in a newer copy of the store than this one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::ReadError;
use super::view::View;
use crate::domain::audit::{ChainHead, MissingRecords};

/// Marks that are kept to tell from where on records are missing.
pub(super) const MARKS_KEPT: usize = 32;

/// The marks in a journal.
#[derive(Debug, Default)]
pub(super) struct Marks {
    newest: VecDeque<ChainHead>,
    /// How many lines of the journal are marks.
    pub(super) lines: usize,
}

impl Marks {
    pub(super) fn add(&mut self, mark: ChainHead) {
        if self.newest.len() == MARKS_KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(mark);
        self.lines += 1;
    }

    pub(super) fn last(&self) -> Option<&ChainHead> {
        self.newest.back()
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
            for mark in self.newest.iter().rev() {
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
