//! Use cases, one file per family of verbs. They look at a consistent view and the time, decide, and hand
//! the store what to write. They know nothing of HTTP, gRPC or the command line.

#![warn(missing_docs)]

pub mod access;
mod decide;
pub mod insight;
pub mod issue;
pub mod keep;
mod pool;
mod state;
#[cfg(test)]
mod state_machine;
pub mod trust;
pub mod webhooks;

pub(crate) use state::entropy;
pub use state::{App, OPEN_JOIN_TOKENS_DEFAULT, Policy, Unavailable, WRITE_PACE_DEFAULT};
