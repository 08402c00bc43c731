//! The axum edge: one router, reached over TLS, over the UNIX socket and in process.
//!
//! Handlers translate: they read input, call one use case and convert its answer. This is the only room that
//! knows JSON shapes and status codes.

mod answers;
mod document;
pub(crate) mod findings;
pub mod input;
mod jwt_documents;
pub mod openapi;
pub mod problem;
pub mod reach;
mod reply;
mod router;
pub mod routes;
mod state;
pub mod transport;
pub mod trust_documents;
mod ui;

pub use router::router;
pub use state::{ServerFacts, Shared};
