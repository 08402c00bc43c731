//! Transport security: what listeners present, whom they let in, whom clients trust, and how connections are
//! bounded.
//!
//! The only place that configures rustls. Nothing here knows HTTP routes, gRPC methods or the store; what
//! must be known of recorded certificates comes in through [`Admission`](crate::domain::identity::admission::Admission).

pub mod client_config;
pub mod client_verifier;
pub mod listener;
pub mod live;
pub mod pem;
pub mod provider;
pub mod server_certificate;
pub mod server_config;
pub mod server_verifier;

#[cfg(test)]
pub(crate) mod specimens;
