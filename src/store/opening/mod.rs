//! Opening the file: created, migrated, tried as a dry run, proved whole, opened anew after a failed commit, and compacted.

pub(crate) mod checked;
pub mod compaction;
pub(crate) mod disk;
pub(crate) mod dry_run;
pub(crate) mod durability;
pub(crate) mod migrate;
pub(crate) mod open;
