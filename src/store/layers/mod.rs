//! What stands above the file: changes that are in the change log, and not in the file yet.

pub(crate) mod checkpoint;
pub(crate) mod delta;
pub(crate) mod merge;
pub(crate) mod overlay;
pub(crate) mod snapshot;
