//! The agent as a service of this machine.

pub mod program;
pub mod service;
pub mod unit;
