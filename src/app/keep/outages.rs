//! The server remembers when it was not serving, so that it can forgive agents that expired because of it.
//!
//! Serving means that an agent could have rotated: the store takes writes, the CA issues, the served certificate is in
//! force. While that is so, the server leaves a sign of life every few seconds. A gap between two is an outage, at a
//! start as at any other time: a paused machine, a full disk and an intermediate that has run out look alike.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Unavailable};
use crate::domain::enroll::enrollment::SVID_LIFETIME_MAX;
use crate::domain::identity::outage::{AMNESTY, Outage, sign_of_life_every};
use crate::store::{Change, ReadError, Verdict, View};

impl App {
    /// How often a sign of life is due.
    pub fn sign_of_life_every(&self) -> SignedDuration {
        sign_of_life_every(self.policy.svid_ttl)
    }

    /// Leaves a sign of life, and notes the outage that it ends. What is not serving leaves none: the caller knows
    /// whether the `certificate` that agents are shown is `in_force`. To be called before the first request is
    /// answered, too.
    pub async fn sign_of_life(&self, certificate_in_force: bool) -> Result<(), Unavailable> {
        let authority = self.authority();
        let (now, lifetime) = (self.clock.now(), self.policy.svid_ttl);
        let issues = authority.is_some_and(|authority| authority.issues_at(now, lifetime).is_ok());
        if !certificate_in_force || !issues {
            return Ok(());
        }
        let every = self.sign_of_life_every();
        self.decide(move |view, now| {
            let mut changes = match view.last_alive()? {
                Some(ahead) if ahead > now => put_back(view, now)?,
                Some(last) => {
                    Outage::between(last, now, every).map(Change::RecordOutage).into_iter().collect()
                }
                None => Vec::new(),
            };
            changes.push(Change::Alive);
            Ok(Verdict::accept((), changes))
        })
        .await
    }
}

/// The clock was ahead when the last sign of life was left. Left there, it would hide every outage until the clock
/// has come that far; and outages that it noted then have not ended yet.
fn put_back(view: &View<'_>, now: Timestamp) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    view.outages(|outage| {
        if outage.until <= now {
            return ControlFlow::Break(());
        }
        changes.push(match outage.from < now {
            true => Change::RecordOutage(Outage { until: now, ..outage }),
            false => Change::ForgetOutage(outage.from),
        });
        ControlFlow::Continue(())
    })?;
    Ok(changes)
}

/// Whether an SVID ran out because the server was away, and its holder may still come back. `every` so often a sign
/// of life is due: an outage that has just ended need not be on record yet.
pub(crate) fn excused(
    view: &View<'_>,
    not_after: Timestamp,
    now: Timestamp,
    every: SignedDuration,
) -> Result<bool, ReadError> {
    let ending = view.last_alive()?.and_then(|last| Outage::between(last, now, every));
    if ending.is_some_and(|outage| outage.excuses(not_after, now)) {
        return Ok(true);
    }
    let mut excused = false;
    view.outages(|outage| {
        excused = outage.excuses(not_after, now);
        let too_old = now.duration_since(outage.until) > AMNESTY + SVID_LIFETIME_MAX;
        if excused || too_old { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(excused)
}
