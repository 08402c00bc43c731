//! The routes, one file per family, and the table of all of them.

pub(crate) mod account;
pub(crate) mod audit;
pub(crate) mod events;
pub(crate) mod hosts;
pub(crate) mod local;
pub(crate) mod overview;
pub(crate) mod programs;
pub(crate) mod public;
pub(crate) mod restored;
pub(crate) mod secrets;
pub(crate) mod sessions;
pub(crate) mod table;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod users;
pub(crate) mod vouch;
