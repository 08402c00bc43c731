//! Refusals in the audit trail: recorded with their true reason, and rate-limited so that nobody can fill
//! the disk by being refused.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{App, Unavailable};
use crate::domain::audit::{AuditEvent, Outcome};
use crate::store::{Change, Verdict};

/// Refusals recorded per second in the long run.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(5).unwrap();
/// Refusals recorded at once after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();

/// Decides which refusals are recorded and counts those that are not.
#[derive(Debug)]
pub(super) struct RefusalLog {
    /// For refusals of callers who proved something: an identity, a credential, a session.
    proven: DefaultDirectRateLimiter,
    /// For everybody else's, so that strangers can't crowd out what matters.
    strangers: DefaultDirectRateLimiter,
    suppressed: AtomicU64,
}

impl Default for RefusalLog {
    fn default() -> Self {
        let quota = Quota::per_second(PER_SECOND).allow_burst(BURST);
        let (proven, strangers) = (RateLimiter::direct(quota), RateLimiter::direct(quota));
        Self { proven, strangers, suppressed: AtomicU64::new(0) }
    }
}

/// Whom a refusal met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Somebody who proved nothing.
    Stranger,
    /// Somebody who proved an identity, a credential or a session.
    Somebody,
}

impl App {
    /// Records that something was refused and why, unless too much was refused lately.
    pub(crate) async fn record_refusal(
        &self,
        mut event: AuditEvent,
        refused: Refused,
        reason: &'static str,
    ) -> Result<(), Unavailable> {
        let allowance = match refused {
            Refused::Stranger => &self.refusals.strangers,
            Refused::Somebody => &self.refusals.proven,
        };
        if allowance.check().is_err() {
            self.refusals.suppressed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let suppressed = self.refusals.suppressed.swap(0, Ordering::Relaxed);
        if suppressed > 0 {
            event.detail.insert("refusals_not_recorded_before", suppressed.to_string());
        }
        event.outcome = Outcome::Refused;
        event.reason = Some(reason);
        let recorded: Result<(), std::convert::Infallible> =
            match self.store.write(move |_, _| Ok(Verdict::accept((), vec![Change::Audit(event)]))).await {
                Ok(recorded) => recorded,
                Err(error) => {
                    // What was not recorded, this one included, is still to be counted.
                    self.refusals.suppressed.fetch_add(suppressed + 1, Ordering::Relaxed);
                    return Err(error.into());
                }
            };
        match recorded {
            Ok(()) => Ok(()),
        }
    }
}
