//! Routes that need no login.

pub(crate) mod agent_ca;
pub(crate) mod enroll;
pub(crate) mod health;
pub(crate) mod install;
pub(crate) mod metric_families;
pub(crate) mod metrics;
