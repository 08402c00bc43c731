//! Values and the rules about values.
//!
//! Everything here is plain data: no I/O, no async, no clock, no wire format. Time and randomness are
//! arguments. A value that exists has been checked, so nothing above parses or validates it again.

pub mod access;
pub mod api_token;
pub mod audit;
pub mod code;
pub mod credential;
pub mod deny;
pub mod enrollment;
pub mod enrollment_secret;
pub mod finding;
mod guessable;
pub mod hierarchy;
pub mod host;
pub mod host_port;
pub mod ids;
pub mod join_lines;
pub mod join_link;
pub mod join_token;
pub mod label;
pub mod networks;
pub mod outage;
pub mod permission;
pub mod pin;
pub mod public_url;
pub mod rotation;
pub mod serial;
pub mod session;
pub mod shares;
pub mod spiffe;
pub mod tenant;
pub mod timeline;
pub mod turns;
pub mod user;
pub mod version;

#[cfg(test)]
pub mod testing;
