//! What is on record: audit, timelines, findings.

pub mod audit;
pub mod audit_action;
pub mod audit_reason;
pub mod finding;
pub mod finding_code;
pub mod live_kind;
pub mod online;
pub mod retention;
pub mod timeline;
