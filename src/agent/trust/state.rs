//! What the server last told of whom to let in, and how an update changes it: whole, or not at all.
//!
//! A denied serial stays denied until its end, whatever an update says: a server that has lost a revocation, or that is
//! none, brings nobody back here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::agent::trust::update::{self, DENIED_MAX, TrustUpdateError, WholeUpdate};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::sha256::sha256;

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
    /// The same of which certificates are denied that were made before a moment.
    pub barred: HashMap<[u8; 32], Timestamp>,
    /// Revocation lists, DER: the issuing intermediate's first, the roots' last. Empty until some were asked for.
    pub lists: Arc<Vec<Vec<u8>>>,
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

/// Bundle and lists at one time, to be read for as long as it takes.
#[derive(Debug, Clone)]
pub(crate) struct ToldDocuments {
    /// DER, at least one.
    pub roots: Vec<Vec<u8>>,
    /// DER, the issuing intermediate's first, the roots' last.
    pub lists: Arc<Vec<Vec<u8>>>,
    /// When the server last confirmed that they are the newest, by its clock.
    pub confirmed_at: Timestamp,
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
        let WholeUpdate { epoch, version, snapshot, roots, intermediates, denied, denied_ids, barred, lists } =
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
            barred,
            lists: Arc::new(lists),
            confirmed_at: now,
            forgotten_before: before.map_or(never, |before| before.forgotten_before),
        };
        if let Some(before) = before {
            for (serial, denied) in &before.denied {
                update::merge(&mut state.denied, *serial, denied.clone());
            }
            if state.lists.is_empty() {
                state.lists = Arc::clone(&before.lists);
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
        let WholeUpdate { epoch, version, snapshot, roots, intermediates, denied, denied_ids, barred, lists } =
            update;
        if snapshot || epoch != self.epoch {
            return Err(TrustUpdateError::NoBase);
        }
        let new = denied.keys().filter(|serial| !self.denied.contains_key(*serial)).count();
        let new_ids = denied_ids.difference(&self.denied_ids).count();
        let new_bars = barred.iter().filter(|(id, before)| self.barred.get(*id) != Some(before)).count();
        let most = [self.denied.len() + new, self.denied_ids.len() + new_ids, self.barred.len() + new_bars];
        if most.into_iter().any(|count| count > DENIED_MAX) {
            return Err(TrustUpdateError::TooMuch);
        }
        let mut changed = new + new_ids + new_bars > 0;
        for (serial, denied) in denied {
            update::merge(&mut self.denied, serial, denied);
        }
        self.denied_ids.extend(denied_ids);
        self.barred.extend(barred);
        if version < self.version {
            return Ok(if changed { Applied::Changed } else { Applied::Older });
        }
        for (held, told) in [(&mut self.roots, roots), (&mut self.intermediates, intermediates)] {
            if !told.is_empty() && *held != told {
                *held = told;
                changed = true;
            }
        }
        if !lists.is_empty() && *self.lists != lists {
            self.lists = Arc::new(lists);
            changed = true;
        }
        self.version = version;
        self.confirmed_at = now;
        if now.duration_since(self.forgotten_before) > KEPT_PAST_END + FORGET_EVERY {
            self.forget(now);
        }
        Ok(if changed { Applied::Changed } else { Applied::Confirmed })
    }

    pub(crate) fn documents(&self) -> ToldDocuments {
        ToldDocuments {
            roots: self.roots.clone(),
            lists: Arc::clone(&self.lists),
            confirmed_at: self.confirmed_at,
        }
    }

    /// Whether this certificate is denied.
    pub(crate) fn denies(&self, serial: &Serial) -> bool {
        self.denied.contains_key(serial)
    }

    /// Whether this certificate of an identity is denied: by its serial, or, while a restore epoch lasts, because nobody knows
    /// the serials of all that is denied.
    pub(crate) fn denies_of(&self, serial: &Serial, id: &SpiffeId) -> bool {
        if self.denies(serial) || (self.denied_ids.is_empty() && self.barred.is_empty()) {
            return self.denies(serial);
        }
        let hash = sha256(&[id.to_string().as_bytes()]);
        self.denied_ids.contains(&hash)
            || self.barred.get(&hash).is_some_and(|before| serial.made_at() < *before)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::trust::update::UpdateReader;
    use crate::agent::trust::update::tests::{authority, denied, serial, update};
    use crate::grpc::proto::{BarredId, Denied, TrustUpdate};

    const DAY: i64 = 86_400_000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn whole(update: TrustUpdate) -> WholeUpdate {
        UpdateReader::default().take(update).unwrap().unwrap()
    }

    fn snapshot(epoch: &str, version: u64, denied: Vec<Denied>) -> WholeUpdate {
        let (root, list) = authority();
        let (roots, lists) = (vec![root], vec![list]);
        whole(TrustUpdate {
            epoch: epoch.to_owned(),
            snapshot: true,
            roots,
            lists,
            ..update(version, denied)
        })
    }

    fn known(state: &TrustState) -> Vec<(u8, i64)> {
        let one = |(serial, denied): (&Serial, &DeniedSerial)| {
            (serial.as_bytes()[0], denied.until.as_millisecond())
        };
        let mut known: Vec<_> = state.denied.iter().map(one).collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn an_identity_is_denied_with_what_it_held_and_not_with_what_it_got_since() {
        let id: SpiffeId =
            "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1".parse().unwrap();
        let other: SpiffeId =
            "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-2".parse().unwrap();
        let hash = sha256(&[id.to_string().as_bytes()]).to_vec();
        let made = |ms: i64| Serial::new(at(ms), [7; 10]);
        let mut state = TrustState::from_snapshot(None, snapshot("e1", 3, Vec::new()), at(0)).unwrap();
        assert!(!state.denies_of(&made(5), &id));
        let told = TrustUpdate { denied_ids: vec![hash.clone()], ..update(4, Vec::new()) };
        assert_eq!(state.apply(whole(told), at(0)), Ok(Applied::Changed));
        assert!(state.denies_of(&made(5), &id) && !state.denies_of(&made(5), &other));
        // It was let in again, which a snapshot tells.
        let barred = BarredId { id: hash, made_before_ms: 6 };
        let again = TrustUpdate { barred: vec![barred], ..update(5, Vec::new()) };
        let (root, list) = authority();
        let again = TrustUpdate { snapshot: true, roots: vec![root], lists: vec![list], ..again };
        let state = TrustState::from_snapshot(Some(&state), whole(again), at(0)).unwrap();
        assert!(state.denies_of(&made(5), &id) && !state.denies_of(&made(6), &id));
        assert!(!state.denies_of(&made(5), &other));
    }

    #[test]
    fn a_denied_serial_is_never_taken_back_before_its_end() {
        let id = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";
        let first = snapshot("e1", 3, vec![denied(1, 2 * DAY, id), denied(2, DAY, "")]);
        let state = TrustState::from_snapshot(None, first, at(0)).unwrap();
        // Another epoch without them, and with an end that is sooner.
        let other = snapshot("e2", 1, vec![denied(1, DAY / 2, ""), denied(3, DAY, "")]);
        let mut state = TrustState::from_snapshot(Some(&state), other, at(1000)).unwrap();
        assert_eq!(known(&state), [(1, 2 * DAY), (2, DAY), (3, DAY)]);
        assert_eq!(state.denied[&serial(1)].spiffe_id.as_ref().unwrap().to_string(), id);
        assert_eq!((state.epoch.as_str(), state.version), ("e2", 1));
        let sooner = TrustUpdate { epoch: "e2".to_owned(), ..update(2, vec![denied(1, 0, "")]) };
        assert_eq!(state.apply(whole(sooner), at(2000)), Ok(Applied::Confirmed));
        assert_eq!(known(&state)[0], (1, 2 * DAY));
        // After its end, and some time for clocks that differ, it goes.
        let later = snapshot("e2", 3, Vec::new());
        let state = TrustState::from_snapshot(Some(&state), later, at(DAY + 3_600_001)).unwrap();
        assert_eq!(known(&state), [(1, 2 * DAY)]);
    }

    #[test]
    fn an_update_is_taken_whole_or_not_at_all() {
        let held =
            TrustState::from_snapshot(None, snapshot("e1", 3, vec![denied(1, DAY, "")]), at(0)).unwrap();
        let (root, list) = authority();
        let refused = [
            TrustUpdate { epoch: "e2".to_owned(), ..update(4, vec![denied(2, DAY, "")]) },
            TrustUpdate { snapshot: true, roots: vec![root.clone()], ..update(4, Vec::new()) },
        ];
        for update in refused {
            let mut state = held.clone();
            assert_eq!(state.apply(whole(update), at(5)), Err(TrustUpdateError::NoBase));
            assert_eq!(state, held);
        }
        let no_snapshot = whole(update(4, Vec::new()));
        assert_eq!(TrustState::from_snapshot(Some(&held), no_snapshot, at(0)), Err(TrustUpdateError::NoBase));

        let mut state = held.clone();
        let told = TrustUpdate { roots: vec![root.clone()], ..update(4, vec![denied(2, DAY, "")]) };
        assert_eq!(state.apply(whole(told), at(5)), Ok(Applied::Changed));
        assert_eq!((state.version, &state.roots, &state.lists), (4, &vec![root], &held.lists));
        assert_eq!(state.confirmed_at, at(5));
        assert_eq!(state.apply(whole(update(4, Vec::new())), at(6)), Ok(Applied::Confirmed));
        assert_eq!(state.confirmed_at, at(6));
        // What a session tells that is being replaced: its serials count, its documents are old.
        let late = TrustUpdate { lists: vec![list], ..update(3, vec![denied(3, DAY, "")]) };
        assert_eq!(state.apply(whole(late), at(7)), Ok(Applied::Changed));
        assert_eq!((state.version, &state.lists, state.confirmed_at), (4, &held.lists, at(6)));
        assert_eq!(known(&state), [(1, DAY), (2, DAY), (3, DAY)]);
        assert_eq!(state.apply(whole(update(2, Vec::new())), at(7)), Ok(Applied::Older));
    }

    #[test]
    fn old_lists_are_never_replaced_by_none() {
        let held = TrustState::from_snapshot(None, snapshot("e1", 3, Vec::new()), at(0)).unwrap();
        let mut without = snapshot("e2", 1, Vec::new());
        without.lists.clear();
        let after = TrustState::from_snapshot(Some(&held), without, at(1)).unwrap();
        assert_eq!(after.lists, held.lists);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let crowd = |first: u32| {
            let one = |n: u32| {
                let bytes: [u8; 16] = [&[0; 12][..], &n.to_be_bytes()].concat().try_into().unwrap();
                (Serial::from_bytes(bytes), DeniedSerial { until: at(DAY), spiffe_id: None })
            };
            (first..first + 300_000).map(one).collect()
        };
        let mut first = snapshot("e1", 1, Vec::new());
        first.denied = crowd(0);
        let mut held = TrustState::from_snapshot(None, first, at(0)).unwrap();
        let mut other = snapshot("e2", 1, Vec::new());
        other.denied = crowd(300_000);
        assert_eq!(TrustState::from_snapshot(Some(&held), other, at(0)), Err(TrustUpdateError::TooMuch));
        let mut more = whole(update(2, Vec::new()));
        more.denied = crowd(300_000);
        assert_eq!(held.apply(more, at(0)), Err(TrustUpdateError::TooMuch));
        assert_eq!((held.denied.len(), held.version), (300_000, 1));
    }

    #[test]
    fn a_clock_that_was_ahead_makes_the_watcher_ask_for_everything() {
        let first = snapshot("e1", 3, vec![denied(1, DAY, "")]);
        let mut state = TrustState::from_snapshot(None, first, at(0)).unwrap();
        assert_eq!(state.resume(at(0)), ("e1".to_owned(), 3));
        assert_eq!(state.apply(whole(update(3, Vec::new())), at(9 * DAY)), Ok(Applied::Confirmed));
        assert_eq!((known(&state), state.resume(at(9 * DAY))), (vec![], ("e1".to_owned(), 3)));
        assert_eq!(state.resume(at(1)), (String::new(), 0));
        let again = snapshot("e1", 3, vec![denied(1, DAY, "")]);
        let state = TrustState::from_snapshot(Some(&state), again, at(2)).unwrap();
        assert_eq!((known(&state), state.resume(at(3))), (vec![(1, DAY)], ("e1".to_owned(), 3)));
    }
}
