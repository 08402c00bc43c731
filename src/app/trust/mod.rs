//! What decides whether an agent is let in, as it is told to those who watch: the trust bundle, the denied serials and the
//! revocation lists.

pub(crate) mod agent_ca_rows;
pub mod feed;
pub mod log;
