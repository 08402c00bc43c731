//! Muster gives every machine a cryptographic identity, and takes it away again.
//!
//! The modules in reading order; `src/ARCHITECTURE.md` is the map.

pub mod domain;

pub mod clock;
pub mod durable;
pub mod error_chain;
pub mod pem;
pub mod process;
pub mod secret_file;
pub mod shell;
pub mod svid;

pub mod ca;
pub mod store;
pub mod tls;

pub mod app;

pub mod api;
pub mod grpc;
pub mod http;

pub mod config;
pub mod server;
pub mod telemetry;

pub mod agent;

pub mod cli;
