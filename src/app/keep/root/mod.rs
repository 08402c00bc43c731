//! The root of the agent CA: what it is asked for where its key is kept, and another one in its place.

pub mod change;
pub mod errands;
