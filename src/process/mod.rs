//! This process and its surroundings: signals, the service manager, limits and memory.

mod error;
mod hardening;
mod notify;
mod signals;
mod usage;

pub use error::ProcessError;
pub use hardening::{allow_descriptors, keep_files_private, keep_memory_private};
pub use notify::{NotifyState, notify};
pub use signals::{OnHangup, stop_on_signals};
pub use usage::ProcessUsage;
