//! Places of which there are only so many, for what strangers may hold: request bodies that are arriving, downloads.
//! Whoever takes his time must not keep anybody out, so an older one makes way for the newest: the oldest of the client
//! that has the most.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::domain::fairness::fair_eviction::{EvictionRank, FairEviction, Worth};
use crate::domain::network::networks::accountable;

/// Local callers have no address, and count as one client.
type Client = Option<IpAddr>;
type Places = FairEviction<Client, CancellationToken>;

/// So many places.
#[derive(Debug, Default)]
pub(crate) struct FairSlots<const MAX: usize>(Mutex<Places>);

impl<const MAX: usize> FairSlots<MAX> {
    /// A place for this address, if need be another's that has to make way.
    pub(crate) fn place(self: &Arc<Self>, address: Option<IpAddr>) -> FairSlot<MAX> {
        self.take(self.0.lock(), address.map(accountable))
    }

    /// The same, if need be of somebody who has more of them than this client would; `None` where nobody has.
    pub(crate) fn place_of_richer(self: &Arc<Self>, address: Option<IpAddr>) -> Option<FairSlot<MAX>> {
        let (places, client) = (self.0.lock(), address.map(accountable));
        let room = places.len() < MAX || places.most_held() > places.held_by(client) + 1;
        room.then(|| self.take(places, client))
    }

    fn take(self: &Arc<Self>, mut places: MutexGuard<'_, Places>, client: Client) -> FairSlot<MAX> {
        if places.len() >= MAX
            && let Some(made_way) = places.give_up_one()
        {
            made_way.cancel();
        }
        let pushed_out = CancellationToken::new();
        let turn = places.add(client, Worth::InUse, pushed_out.clone());
        FairSlot { client, turn, pushed_out, places: Arc::clone(self) }
    }
}

/// One place, given back on drop.
#[derive(Debug)]
pub(crate) struct FairSlot<const MAX: usize> {
    client: Client,
    turn: EvictionRank,
    /// Cancelled when the place goes to somebody else.
    pub(crate) pushed_out: CancellationToken,
    places: Arc<FairSlots<MAX>>,
}

impl<const MAX: usize> Drop for FairSlot<MAX> {
    fn drop(&mut self) {
        self.places.0.lock().remove(self.client, self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 512;

    fn pushed_out(place: &FairSlot<MAX>) -> bool {
        place.pushed_out.is_cancelled()
    }

    #[test]
    fn the_oldest_makes_way_and_places_come_back() {
        let arriving = Arc::new(FairSlots::<MAX>::default());
        let mut places: Vec<_> = (0..MAX).map(|_| arriving.place(None)).collect();
        let newest = arriving.place(None);
        assert!(pushed_out(&places[0]) && !places[1..].iter().any(pushed_out) && !pushed_out(&newest));
        assert_eq!(arriving.0.lock().len(), MAX);
        // Whoever was pushed out has no place left to give back.
        drop(places.remove(0));
        assert_eq!(arriving.0.lock().len(), MAX);
        drop((places, newest));
        assert!(arriving.0.lock().is_empty());
    }

    #[test]
    fn whoever_has_the_most_downloads_makes_way_for_whoever_has_fewer() {
        let downloads = Arc::new(FairSlots::<MAX>::default());
        let of = |text: &str| Some(text.parse().unwrap());
        let greedy: Vec<_> = (0..MAX).map(|_| downloads.place_of_richer(of("192.0.2.1")).unwrap()).collect();
        assert!(downloads.place_of_richer(of("192.0.2.1")).is_none());
        let modest = downloads.place_of_richer(of("192.0.2.2")).unwrap();
        assert!(greedy[0].pushed_out.is_cancelled() && !greedy[1].pushed_out.is_cancelled());
        assert!(!modest.pushed_out.is_cancelled());
        drop((greedy, modest));
        assert!(downloads.0.lock().is_empty());
    }

    #[test]
    fn one_client_pushes_out_nobody_but_himself() {
        let arriving = Arc::new(FairSlots::<MAX>::default());
        let modest = [Some("10.0.0.1".parse().unwrap()), Some("2001:db8::1".parse().unwrap()), None];
        let modest = modest.map(|address| arriving.place(address));
        // Wherever in his /64 he is.
        let greedy = |number: usize| Some(format!("2001:db8:0:1::{number:x}").parse().unwrap());
        let flood: Vec<_> = (0..2 * MAX).map(|number| arriving.place(greedy(number))).collect();
        assert!(!modest.iter().any(pushed_out));
        let survivors = flood.iter().filter(|place| !pushed_out(place)).count();
        assert_eq!(survivors, MAX - modest.len());
    }
}
