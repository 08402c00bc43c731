//! The server remembers when it was away, so that it can forgive agents that expired because of it.

use std::convert::Infallible;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use super::{App, Unavailable};
use crate::domain::outage::{AMNESTY, Outage};
use crate::store::{Change, ReadError, Verdict, View};

/// Longest life of an SVID, and so the longest that an expired one can have waited behind an outage.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How often a serving server leaves a sign of life.
pub const SIGN_OF_LIFE_EVERY: SignedDuration = SignedDuration::from_secs(10);

impl App {
    /// Notes the outage that this start ends. To be called before the first request is answered.
    pub async fn return_to_service(&self) -> Result<(), Unavailable> {
        let returned = self.store.write(move |view, now| {
            let mut changes = vec![Change::Alive];
            if let Some(from) = view.last_alive()?
                && now > from
            {
                changes.push(Change::RecordOutage(Outage { from, until: now }));
            }
            Ok(Verdict::<(), Infallible>::accept((), changes))
        });
        let Ok(()) = returned.await?;
        Ok(())
    }

    /// Leaves a sign of life. A gap between two of them, such as a suspended machine's, is an outage too.
    pub async fn sign_of_life(&self) -> Result<(), Unavailable> {
        let alive = self.store.write(move |view, now| {
            let mut changes = vec![Change::Alive];
            if let Some(from) = view.last_alive()?
                && now.duration_since(from) > SIGN_OF_LIFE_EVERY * 3
            {
                changes.push(Change::RecordOutage(Outage { from, until: now }));
            }
            Ok(Verdict::<(), Infallible>::accept((), changes))
        });
        let Ok(()) = alive.await?;
        Ok(())
    }
}

/// Whether an SVID ran out because the server was away, and its holder may still come back.
pub(super) fn excused(view: &View<'_>, not_after: Timestamp, now: Timestamp) -> Result<bool, ReadError> {
    let mut excused = false;
    view.outages(|outage| {
        excused = outage.excuses(not_after, now);
        let too_old = now.duration_since(outage.until) > AMNESTY + LOOK_BACK;
        if excused || too_old { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(excused)
}
