//! `muster selftest`: the promises of the product, kept on a user's own machine and measured while that is watched.

mod command;
mod crowd;
mod drawing;
mod figures;
mod place;
mod report;
mod server;
mod stages;
mod trial;

pub(crate) use command::SelftestCommand;
