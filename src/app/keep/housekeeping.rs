//! Work that nobody asks for: saving presence, and dropping what only unexpired certificates need.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::app::insight::fleet::{Report, ServerTrustCensus, ToSave};
use crate::app::{App, Unavailable};
use crate::domain::identity::clock_marks::ClockMarks;
use crate::domain::ids::HostId;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{Change, RestoredChange, Verdict};

/// How long after a certificate's expiry its bytes and key index are kept at least, so that an agent that is
/// allowed to come back late can still be recognised.
const KEEP_EXPIRED: SignedDuration = SignedDuration::from_hours(48);

/// Of the names in a certificate, so many characters are recorded.
const NAMES_SHOWN: usize = 256;

/// Reports saved in one commit.
const REPORTS_PER_COMMIT: usize = 1_000;

impl App {
    /// Writes what these hosts have reported.
    async fn save(&self, hosts: &[HostId]) -> Result<(), Unavailable> {
        for hosts in hosts.chunks(REPORTS_PER_COMMIT) {
            let taken = self.fleet.take_unsaved(hosts);
            if taken.reports().is_empty() {
                continue;
            }
            let reports = taken.reports().to_vec();
            self.decide(move |view, _| {
                let mut changes = Vec::with_capacity(reports.len());
                for (host, Report { at, facts, newest_shown, trust }) in reports {
                    // A host deleted since it reported must not leave a report behind.
                    if view.any_tenant().host(host)?.is_some() {
                        changes.push(Change::SaveReport {
                            host,
                            at,
                            facts: Some(facts),
                            newest_shown,
                            trust,
                        });
                    }
                }
                Ok(Verdict::<_, Unavailable>::accept((), changes))
            })
            .await?;
            taken.saved();
        }
        Ok(())
    }

    /// Writes down the reports of those whose turn it is.
    pub async fn save_presence(&self) -> Result<(), Unavailable> {
        self.save(&self.fleet.to_save(ToSave::Due)).await
    }

    /// Writes down everybody's reports.
    pub async fn save_all_presence(&self) -> Result<(), Unavailable> {
        self.save(&self.fleet.to_save(ToSave::All)).await
    }

    /// How the hosts in service know the server.
    pub async fn server_trust(self: &Arc<Self>) -> Result<ServerTrustCensus, Unavailable> {
        self.query_long(|app| {
            app.fleet.wait_until_whole()?;
            Ok(app.fleet.knows_server())
        })
        .await
    }

    /// Puts on record that the server has made its own certificate anew.
    pub async fn note_certificate_renewed(
        &self,
        not_after: Timestamp,
        names: &str,
    ) -> Result<(), Unavailable> {
        let action = AuditAction::ServerCertificateRenew;
        let mut event = AuditEvent::by_muster("server", action, None, "server certificate");
        event.detail.insert("not_after", not_after.to_string());
        event.detail.insert("names", names.chars().take(NAMES_SHOWN).collect());
        self.record(vec![Change::Audit(event)]).await
    }

    /// Notes what the wall clock shows, so that what it says can be doubted later.
    pub(crate) async fn note_clock(&self) -> Result<ClockMarks, Unavailable> {
        let ran = self.has_run();
        self.decide(move |view, now| {
            let mut marks = view.clock_marks()?;
            marks.note(now, ran);
            Ok(Verdict::accept(marks.clone(), vec![Change::NoteClock(marks)]))
        })
        .await
    }

    /// Drops what a restore epoch has left when the last one is over, and bars that are older than any certificate.
    pub async fn forget_what_came_back(self: &Arc<Self>) -> Result<(), Unavailable> {
        loop {
            let forgotten = self.decide(|view, now| {
                let bars = view.bars_that_are_over(&view.clock_marks()?, now)?;
                let lasts = view.restore_epochs()?.iter().any(|epoch| epoch.in_force(now));
                let returned = if lasts { Vec::new() } else { view.returned()? };
                let any = !bars.is_empty() || !returned.is_empty();
                let forget = Change::Restored(RestoredChange::Forget { bars, returned });
                let changes = any.then_some(forget).into_iter().collect();
                Ok(Verdict::<_, Unavailable>::accept(any, changes))
            });
            if !forgotten.await? {
                return Ok(());
            }
        }
    }

    /// Drops what certificates leave behind that have expired beyond doubt; enrollments themselves are history
    /// and stay.
    pub async fn forget_expired(self: &Arc<Self>) -> Result<(), Unavailable> {
        let marks = Arc::new(self.note_clock().await?);
        let kept = KEEP_EXPIRED + self.policy.rotation_grace;
        loop {
            let now = self.clock.now();
            let seen = Arc::clone(&marks);
            let find = move |app: &Arc<Self>| app.query(|view| view.long_expired(&seen, kept, now));
            let expired = self.walk(find).await?;
            if expired.is_empty() {
                return Ok(());
            }
            let marks = Arc::clone(&marks);
            self.decide(move |view, now| {
                // A key may have been taken into a new certificate since the snapshot.
                let mut keys = Vec::with_capacity(expired.keys.len());
                for key in expired.keys {
                    let holder = view.holder_of_key(key)?;
                    if holder.is_none_or(|holder| marks.long_past(holder.serial, holder.not_after, kept, now))
                    {
                        keys.push(key);
                    }
                }
                let (certificates, denied) = (expired.certificates, expired.denied);
                let change = Change::ForgetExpired { keys, certificates, denied };
                Ok(Verdict::<_, Unavailable>::accept((), vec![change]))
            })
            .await?;
        }
    }
}
