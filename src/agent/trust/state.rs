//! What the server last told of whom to let in, and how an update changes it: whole, or not at all.
//!
//! A denied serial stays denied until its end, whatever an update says: a server that has lost a revocation, or that is
//! none, brings nobody back here.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::agent::trust::update::{self, DENIED_MAX, TrustUpdateError, WholeUpdate};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;

/// How long past its end a denied serial is kept: the server's clock may have been a little ahead.
const KEPT_PAST_END: SignedDuration = SignedDuration::from_hours(1);
/// How often what has ended is looked for.
const FORGET_EVERY: SignedDuration = SignedDuration::from_mins(10);

/// What decides whether an agent is let in, as of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustState {
    pub epoch: String,
    pub version: u64,
    /// DER, at least one.
    pub roots: Vec<Vec<u8>>,
    /// DER.
    pub intermediates: Vec<Vec<u8>>,
    pub denied: HashMap<Serial, DeniedSerial>,
    /// SHA-256 of SPIFFE ids.
    pub denied_ids: HashSet<[u8; 32]>,
    /// Revocation lists, DER: the issuing intermediate's first, the roots' last. Empty until some were asked for.
    pub lists: Vec<Vec<u8>>,
    /// When the server last confirmed that this is the newest, by its clock.
    pub confirmed_at: Timestamp,
    /// Serials that ended before this may have been forgotten.
    pub forgotten_before: Timestamp,
}

/// A certificate that lets nobody in any more, although it has not expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeniedSerial {
    /// The last second of the certificate.
    pub until: Timestamp,
    /// Whose it is; known of one's own tenant.
    pub spiffe_id: Option<SpiffeId>,
}

/// What an update has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Something that decides, or the lists.
    Changed,
    /// It confirms that what is held is the newest.
    Confirmed,
    /// It is older than what is held, so it says nothing.
    Older,
}

impl TrustState {
    /// What a snapshot makes of what was held. `now` is by the server's clock.
    pub(crate) fn from_snapshot(
        before: Option<&Self>,
        update: WholeUpdate,
        now: Timestamp,
    ) -> Result<Self, TrustUpdateError> {
        let WholeUpdate { epoch, version, snapshot, roots, intermediates, denied, denied_ids, lists } =
            update;
        if !snapshot {
            return Err(TrustUpdateError::NoBase);
        }
        let never = Timestamp::MIN;
        let mut state = Self {
            epoch,
            version,
            roots,
            intermediates,
            denied,
            denied_ids,
            lists,
            confirmed_at: now,
            forgotten_before: before.map_or(never, |before| before.forgotten_before),
        };
        if let Some(before) = before {
            for (serial, denied) in &before.denied {
                update::merge(&mut state.denied, *serial, denied.clone());
            }
            if state.lists.is_empty() {
                state.lists.clone_from(&before.lists);
            }
        }
        state.forget(now);
        // A snapshot has everything that has not ended, so what was forgotten before is in it.
        state.forgotten_before =
            state.forgotten_before.min(now.saturating_sub(KEPT_PAST_END).unwrap_or(never));
        if state.denied.len() > DENIED_MAX { Err(TrustUpdateError::TooMuch) } else { Ok(state) }
    }

    /// Takes an update that is no snapshot, `now` by the server's clock. After an error everything is as it was.
    pub(crate) fn apply(&mut self, update: WholeUpdate, now: Timestamp) -> Result<Applied, TrustUpdateError> {
        let WholeUpdate { epoch, version, snapshot, roots, intermediates, denied, denied_ids, lists } =
            update;
        if snapshot || epoch != self.epoch {
            return Err(TrustUpdateError::NoBase);
        }
        let new = denied.keys().filter(|serial| !self.denied.contains_key(*serial)).count();
        let new_ids = denied_ids.difference(&self.denied_ids).count();
        if self.denied.len() + new > DENIED_MAX || self.denied_ids.len() + new_ids > DENIED_MAX {
            return Err(TrustUpdateError::TooMuch);
        }
        let mut changed = new + new_ids > 0;
        for (serial, denied) in denied {
            update::merge(&mut self.denied, serial, denied);
        }
        self.denied_ids.extend(denied_ids);
        if version < self.version {
            return Ok(if changed { Applied::Changed } else { Applied::Older });
        }
        for (held, told) in
            [(&mut self.roots, roots), (&mut self.intermediates, intermediates), (&mut self.lists, lists)]
        {
            if !told.is_empty() && *held != told {
                *held = told;
                changed = true;
            }
        }
        self.version = version;
        self.confirmed_at = now;
        if now.duration_since(self.forgotten_before) > KEPT_PAST_END + FORGET_EVERY {
            self.forget(now);
        }
        Ok(if changed { Applied::Changed } else { Applied::Confirmed })
    }

    /// Whether this certificate is denied.
    pub(crate) fn denies(&self, serial: &Serial) -> bool {
        self.denied.contains_key(serial)
    }

    /// From which epoch and version a watcher goes on: from none, where a clock that was ahead may have had serials
    /// forgotten that have not ended.
    pub(crate) fn resume(&self, now: Timestamp) -> (String, u64) {
        if now < self.forgotten_before { (String::new(), 0) } else { (self.epoch.clone(), self.version) }
    }

    fn forget(&mut self, now: Timestamp) {
        let Ok(before) = now.checked_sub(KEPT_PAST_END) else { return };
        if before > self.forgotten_before {
            self.denied.retain(|_, denied| denied.until >= before);
            self.forgotten_before = before;
        }
    }
}
