//! Commands about people, programs, tenants and what they did.

pub(crate) mod api_token;
pub(crate) mod audit;
pub(crate) mod login;
pub(crate) mod tenant;
pub(crate) mod user;
pub(crate) mod webhook;
