//! Work that nobody asks for: saving presence, and dropping what only unexpired certificates need.

use std::convert::Infallible;
use std::sync::Arc;

use jiff::SignedDuration;

use super::fleet::Report;
use super::{App, Unavailable};
use crate::store::{Change, Verdict};

/// How long after a certificate's expiry its bytes and key index are kept, so that an agent that is allowed
/// to come back late can still be recognised, and clocks may step back.
const KEEP_EXPIRED: SignedDuration = SignedDuration::from_hours(48);

/// Reports saved in one commit.
const REPORTS_PER_COMMIT: usize = 1_000;

impl App {
    /// Writes the reports that came in since the last call.
    pub async fn save_presence(&self) -> Result<(), Unavailable> {
        loop {
            let reports = self.fleet.take_unsaved(REPORTS_PER_COMMIT);
            if reports.is_empty() {
                return Ok(());
            }
            let hosts: Vec<_> = reports.iter().map(|(host, _)| *host).collect();
            let saved = self.store.write(move |view, _| {
                let mut changes = Vec::with_capacity(reports.len());
                for (host, Report { at, facts, newest_shown }) in reports {
                    // A host deleted since it reported must not leave a report behind.
                    if view.host(host)?.is_some() {
                        changes.push(Change::SaveReport { host, at, facts: Some(facts), newest_shown });
                    }
                }
                Ok(Verdict::<(), Infallible>::accept((), changes))
            });
            let Ok(()) = saved.await?;
            self.fleet.saved(&hosts);
        }
    }

    /// Drops what expired certificates leave behind; enrollments themselves are history and stay.
    pub async fn forget_expired(self: &Arc<Self>) -> Result<(), Unavailable> {
        loop {
            let limit = self.clock.now() - KEEP_EXPIRED - self.policy.rotation_grace;
            let app = Arc::clone(self);
            let expired =
                self.walkers.run(move || app.store.read(|view| view.expired_before(limit))).await??;
            if expired.is_empty() {
                self.store.deny_list().forget_expired(limit);
                return Ok(());
            }
            let forgotten = self.store.write(move |view, _| {
                // A key may have been taken into a new certificate since the snapshot.
                let mut keys = Vec::with_capacity(expired.keys.len());
                for key in expired.keys {
                    if view.holder_of_key(key)?.is_none_or(|holder| holder.not_after < limit) {
                        keys.push(key);
                    }
                }
                let (certificates, denied) = (expired.certificates, expired.denied);
                let change = Change::ForgetExpired { keys, certificates, denied };
                Ok(Verdict::<(), Infallible>::accept((), vec![change]))
            });
            let Ok(()) = forgotten.await?;
        }
    }
}
