//! Addresses, networks and pins.

pub mod crl_base;
pub mod host_port;
pub mod networks;
pub mod pin;
pub mod public_url;
