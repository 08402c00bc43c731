//! `muster agent outputs`: the machine's identity, the trust bundle and the revocation lists as files, for programs
//! that speak no SPIFFE, and what to run when they change.
//!
//! It is a client of the Workload API, of any provider: `source` listens, `files` writes whole sets, `on_change` runs
//! commands, and a keeper for each output decides. Outputs don't wait for each other, and nothing that was written goes
//! away because the provider does.

pub mod check;
pub mod config;
pub(crate) mod difference;
pub(crate) mod files;
pub(crate) mod keeper;
pub(crate) mod on_change;
pub(crate) mod record;
pub mod run;
pub(crate) mod settled;
pub(crate) mod source;
pub mod status;
pub mod unit;
