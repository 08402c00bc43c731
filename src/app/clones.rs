//! Possible clones: an older SVID shown after a newer one means that two machines may share an identity.
//! The older one is let in until it expires, so that a restored snapshot does not lock itself out, and
//! people are told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::fleet::HostNow;
use super::timeline::timeline;
use super::{App, Unavailable, entropy};
use crate::domain::audit::AuditEvent;
use crate::domain::host::{Host, HostFlag};
use crate::domain::ids::HostId;
use crate::domain::serial::Serial;
use crate::store::{Change, Verdict};

/// Suspicions that wait to be written down; more at once are dropped, and come again with the next handshake.
const WAITING_MAX: usize = 1_000;

/// What handshakes have noticed and nobody has written down yet.
#[derive(Debug, Default)]
pub(super) struct Suspicions {
    waiting: Mutex<BTreeMap<HostId, Serial>>,
    noticed: Notify,
}

impl App {
    /// Notes that a host has shown an SVID and proved to hold its key. Runs on an async worker, so it only
    /// takes note.
    pub fn note_shown(&self, host: HostId, serial: Serial) {
        if !self.fleet.shown(host, serial) {
            return;
        }
        let flagged = |now: HostNow| now.host.flags.contains(&HostFlag::PossibleClone);
        if self.fleet.host(host).is_none_or(flagged) {
            return;
        }
        let mut waiting = self.suspicions.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.insert(host, serial);
            self.suspicions.noticed.notify_one();
        }
    }

    /// Waits until a handshake has noticed something, and writes it down.
    pub async fn record_suspicions(&self) -> Result<(), Unavailable> {
        self.suspicions.noticed.notified().await;
        let suspicions =
            std::mem::take(&mut *self.suspicions.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let salted = suspicions.into_iter().map(|(host, serial)| Ok((host, serial, entropy()?)));
        let salted = salted.collect::<Result<Vec<_>, Unavailable>>()?;
        let recorded = self.store.write(move |view, now| {
            let mut changes = Vec::new();
            for (host, serial, salt) in salted {
                if let Some(host) = view.host(host)? {
                    changes.extend(flag(host, serial, now, salt));
                }
            }
            Ok(Verdict::<(), Infallible>::accept((), changes))
        });
        let Ok(()) = recorded.await?;
        Ok(())
    }
}

/// Flags a host, once, with the record of why.
pub(super) fn flag(mut host: Host, older: Serial, now: Timestamp, salt: [u8; 16]) -> Vec<Change> {
    if !host.flags.insert(HostFlag::PossibleClone) {
        return Vec::new();
    }
    let mut event = AuditEvent {
        actor: "muster".to_owned(),
        source: "server".to_owned(),
        tenant: Some(host.tenant),
        action: "host.possible_clone",
        target: host.id.to_string(),
        outcome: crate::domain::audit::Outcome::Success,
        reason: None,
        detail: BTreeMap::from([
            ("older_serial", older.to_string()),
            ("newest_serial", host.newest_serial.to_string()),
        ]),
        names: BTreeMap::new(),
        host: None,
    };
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    let noticed = timeline(host.id, now, "possible_clone", [("older_serial", older.to_string())]);
    vec![noticed, Change::PutHost(host), Change::Audit(event)]
}
