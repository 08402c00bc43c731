//! The certificate authority: the only place where a request is accepted, a certificate signed, a key sealed.
//!
//! A [`parse::csr::VerifiedCsr`] has passed every check of a request and lends nothing but its public key; an
//! [`authority::Authority`] holds the unsealed issuing key and signs what the profiles allow;
//! a [`parse::presented::PresentedChain`] is a certificate of ours that came back. Nothing here knows about the
//! store, the network or who may ask for what.

pub mod authority;
pub mod crl;
pub mod described;
pub mod envelope;
pub mod hierarchy;
pub mod jwt;
pub mod parse;
pub mod revocation;
pub mod root;
pub mod root_list;
pub mod seal;
pub mod server;

mod ca_certificate;
mod entropy;
mod issuing_key;
mod profile;

#[cfg(test)]
pub(crate) mod testing;
