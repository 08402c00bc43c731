//! What comes over the Workload API's socket, from any provider, checked and put together.

pub(crate) mod answer;
pub(crate) mod listen;
pub(crate) mod lists;
pub(crate) mod material;
pub(crate) mod socket;
