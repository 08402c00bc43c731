//! The way to the server: its addresses, the proxy between, and one connection.

pub mod addresses;
pub mod dial;
pub mod https;
pub mod proxy;
pub mod server_url;
pub(crate) mod session_connection;
