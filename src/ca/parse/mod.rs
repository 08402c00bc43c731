//! Strict readers of what comes from outside or comes back: requests, certificates, revocation lists.

pub mod csr;
pub(crate) mod der;
pub(crate) mod ecdsa;
pub(crate) mod lint;
pub mod presented;
pub mod revocation_list;
pub(crate) mod signed;
pub(crate) mod validity;
