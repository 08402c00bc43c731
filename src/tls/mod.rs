//! Transport security: what listeners present, whom they let in, whom clients trust, and how connections are
//! bounded.
//!
//! The only place that configures rustls. Nothing here knows HTTP routes, gRPC methods or the store; what
//! must be known of recorded certificates comes in through [`peer::Registry`].

pub mod accept;
pub mod certificate;
pub mod client;
pub mod complaint;
pub mod first_contact;
pub mod live;
pub mod peer;
pub mod pem;
pub mod provider;
pub mod refused;
pub mod server;

mod occupancy;
mod plain_http;
mod requests;
mod send_budget;
mod timely;

#[cfg(test)]
pub(crate) mod specimens;
