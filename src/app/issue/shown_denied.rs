//! SVIDs of a denied identity whose serials nobody has denied yet: they are on no record, as after a restore, or a thief has
//! signed them. Our own doors refuse them by the identity; relying parties go by serials, so those are denied when they are shown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::app::{App, Unavailable};
use crate::ca::parse::validity::not_after_of;
use crate::clock;
use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::fairness::rate::{Bucket, Rate};
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::serial::Serial;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{Change, Verdict};

/// Serials that wait to be denied; more at once are dropped, and come again when they are shown again.
const WAITING_MAX: usize = 64;

/// Each costs a row and a line that stay for long, and whoever has stolen an issuing key makes as many as he likes.
const DENIED: Rate = Rate { burst: 64.0, per_second: 0.2 };

/// What was shown and is not denied yet.
#[derive(Debug, Default)]
pub(crate) struct ShownDenied {
    waiting: Mutex<Waiting>,
    noticed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    shown: BTreeMap<Serial, (AgentRef, Timestamp)>,
    pace: Bucket,
}

impl App {
    /// Takes note of a certificate of this agent CA (DER) that was shown and is denied, where that is by its identity alone.
    /// Runs inside handshakes.
    pub(crate) fn note_shown_denied(&self, leaf: &[u8], serial: Serial, identity: &AgentRef) {
        if self.store.deny_list().denies_serial(serial) {
            return;
        }
        let Some(not_after) = not_after_of(leaf) else { return };
        let mut waiting = self.shown_denied.waiting.lock();
        if waiting.shown.len() >= WAITING_MAX || waiting.shown.contains_key(&serial) {
            return;
        }
        if waiting.pace.take(DENIED, 1.0, clock::monotonic()).is_ok() {
            waiting.shown.insert(serial, (identity.clone(), not_after));
            self.shown_denied.noticed.notify_one();
        }
    }

    /// Waits until such a certificate has been shown, and denies it. What can't be written waits on.
    pub async fn deny_what_was_shown(&self) -> Result<(), Unavailable> {
        self.shown_denied.noticed.notified().await;
        let shown = self.shown_denied.waiting.lock().shown.clone();
        let noted = shown.clone();
        let denied = self.decide(move |view, now| {
            let mut changes = Vec::new();
            for (serial, (identity, not_after)) in noted {
                // It may have been let in again meanwhile.
                if view.serial_denied(serial)? || view.identity_denied(&identity)?.is_none() {
                    continue;
                }
                let mut event = AuditEvent::by_muster(
                    "server",
                    AuditAction::CertificateDeny,
                    Some(identity.tenant),
                    &identity.agent,
                );
                event.detail.insert("serial", serial.to_string());
                let reason = RevocationReason::Revoked;
                changes.push(Change::Deny(Denial::Serial { serial, not_after, since: now, reason }));
                changes.push(Change::Audit(event));
            }
            Ok(Verdict::accept((), changes))
        });
        match denied.await {
            Ok(()) => {
                self.shown_denied.waiting.lock().shown.retain(|serial, _| !shown.contains_key(serial));
                Ok(())
            }
            Err(error) => {
                self.shown_denied.noticed.notify_one();
                Err(error)
            }
        }
    }
}
