//! Random octets for serials, from the same module that makes the keys.

use aws_lc_rs::rand;
use jiff::Timestamp;

use crate::domain::identity::serial::Serial;

/// The system gives no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoEntropy;

/// A serial for a CA's own certificate.
pub(crate) fn serial(now: Timestamp) -> Result<Serial, NoEntropy> {
    let mut entropy = [0; 10];
    rand::fill(&mut entropy).map_err(|_| NoEntropy)?;
    Ok(Serial::new(now, entropy))
}
