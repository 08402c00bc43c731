//! The root where it is kept: its private key, what it is asked to sign there, and how another root takes its place.

pub mod change;
pub mod errand;
pub mod key;
