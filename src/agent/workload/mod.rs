//! The SPIFFE Workload API: programs on this machine fetch its SVID from the agent, and every rotation of it.
//!
//! The identity is the machine's, the same for every caller, and it comes with its private key. Who may have it
//! is therefore decided by the file system: the socket has mode 0660, for the user and the group that the agent
//! runs as. A program is let in by putting its user into that group. An SVID that has run out is not given out.
//! `generated/` is checked in, so a build needs no protobuf compiler; a test regenerates and compares it.

mod authority;
pub(crate) mod connection_limit;
mod health;
pub mod jwt;
pub mod listener;
pub mod local_proto;
pub(crate) mod local_service;
mod offer;
pub mod proto;
mod sds;
mod service;

#[cfg(fuzzing)]
pub(crate) use authority::fix_authority;
pub use connection_limit::{ConnectionLimit, PER_USER, PER_USER_USUAL, TurnedAway};
pub use offer::{Offer, Offered};
