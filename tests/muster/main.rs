//! Black-box tests: the real binary, driven as operators, agents and strangers drive it.
//!
//! Each test has a server of its own on free ports in a fresh directory, so they run side by side.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod account;
mod advice;
mod agent_ca;
mod agent_hostile;
mod agent_install;
mod agent_network;
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
mod envelope;
mod events;
mod fleet;
mod floods;
mod heartbeats;
mod http_hostile;
mod http_surface;
mod install;
mod journal;
mod keep_alive;
mod local_files;
mod old_stores;
mod openapi;
mod people;
mod printed;
mod quickstart;
mod reach;
mod readiness;
mod refusals;
mod renew;
mod report;
mod reseal;
mod reverse_proxies;
mod revocation_matrix;
mod revoke;
mod rights;
mod rooms;
mod rotate;
mod secrecy;
mod secret_files;
mod secrets;
mod server_clock;
mod settings;
mod shutdown;
mod store_full;
mod support;
mod tenants;
mod trail;
mod trust;
mod trust_documents;
mod untaken_answers;
mod workload_api;
mod write_pace;
