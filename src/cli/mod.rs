//! The command line: one file per command.
//!
//! Everything but `serve`, `quickstart`, `selftest` and `agent` is a client of the router, reached over the UNIX socket
//! while a server runs and in process while none does.

pub mod agent;
pub mod authority;
mod command;
mod completions;
mod context;
mod control;
pub mod fleet;
pub mod manual;
pub mod output;
pub mod people;
mod received;
pub mod selftest;
mod ttl;
pub mod upkeep;
mod word;

pub use command::{Global, main};
