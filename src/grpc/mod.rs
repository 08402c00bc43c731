//! The tonic edge: what enrolled agents reach over mutual TLS.
//!
//! Every request passes `gate` first, which alone decides whether a peer may still speak; a session asks
//! it again for each message. `generated/` is checked in, so a build needs no protobuf compiler; a test
//! regenerates and compares it.

pub mod codec;
#[cfg(test)]
pub(crate) mod generated_code;
pub mod proto;
pub(crate) mod reconnect_window;
pub mod server;

mod gate;
pub(crate) mod renew;
mod report;
mod rotation_requests;
mod service;
pub(crate) mod status;
mod trust;
