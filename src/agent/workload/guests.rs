//! How many connections programs on this machine hold at a time: bounded in all, and for each user, so that one
//! user's programs can't keep those of the others out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most connections at a time.
pub const CONNECTIONS_MAX: usize = 256;
/// Most of them that belong to one user.
pub const CONNECTIONS_PER_USER_MAX: usize = 64;

/// The connections that are open, by user.
#[derive(Debug, Clone, Default)]
pub struct Guests(Arc<Mutex<HashMap<u32, usize>>>);

/// One open connection. It counts until it is dropped.
#[derive(Debug)]
pub struct Guest {
    guests: Guests,
    uid: u32,
}

impl Guests {
    /// `None` when there are too many already.
    pub fn welcome(&self, uid: u32) -> Option<Guest> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = open.values().sum();
        let own = open.get(&uid).copied().unwrap_or_default();
        if total >= CONNECTIONS_MAX || own >= CONNECTIONS_PER_USER_MAX {
            return None;
        }
        open.insert(uid, own + 1);
        Some(Guest { guests: self.clone(), uid })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut open = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.uid) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                open.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_leaves_room_for_the_others() {
        let guests = Guests::default();
        let mut first: Vec<_> = (0..CONNECTIONS_PER_USER_MAX).map(|_| guests.welcome(1).unwrap()).collect();
        assert!(guests.welcome(1).is_none());
        let others: Vec<_> = (2..).map_while(|uid| guests.welcome(uid)).collect();
        assert_eq!(first.len() + others.len(), CONNECTIONS_MAX);
        first.pop();
        assert!(guests.welcome(1).is_some());
        drop((first, others));
        assert!(guests.0.lock().unwrap().is_empty());
    }
}
