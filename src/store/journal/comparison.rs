//! What the database and the journal know of denials, side by side.

use std::collections::{BTreeMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::domain::identity::clock_marks::{ClockMarks, DENIALS_KEPT};
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::serial::Serial;
use crate::store::ReadError;
use crate::store::view::View;

/// How long after a certificate's expiry its revocation can still matter: longer than any grace for late
/// rotations.
const MATTERS_FOR: SignedDuration = SignedDuration::from_hours(100 * 24);

/// What the database and the journal know, side by side.
pub(super) struct Comparison<'v, 'r> {
    view: &'v View<'r>,
    now: Timestamp,
    marks: ClockMarks,
    /// What the database denies and the journal has not mentioned yet.
    unwritten_serials: BTreeMap<Serial, Denial>,
    denied_identities: BTreeMap<AgentRef, Timestamp>,
    /// What the journal denies in the end.
    journal_identities: BTreeMap<AgentRef, Timestamp>,
    unknown_serials: Vec<Denial>,
    seen: HashSet<Serial>,
}

impl<'v, 'r> Comparison<'v, 'r> {
    pub(super) fn begin(view: &'v View<'r>, now: Timestamp) -> Result<Self, ReadError> {
        let mut this = Self {
            view,
            now,
            marks: view.clock_marks()?,
            unwritten_serials: BTreeMap::new(),
            denied_identities: BTreeMap::new(),
            journal_identities: BTreeMap::new(),
            unknown_serials: Vec::new(),
            seen: HashSet::new(),
        };
        view.denials(|denial| match denial {
            Denial::Serial { serial, .. } => {
                this.unwritten_serials.insert(serial, denial);
            }
            Denial::Identity { identity, since } => {
                this.denied_identities.insert(identity, since);
            }
            Denial::Lifted { .. } => {}
        })?;
        Ok(this)
    }

    pub(super) fn journal_says(&mut self, denial: Denial) -> Result<(), ReadError> {
        match denial {
            Denial::Serial { serial, not_after, .. } => {
                if self.unwritten_serials.remove(&serial).is_none()
                    && self.lacks(serial, not_after)?
                    && self.seen.insert(serial)
                {
                    self.unknown_serials.push(denial);
                }
            }
            Denial::Identity { identity, since } => {
                self.journal_identities.insert(identity, since);
            }
            Denial::Lifted { identity, .. } => {
                self.journal_identities.remove(&identity);
            }
        }
        Ok(())
    }

    /// Whether the database does not know of a revocation that can still matter: one that it would not have
    /// forgotten by itself. What it has forgotten, it may still know from the enrollment.
    fn lacks(&self, serial: Serial, not_after: Timestamp) -> Result<bool, ReadError> {
        let past = |kept| self.marks.long_past(serial, not_after, kept, self.now);
        if past(MATTERS_FOR) || self.view.serial_denied(serial)? {
            return Ok(false);
        }
        Ok(match self.view.any_tenant().enrollment(serial)? {
            Some(enrollment) => enrollment.revocation.is_none(),
            None => !past(DENIALS_KEPT),
        })
    }

    /// What the journal lacks, and what the database lacks.
    pub(super) fn end(self) -> (Vec<Denial>, Vec<Denial>) {
        let absent_from = |from: &BTreeMap<AgentRef, Timestamp>, of: &BTreeMap<AgentRef, Timestamp>| {
            let absent = of.iter().filter(|(identity, _)| !from.contains_key(identity));
            let denial = |(identity, since): (&AgentRef, &Timestamp)| Denial::Identity {
                identity: identity.clone(),
                since: *since,
            };
            absent.map(denial).collect::<Vec<_>>()
        };
        let mut unwritten: Vec<_> = self.unwritten_serials.into_values().collect();
        unwritten.extend(absent_from(&self.journal_identities, &self.denied_identities));
        let mut unknown = self.unknown_serials;
        unknown.extend(absent_from(&self.denied_identities, &self.journal_identities));
        (unwritten, unknown)
    }
}
