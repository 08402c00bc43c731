//! The pace of changes: whoever may change something leaves audit records that nobody can delete, so how fast one
//! person or one API token may do it is bounded. The local operator, who owns the disk, has no bound.

use std::time::Duration;

use crate::app::App;
use crate::app::access::caller::Caller;
use crate::clock;
use crate::domain::fairness::rate::{Rate, TooFast};
use crate::domain::ids::{CredentialId, UserId};

/// How much may be changed at once after a quiet time, in seconds of the pace.
const BURST_SECONDS: u32 = 20;

/// Whose changes are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WriteCaller {
    Person(UserId),
    Token(CredentialId),
}

impl WriteCaller {
    fn of(caller: &Caller) -> Option<Self> {
        match caller {
            Caller::User { user, .. } => Some(Self::Person(user.id)),
            Caller::Token(token) => Some(Self::Token(token.id)),
            // Strangers have doors of their own, with bounds of their own.
            Caller::Local { .. } | Caller::Anonymous { .. } => None,
        }
    }
}

/// How much each may change, in requests.
pub(crate) fn rate(per_second: u32) -> Rate {
    Rate { burst: f64::from(per_second.saturating_mul(BURST_SECONDS)), per_second: f64::from(per_second) }
}

impl App {
    /// Counts a request that may change something; if its caller has made too many lately, how long to wait.
    pub fn count_write(&self, caller: &Caller) -> Option<Duration> {
        let writer = WriteCaller::of(caller)?;
        let counted = self.writes.lock().take(writer, 1.0, clock::monotonic());
        counted.err().map(|TooFast(wait)| wait)
    }
}
