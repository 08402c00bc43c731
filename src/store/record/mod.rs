//! The shapes that go to disk: JSON with named fields, so that a field can be added without a migration.
//!
//! A domain value of several fields knows nothing of them, and only the store can write one to disk. Its record states
//! the fields once more, in the order and under the names that they have there, and the compiler holds the two against
//! each other: a field that one lacks fails the build. What is one text or one word (ids, names, closed sets), what a
//! person likes to see, and an audit record, whose hash covers what is written, derive serde themselves.

mod encoding;
mod enroll;
mod host;
mod people;
mod restored;
mod upkeep;
mod webhook;

pub(super) use encoding::{FromDisk, ToDisk, decode, encode};
pub(super) use host::{ReportRecord, StoredHost};
pub(super) use people::SessionRecord;
pub(super) use restored::{EpochsRecord, suspended_key, suspended_of_key};
pub(super) use upkeep::{ClockMarksRecord, DeniedSerialRecord};
