//! What is on record: audit, timelines, findings.

pub mod audit;
pub mod finding;
pub mod timeline;
