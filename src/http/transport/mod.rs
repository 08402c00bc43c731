//! How requests come in: over TLS, without TLS, over the UNIX socket, in process, through a proxy.

pub mod origin;
pub mod plain;
pub(crate) mod proxies;
pub mod socket;
pub mod tls;
