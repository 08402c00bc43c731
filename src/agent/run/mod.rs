//! `muster agent run`: the identity rotates, the session stays open.

pub mod backoff;
mod door;
pub(crate) mod in_memory;
pub mod readiness;
mod renewal;
pub mod reports;
pub mod rotator;
pub mod runtime;
pub(crate) mod schedule;
pub mod session;
pub(crate) mod suspend;
