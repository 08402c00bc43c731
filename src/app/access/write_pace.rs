//! The pace of changes: whoever may change something leaves audit records that nobody can delete, so how fast one
//! person or one API token may do it is bounded. The local operator, who owns the disk, has no bound.

use std::time::Duration;

use crate::app::App;
use crate::app::access::caller::Caller;
use crate::app::access::pace::Pace;
use crate::domain::ids::{CredentialId, UserId};

/// How much may be changed at once after a quiet time, in seconds of the pace.
const BURST_SECONDS: u32 = 20;

/// Whose changes are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Writer {
    Person(UserId),
    Token(CredentialId),
}

impl Writer {
    fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::User { user, .. } => Some(Self::Person(user.id)),
            Caller::Token(token) => Some(Self::Token(token.id)),
            // Strangers have doors of their own, with bounds of their own.
            Caller::Local { .. } | Caller::Anonymous { .. } => None,
        }
    }
}

/// What each has changed lately.
#[derive(Debug)]
pub(crate) struct WritePace {
    per_second: f64,
    pace: Pace<Writer>,
}

impl WritePace {
    pub(crate) fn new(per_second: u32) -> Self {
        let burst = per_second.saturating_mul(BURST_SECONDS);
        Self { per_second: f64::from(per_second), pace: Pace::new(f64::from(burst)) }
    }
}

impl App {
    /// Counts a request that may change something; if its caller has made too many lately, how long to wait.
    pub fn count_write(&self, caller: &Caller) -> Option<Duration> {
        let writer = Writer::of(caller)?;
        self.writes.pace.wait(writer, 1.0, self.writes.per_second)
    }
}
