//! What people see of the fleet: lists, history, the audit trail, events.

pub mod audit;
pub mod events;
pub mod figures;
pub mod findings;
pub mod fleet;
pub mod history;
pub mod live_counts;
pub mod online;
pub mod overview;
pub(crate) mod premises;
pub(crate) mod timeline;
