//! Names and certificates of agents, and when they end.

pub mod admission;
pub mod clock_marks;
pub mod deny;
pub mod dns_suffix;
pub mod hierarchy;
pub mod jwt_issuer;
pub mod jwt_keys;
pub mod outage;
pub mod reserved_ids;
pub mod restore_epoch;
pub mod rotation;
pub mod serial;
pub mod spiffe;
pub mod subject;
pub mod trust_version;
