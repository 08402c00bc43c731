//! The revocation journal: what outlives the database, and how far the audit trail has come.

pub(crate) mod audit_checkpoints;
mod comparison;
pub(crate) mod facts;
pub(crate) mod file;
pub(crate) mod line;
pub(crate) mod net;
