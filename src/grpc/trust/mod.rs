//! `WatchTrust`: what decides whether an agent is let in, told to all who watch.
//!
//! There may be ten thousand of them, so what is told is encoded once and shared, nothing is queued for anybody, and no
//! watcher has a timer or a task of its own.

pub(super) mod door;
mod encoded;
pub(super) mod hub;
mod places;
mod wakers;
mod watch;
