//! The store against loss of power, against a disk that gives back something else than it was given, and while it is compacted.

#[cfg(test)]
mod compaction;
#[cfg(test)]
mod damage;
#[cfg(test)]
pub(crate) mod lost_writes;
#[cfg(test)]
pub(crate) mod power_cut;
