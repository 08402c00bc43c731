//! The listener of both ports: accepted, shaken hands with, served, bounded, and ended.

pub mod accept;
pub(crate) mod admission;
mod limits;
pub mod log_limit;
pub(crate) mod not_opened;
pub(crate) mod plain_http;
pub mod refused;
pub(crate) mod requests;
pub(crate) mod send_budget;
pub(crate) mod stall;
