//! How many connections programs on this machine hold at a time: bounded in all, and for each user, so that one
//! user's programs can't keep those of the others out. Whoever is one too many is told so, a bounded number at a
//! time, and counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::warn;

/// Most connections of one user, unless the settings say otherwise.
pub const PER_USER_USUAL: usize = 64;
/// What the settings may ask for. A process has about a thousand descriptors.
pub const PER_USER: std::ops::RangeInclusive<usize> = 1..=512;
/// Most connections in all, as a multiple of one user's.
const USERS: usize = 4;
/// Most connections at a time that are only told that they are one too many. More are closed without a word.
const TOLD_MAX: usize = 32;
/// How often a warning says so, at most.
const WARNING_GAP: Duration = Duration::from_secs(60);

/// The connections that are open, by user.
#[derive(Debug, Clone)]
pub struct ConnectionLimit {
    open: Arc<Mutex<Open>>,
    per_user: usize,
    turned_away: TurnedAway,
}

#[derive(Debug, Default)]
struct Open {
    by_user: HashMap<u32, usize>,
    told: usize,
    warned: Option<Instant>,
}

/// How many connections were one too many since the agent started.
#[derive(Debug, Clone, Default)]
pub struct TurnedAway(Arc<(AtomicU64, Notify)>);

impl TurnedAway {
    pub fn total(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// Waits for the next warning, which comes once a minute at most.
    pub async fn warned(&self) {
        self.0.1.notified().await;
    }
}

/// One open connection. It counts until it is dropped.
#[derive(Debug)]
pub struct Guest {
    guests: ConnectionLimit,
    uid: u32,
    /// Why every call is refused, for one that is there only to be told.
    refusal: Option<Arc<str>>,
}

impl ConnectionLimit {
    pub fn new(per_user: usize, turned_away: TurnedAway) -> Self {
        Self { open: Arc::default(), per_user, turned_away }
    }

    /// A place, or one to be told that there is none; `None` when there are too many of those, too.
    pub fn welcome(&self, uid: u32) -> Option<Guest> {
        let mut open = self.open.lock();
        let total: usize = open.by_user.values().sum();
        let own = open.by_user.get(&uid).copied().unwrap_or_default();
        if own < self.per_user && total < self.per_user * USERS {
            open.by_user.insert(uid, own + 1);
            return Some(Guest { guests: self.clone(), uid, refusal: None });
        }
        let refusal = self.refusal(uid, own);
        self.turned_away.0.0.fetch_add(1, Ordering::Relaxed);
        if open.warned.is_none_or(|warned| warned.elapsed() >= WARNING_GAP) {
            open.warned = Some(Instant::now());
            self.turned_away.0.1.notify_one();
            warn!(uid, turned_away_total = self.turned_away.total(), "{refusal}");
        }
        if open.told >= TOLD_MAX {
            return None;
        }
        open.told += 1;
        Some(Guest { guests: self.clone(), uid, refusal: Some(refusal.into()) })
    }

    fn refusal(&self, uid: u32, own: usize) -> String {
        let most = self.per_user;
        if own >= most {
            format!(
                "the programs of user {uid} have {own} connections to the Workload API open, which is all that one user may have; let them share or close some, or raise workload_api.connections_per_user (now {most}) in the agent's settings"
            )
        } else {
            format!(
                "all {} connections to the Workload API are taken; close some, or raise workload_api.connections_per_user (now {most}) in the agent's settings",
                most * USERS
            )
        }
    }
}

impl Guest {
    pub fn refusal(&self) -> Option<&Arc<str>> {
        self.refusal.as_ref()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.guests.open.lock();
        if self.refusal.is_some() {
            open.told = open.told.saturating_sub(1);
            return;
        }
        match open.by_user.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.by_user.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn let_in(guests: &ConnectionLimit, uid: u32) -> Option<Guest> {
        guests.welcome(uid).filter(|guest| guest.refusal().is_none())
    }

    #[test]
    fn one_user_leaves_room_for_the_others() {
        let guests = ConnectionLimit::new(PER_USER_USUAL, TurnedAway::default());
        let mut first: Vec<_> = (0..PER_USER_USUAL).map(|_| let_in(&guests, 1).unwrap()).collect();
        assert!(let_in(&guests, 1).is_none());
        let others: Vec<_> = (2..).map_while(|uid| let_in(&guests, uid)).collect();
        assert_eq!(first.len() + others.len(), PER_USER_USUAL * USERS);
        first.pop();
        assert!(let_in(&guests, 1).is_some());
        drop((first, others));
        assert!(guests.open.lock().by_user.is_empty());
    }

    #[test]
    fn those_who_are_told_are_counted_and_bounded() {
        let turned_away = TurnedAway::default();
        let guests = ConnectionLimit::new(2, turned_away.clone());
        let _two = [let_in(&guests, 0).unwrap(), let_in(&guests, 0).unwrap()];
        let told: Vec<_> = (0..TOLD_MAX).map(|_| guests.welcome(0).unwrap()).collect();
        let sentence = told[0].refusal().unwrap();
        assert!(
            sentence.contains("user 0") && sentence.contains("connections_per_user (now 2)"),
            "{sentence}"
        );
        assert!(guests.welcome(0).is_none());
        assert_eq!(turned_away.total(), TOLD_MAX as u64 + 1);
        drop(told);
        assert!(guests.welcome(0).unwrap().refusal().is_some());
        assert_eq!(guests.open.lock().told, 0);
    }
}
