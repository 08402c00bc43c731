//! What a stranger can bring about again and again is said at most once a second, so that he can't fill the log.

use std::time::{Duration, Instant};

use crate::clock;

const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct LogLimit {
    last: Option<Instant>,
}

impl LogLimit {
    /// Whether it is time to say it again; then it counts as said.
    pub fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= EVERY);
        if due {
            self.last = Some(clock::monotonic());
        }
        due
    }
}
