//! What load is made of, for every benchmark of a real server: machines with their requests, clients that send them, the server
//! as a child process, and what both sides and the disk spent.

pub mod account;
pub mod arguments;
pub mod closed_loop;
pub mod device;
pub mod dial;
pub mod figures;
pub mod https;
pub mod machines;
pub mod meter;
pub mod renewals;
pub mod server;
