//! Values and the rules about values.
//!
//! Everything here is plain data: no I/O, no async, no clock, no wire format. Time and randomness are
//! arguments. A value that exists has been checked, so nothing above parses or validates it again.

#![warn(missing_docs)]

pub mod backups;
pub mod code;
pub mod duration;
pub mod enroll;
pub mod fairness;
pub mod host;
pub mod identity;
pub mod ids;
pub mod insight;
pub mod label;
pub mod network;
pub(crate) mod octets;
pub mod people;
pub mod printable;
pub mod replicas;
pub(crate) mod sha256;
pub(crate) mod text;
pub mod version;
pub mod vocabulary;
pub mod webhook;
pub mod withdrawal;

#[cfg(test)]
pub mod testing;
