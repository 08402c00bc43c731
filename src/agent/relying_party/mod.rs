//! Vouching beside a relying party: programs on this machine ask whether a certificate that they were shown is a live
//! agent's, and are answered from memory, by the trust updates that the server tells within milliseconds.
//! `generated/` is checked in, so a build needs no protobuf compiler; a test regenerates and compares it.

mod ext_authz;
mod http;
pub mod listener;
pub(crate) mod proto;
pub mod settings;
pub(crate) mod voucher;
