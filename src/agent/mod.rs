//! The agent: it makes a key, enrolls, keeps its identity fresh and holds a session with its server.
//!
//! The key never leaves the machine, an existing identity is never overwritten by an enrollment, and nothing a
//! server answers is installed before it has been checked.

pub(crate) mod account;
pub mod advice;
pub mod config;
pub mod connect;
pub mod enroll;
pub mod facts;
pub mod identity;
pub mod install;
pub mod local_socket;
pub mod outputs;
pub mod relying_party;
pub mod run;
pub mod state_file;
pub mod status;
pub(crate) mod trust;
pub mod workload;

#[cfg(test)]
pub(crate) mod test_server;
