//! Commands that run the server and look after its data.

pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod envelope;
mod leash;
pub(crate) mod quickstart;
pub(crate) mod replica;
pub(crate) mod restore;
pub(crate) mod restored;
pub(crate) mod serve;
pub(crate) mod status;
