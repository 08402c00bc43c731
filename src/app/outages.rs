//! The server remembers when it was away, so that it can forgive agents that expired because of it.

use std::convert::Infallible;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use super::{App, Unavailable};
use crate::domain::enrollment::SVID_LIFETIME_MAX;
use crate::domain::outage::{AMNESTY, Outage};
use crate::store::{Change, ReadError, Verdict, View};

/// How often a serving server leaves a sign of life.
pub const SIGN_OF_LIFE_EVERY: SignedDuration = SignedDuration::from_secs(10);

impl App {
    /// Notes the outage that this start ends. To be called before the first request is answered.
    pub async fn return_to_service(&self) -> Result<(), Unavailable> {
        let returned = self.store.write(move |view, now| {
            let mut changes = Vec::new();
            match view.last_alive()? {
                Some(from) if now > from => {
                    changes.extend([Change::RecordOutage(Outage { from, until: now }), Change::Alive]);
                }
                // A clock that has stepped back tells nothing about an outage, and the sign of life stays
                // where it was: were it lowered, the way back to the right time would look like one.
                Some(_) => {}
                None => changes.push(Change::Alive),
            }
            Ok(Verdict::<(), Infallible>::accept((), changes))
        });
        let Ok(()) = returned.await?;
        Ok(())
    }

    /// Leaves a sign of life, unless there is one from a later time.
    pub async fn sign_of_life(&self) -> Result<(), Unavailable> {
        let alive = self.store.write(move |view, now| {
            let later = view.last_alive()?.is_none_or(|last| now > last);
            let changes = if later { vec![Change::Alive] } else { Vec::new() };
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
        let too_old = now.duration_since(outage.until) > AMNESTY + SVID_LIFETIME_MAX;
        if excused || too_old { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(excused)
}
