//! Muster gives every machine a cryptographic identity, and takes it away again.
//!
//! The modules in reading order; `src/ARCHITECTURE.md` is the map.

pub mod domain;

pub mod clock;

pub mod app;

pub mod tls;

pub mod grpc;
