//! The agent: it makes a key, enrolls, keeps its identity fresh and holds a session with its server.
//!
//! The key never leaves the machine, an existing identity is never overwritten by an enrollment, and nothing a
//! server answers is installed before it has been checked.

pub mod addresses;
pub mod advice;
pub mod answer;
pub mod backoff;
pub mod boot;
pub mod config;
pub mod credential_source;
pub mod dial;
pub mod enrollment;
pub mod facts;
pub mod first_enrollment;
pub mod https;
pub mod identity;
pub mod install;
pub mod keeper;
pub mod notes;
pub mod program;
pub mod proxy;
pub mod reports;
pub mod runtime;
pub mod server_trust;
pub mod server_url;
pub mod session;
pub mod sign;
mod sleep;
pub mod status;
pub mod unit;
pub mod workload;

#[cfg(test)]
pub(crate) mod test_server;

use crate::svid;
