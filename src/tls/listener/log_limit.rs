//! What a stranger can bring about again and again is said at most once a second, so that he can't fill the log.

use std::time::Instant;

use crate::domain::fairness::rate::{Bucket, Rate};

const RATE: Rate = Rate { burst: 1.0, per_second: 1.0 };

#[derive(Debug, Default)]
pub struct LogLimit(Bucket);

impl LogLimit {
    /// Whether it is time to say it again; then it counts as said.
    pub fn is_due(&mut self) -> bool {
        self.0.take(RATE, 1.0, Instant::now()).is_ok()
    }
}
