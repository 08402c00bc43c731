#![doc = include_str!("ARCHITECTURE.md")]
//!
//! # Where to begin
//!
//! The modules below stand in reading order. [`domain`] has the words: [`domain::host::Host`],
//! [`domain::enroll::enrollment::Enrollment`], [`domain::identity::deny::DenyList`]. [`app::App`] has the use cases as its
//! methods; [`app::issue::revoke`] is a good first one. [`store::Store`] makes their changes durable, [`store::Change`] lists
//! them. [`http::router`](fn@http::router) and [`grpc::server`] are the doors, [`server::Server`] puts all of it together,
//! [`agent::run::runtime`] is the other side.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests measure, and set times of their own"))]

/// An answer costs some hundred allocations on several threads; with this allocator a tenth less time than with glibc's, and a
/// server that is linked to musl is no slower than one that is not.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod domain;

pub mod clock;
pub mod durable;
pub mod error_chain;
pub mod pem;
pub mod process;
pub mod request_id;
pub mod secret_file;
pub mod shell;
pub mod svid;

pub mod ca;
pub mod store;
pub mod tls;
pub mod vouch;
pub mod webhook;

pub mod replica;

pub mod app;

pub mod api;
pub mod grpc;
pub mod http;

pub mod config;
pub mod server;
pub mod telemetry;

pub mod agent;

pub mod cli;

#[cfg(fuzzing)]
pub mod fuzzing;
