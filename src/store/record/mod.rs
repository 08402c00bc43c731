//! The shapes that go to disk: JSON with named fields, so that a field can be added without a migration.
//!
//! A domain value knows nothing of them. Its record states the fields once more, in the order and under the names that
//! they have on disk, and `serde` holds the two against each other: a field that one lacks fails the build.

mod encoding;
mod enroll;
mod host;
mod people;
mod upkeep;

pub(crate) use encoding::{decode, encode};
pub(crate) use host::{ReportRecord, with};
pub(crate) use upkeep::{ClockMarksRecord, DeniedSerialRecord};
