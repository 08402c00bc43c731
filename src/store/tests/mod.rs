//! The store against loss of power.

#[cfg(test)]
pub(crate) mod lost_writes;
#[cfg(test)]
pub(crate) mod power_cut;
