//! What proves that a store is whole.

pub(crate) mod check;
