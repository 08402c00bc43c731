//! The change log: what was promised and is not in the store's file yet, one frame for each batch of decisions.

pub(crate) mod change_log;
pub(crate) mod directory;
pub mod error;
pub mod frame;
pub(crate) mod position;
pub mod tap;
