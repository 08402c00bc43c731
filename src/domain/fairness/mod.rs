//! Who comes next and who makes way where room is short.

pub mod fair_eviction;
pub mod rate;
pub mod turns;
