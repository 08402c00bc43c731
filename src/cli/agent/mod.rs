//! `muster agent`: the commands of a machine that has an identity.

pub mod command;
pub(crate) mod contact;
pub(crate) mod install;
mod outputs;
