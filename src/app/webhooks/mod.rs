//! Webhooks: who is told, what waits to be told, and what comes about by time alone.

pub mod by_time;
pub mod manage;
pub mod message;
pub mod queue;
