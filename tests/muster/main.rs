//! Black-box tests: the real binary, driven as operators, agents and strangers drive it.
//!
//! Each test has a server of its own on free ports in a fresh directory, so they run side by side.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod advice;
mod agent_ca;
mod agent_hostile;
mod agent_install;
mod agent_outage;
mod agent_rotation;
mod agent_run;
mod audit;
mod authorization;
mod backup;
mod bad_requests;
mod certificates;
mod check;
mod config_files;
mod durability;
mod enroll;
mod events;
mod fleet;
mod floods;
mod http_hostile;
mod http_surface;
mod journal;
mod local_files;
mod old_stores;
mod openapi;
mod people;
mod quickstart;
mod refusals;
mod renew;
mod report;
mod reseal;
mod revocation_matrix;
mod revoke;
mod rooms;
mod rotate;
mod secrecy;
mod secrets;
mod server_clock;
mod shutdown;
mod store_full;
mod support;
mod tenants;
mod trust;
mod workload_api;
