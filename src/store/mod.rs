//! The store: one redb file and a change log beside it, one writer thread, any number of readers.
//!
//! This is the only room that names redb. Requests queue a decision; the writer runs the decisions that are
//! waiting as one batch, appends what they change to the change log as one frame, publishes what others must know, and
//! then answers. Nothing is answered that is not on disk. A checkpoint puts many frames into the file at once; until then
//! readers see them above it.

#![warn(missing_docs)]

mod apply;
pub mod backup;
mod by_tenant;
mod change;
mod error;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod handle;
pub mod journal;
pub(crate) mod layers;
pub mod log;
pub mod opening;
pub(crate) mod proof;
mod published;
mod queued;
pub(crate) mod record;
mod restore;
mod rows;
#[cfg(test)]
mod tests;
mod view;
mod write_health;
mod writer;

pub use backup::{BackedUp, BackedUpFile, SnapshotWriteError};
pub use by_tenant::Numbered;
pub use change::{Change, RestoredChange, Verdict, WebhookChange};
pub use error::ReadError;
pub use handle::{BesideTheFile, CHANGES_NAME, FILE_NAME, JOURNAL_NAME, Store, StoreReader};
pub use journal::file::{JournalError, OnlyInJournal};
pub use log::error::ChangeLogError;
pub use log::frame::FrameDigest;
pub use log::tap::{FramePlace, FrameTap, KnownPlace, TappedFrame, Unbroken};
pub use opening::checked::CHECK_THREAD;
pub use opening::compaction::CompactionError;
pub use opening::durability::Durability;
pub use opening::open::OpenError;
pub use proof::check::{CheckedTable, Damage, Proof};
pub use published::{HostChange, Publish, Published};
pub use queued::{Queued, WriteError, WriteQueue};
pub use restore::{Restoring, SnapshotReadError, TakeFile};
pub use view::retained::{OldBy, PastRetention};
pub use view::tenant::TenantRows;
pub use view::{View, day_of};
pub use write_health::CommitFigures;
