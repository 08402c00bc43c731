//! What ends one day is told in the log, once a day from three months before: nobody has to look at a page for it.

use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::domain::insight::finding::{EXPIRY_SOON, Ending};
use crate::http::{Shared, findings};

/// How often is looked; a machine that sleeps at night must not miss its hour.
const LOOKED_AT: Duration = Duration::from_secs(60);
/// How often one end is told of.
const TOLD_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Tells of expiries until the server ends.
pub(crate) async fn tell_of_expiries(shared: Shared, ending: CancellationToken) {
    let mut due = tokio::time::interval(LOOKED_AT);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told: Option<Timestamp> = None;
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
        }
        let now = shared.app.clock.now();
        // A clock that was set back tells once more, and not a year later.
        if told.is_some_and(|told| now >= told && now.duration_since(told) < TOLD_EVERY) {
            continue;
        }
        match findings::endings(&shared) {
            Ok(endings) => {
                endings.iter().filter(|it| it.is_logged(now)).for_each(|it| tell(it, now));
                told = Some(now);
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "what expires next can't be read; it will be tried again");
            }
        }
    }
}

fn tell(Ending { code, what, at, hint }: &Ending, now: Timestamp) {
    let left = at.duration_since(now);
    let days_left = left.as_hours() / 24;
    if left < EXPIRY_SOON {
        tracing::error!(%code, not_after = %at, days_left, hint, "{what} EXPIRES SOON, OR HAS EXPIRED");
    } else {
        tracing::warn!(%code, not_after = %at, days_left, hint, "{what} expires");
    }
}
