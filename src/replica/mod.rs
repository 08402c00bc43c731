//! Replicas: a copy of the change log and of snapshots of the store, sealed, in a folder or an object store.
//!
//! This is the only room that names object_store. [`place`] puts octets under names, each name once; [`layout`] says which
//! names; [`segment`] and [`data_key`] are the format; [`shipping`] writes what the store's writer leaves in the tap of its
//! log; [`history`] reads it again. The format stands in `docs/replicas.md`.

pub mod data_key;
pub mod hashed;
pub mod history;
pub mod layout;
pub mod place;
mod s3;
pub mod segment;
pub mod shipping;
pub mod state;
pub mod status;
