//! People, programs and tenants, and what they may do.

pub mod access;
pub mod api_token;
pub(crate) mod guessable;
pub mod permission;
pub mod session;
pub mod tenant;
pub mod user;
