//! The store against loss of power, and against a disk that gives back something else than it was given.

#[cfg(test)]
mod damage;
#[cfg(test)]
pub(crate) mod lost_writes;
#[cfg(test)]
pub(crate) mod power_cut;
