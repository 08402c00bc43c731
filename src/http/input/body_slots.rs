//! Places for request bodies that are arriving. They are held in memory, and strangers send them, so there are only
//! so many; and whoever takes his time must not keep anybody out, so an older one makes way for the newest: the
//! oldest of the client that has the most.

use std::net::IpAddr;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::domain::fairness::fair_eviction::{EvictionRank, FairEviction, Worth};
use crate::domain::network::networks::accountable;

/// Bodies that may be arriving at the same time, from everybody together: 32 MiB at most.
const BODIES_MAX: usize = 512;

/// Local callers have no address, and count as one client.
type Client = Option<IpAddr>;

#[derive(Debug, Default)]
pub(crate) struct BodySlots(Mutex<FairEviction<Client, CancellationToken>>);

impl BodySlots {
    /// A place for a body from this address, if need be another's that has to make way.
    pub(crate) fn place(&self, address: Option<IpAddr>) -> BodySlot<'_> {
        let client = address.map(accountable);
        let mut bodies = self.bodies();
        if bodies.len() >= BODIES_MAX
            && let Some(made_way) = bodies.give_up_one()
        {
            made_way.cancel();
        }
        let pushed_out = CancellationToken::new();
        let turn = bodies.add(client, Worth::InUse, pushed_out.clone());
        BodySlot { client, turn, pushed_out, arriving: self }
    }

    fn bodies(&self) -> MutexGuard<'_, FairEviction<Client, CancellationToken>> {
        self.0.lock()
    }
}

/// One body's place, given back on drop.
#[derive(Debug)]
pub(crate) struct BodySlot<'a> {
    client: Client,
    turn: EvictionRank,
    /// Cancelled when the place goes to a newer body.
    pub(crate) pushed_out: CancellationToken,
    arriving: &'a BodySlots,
}

impl Drop for BodySlot<'_> {
    fn drop(&mut self) {
        self.arriving.bodies().remove(self.client, self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed_out(place: &BodySlot<'_>) -> bool {
        place.pushed_out.is_cancelled()
    }

    #[test]
    fn the_oldest_makes_way_and_places_come_back() {
        let arriving = BodySlots::default();
        let mut places: Vec<_> = (0..BODIES_MAX).map(|_| arriving.place(None)).collect();
        let newest = arriving.place(None);
        assert!(pushed_out(&places[0]) && !places[1..].iter().any(pushed_out) && !pushed_out(&newest));
        assert_eq!(arriving.bodies().len(), BODIES_MAX);
        // Whoever was pushed out has no place left to give back.
        drop(places.remove(0));
        assert_eq!(arriving.bodies().len(), BODIES_MAX);
        drop((places, newest));
        assert!(arriving.bodies().is_empty());
    }

    #[test]
    fn one_client_pushes_out_nobody_but_himself() {
        let arriving = BodySlots::default();
        let modest = [Some("10.0.0.1".parse().unwrap()), Some("2001:db8::1".parse().unwrap()), None];
        let modest = modest.map(|address| arriving.place(address));
        // Wherever in his /64 he is.
        let greedy = |number: usize| Some(format!("2001:db8:0:1::{number:x}").parse().unwrap());
        let flood: Vec<_> = (0..2 * BODIES_MAX).map(|number| arriving.place(greedy(number))).collect();
        assert!(!modest.iter().any(pushed_out));
        let survivors = flood.iter().filter(|place| !pushed_out(place)).count();
        assert_eq!(survivors, BODIES_MAX - modest.len());
    }
}
