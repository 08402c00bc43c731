//! Use cases, one file per family of verbs. They decide; the store writes.

pub mod presence;
