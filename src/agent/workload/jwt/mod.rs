//! JWT-SVIDs for programs on this machine: fetched from the server, kept for a while, and checked with its keys.

mod bundle;
mod bundle_keeper;
mod desk;
mod token_cache;
mod validation;

pub use bundle_keeper::BundleSource;
pub(crate) use desk::JwtDesk;
