//! What the topic files stand on: the real binary, and clients that were not written for it.

pub mod agent;
pub mod cli;
pub mod client;
pub mod clock;
pub mod disk;
pub mod files;
pub mod fleet;
pub mod frames;
pub mod grpc;
pub mod hierarchy;
pub mod hostile;
pub mod http;
pub mod identity;
pub mod impostor;
pub mod keys;
pub mod notify;
pub mod process;
pub mod profile;
pub mod provider;
pub mod server;
pub mod serving;
pub mod source;
pub mod specimens;
pub mod stream;
pub mod wait;
