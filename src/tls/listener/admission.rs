//! How many connections there are, in all and per client address, and who makes way for one more.
//!
//! A newcomer is worth more than a handshake that is not over, and, where anyone may connect, more than a
//! connection that has been quiet: whoever holds connections from many addresses and does nothing with them
//! must not keep anybody out. So, where room is short, the address that has the most gives one up, and where an
//! address has all it may have, it is its own that makes way: many clients may share one. Of its
//! handshakes that is the oldest, and an honest one takes milliseconds and is never that old. Of its settled
//! connections it is one without an open request, and the one that has been quiet for longest: an honest client
//! opens another when it has something to ask.
//!
//! An open request is a preference and no right: an answer that nobody takes stays open for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::fairness::fair_eviction::{EvictionRank, FairEviction, Worth};
use crate::domain::network::networks::accountable;

/// Upper bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub total: usize,
    pub per_address: usize,
    /// Connections whose handshake is not over.
    pub handshakes: usize,
    pub handshakes_per_address: usize,
    /// Whether connections whose handshake is over make way, too.
    pub settled_make_way: bool,
}

#[derive(Debug)]
pub(crate) struct ConnectionTable {
    bounds: Bounds,
    table: Arc<Mutex<Table>>,
}

type Id = u64;

#[derive(Debug, Default)]
struct Table {
    handshakes: FairEviction<IpAddr, Id>,
    settled: FairEviction<IpAddr, Id>,
    /// Everybody who is in one of the two.
    occupants: HashMap<Id, Occupant>,
    next_id: Id,
}

#[derive(Debug)]
struct Occupant {
    address: IpAddr,
    standing: ConnectionState,
    turn: EvictionRank,
    open_requests: usize,
    pushed_out: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionState {
    Handshaking,
    Settled,
}

/// Which bound left no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("as many connections are open as the listener takes")]
    Total,
    #[error("the client's address has as many connections open as one address may have")]
    Address,
    #[error("the client's address has as many unfinished handshakes as one address may have")]
    Handshakes,
}

impl ConnectionTable {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, table: Arc::default() }
    }

    /// Room for a connection whose handshake is about to start.
    pub(crate) fn enter(&self, client: IpAddr) -> Result<Seat, Full> {
        let address = accountable(client);
        let mut table = self.table.lock();
        // Whoever is refused pushes nobody out, so an address's own bounds come first.
        let handshakes = table.handshakes.held_by(address);
        let settled = table.settled.held_by(address);
        let has_its_share = handshakes + settled >= self.bounds.per_address;
        if has_its_share && (settled == 0 || !self.bounds.settled_make_way) {
            return Err(Full::Address);
        }
        if handshakes >= self.bounds.handshakes_per_address {
            return Err(Full::Handshakes);
        }
        let own = if has_its_share { table.push_out_of(address) } else { None };
        let made_way = if table.handshakes.len() >= self.bounds.handshakes {
            table.push_out(ConnectionState::Handshaking)
        } else if table.occupants.len() < self.bounds.total {
            None
        } else if self.bounds.settled_make_way && !table.settled.is_empty() {
            table.push_out(ConnectionState::Settled)
        } else {
            table.push_out(ConnectionState::Handshaking)
        };
        if table.occupants.len() >= self.bounds.total {
            return Err(Full::Total);
        }
        let (id, pushed_out) = (table.next_id, CancellationToken::new());
        table.next_id += 1;
        let turn = table.handshakes.add(address, Worth::InUse, id);
        let standing = ConnectionState::Handshaking;
        let occupant = Occupant { address, standing, turn, open_requests: 0, pushed_out: pushed_out.clone() };
        table.occupants.insert(id, occupant);
        drop(table);
        let made_way = made_way.or(own);
        Ok(Seat { pushed_out, made_way, place: Place { id, table: Arc::clone(&self.table) } })
    }
}

impl Table {
    fn places(&mut self, standing: ConnectionState) -> &mut FairEviction<IpAddr, Id> {
        match standing {
            ConnectionState::Handshaking => &mut self.handshakes,
            ConnectionState::Settled => &mut self.settled,
        }
    }

    /// Ends the connection of this standing that has to make way, whose room is free from now on, and says of
    /// which standing it was; `None` when there is none.
    fn push_out(&mut self, standing: ConnectionState) -> Option<ConnectionState> {
        let id = self.places(standing).give_up_one()?;
        self.occupants.remove(&id)?.pushed_out.cancel();
        Some(standing)
    }

    /// The same for a settled connection of this address.
    fn push_out_of(&mut self, address: IpAddr) -> Option<ConnectionState> {
        let id = self.settled.give_up_one_of(address)?;
        self.occupants.remove(&id)?.pushed_out.cancel();
        Some(ConnectionState::Settled)
    }

    /// A connection is over, or was pushed out before.
    fn leave(&mut self, id: Id) {
        if let Some(Occupant { address, standing, turn, .. }) = self.occupants.remove(&id) {
            self.places(standing).remove(address, turn);
        }
    }

    /// Puts a connection behind all the others that are as much in use, after a change; `None` when it was
    /// pushed out before.
    fn renew(&mut self, id: Id, change: impl FnOnce(&mut Occupant)) -> Option<()> {
        let occupant = self.occupants.get_mut(&id)?;
        let (standing, turn) = (occupant.standing, occupant.turn);
        change(occupant);
        let worth = if occupant.open_requests > 0 { Worth::InUse } else { Worth::Idle };
        let (address, now) = (occupant.address, occupant.standing);
        self.places(standing).remove(address, turn);
        let turn = self.places(now).add(address, worth, id);
        self.occupants.get_mut(&id)?.turn = turn;
        Some(())
    }
}

/// One connection's room, given back on drop.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Cancelled when the connection has to make way for a newcomer's.
    pub(crate) pushed_out: CancellationToken,
    /// Of which standing the connection was that had to make way for this one, if there was one.
    pub(crate) made_way: Option<ConnectionState>,
    place: Place,
}

#[derive(Debug, Clone)]
struct Place {
    id: Id,
    table: Arc<Mutex<Table>>,
}

impl Seat {
    /// The handshake is over; an error when the room was given away meanwhile.
    pub(crate) fn settle(&mut self) -> Result<(), PushedOut> {
        let mut table = self.place.table.lock();
        table.renew(self.place.id, |occupant| occupant.standing = ConnectionState::Settled).ok_or(PushedOut)
    }

    /// Where the requests of this connection are noted, once it has settled.
    pub(crate) fn requests(&self) -> Requests {
        Requests(self.place.clone())
    }
}

/// A handshake took so long that a newcomer got its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handshake had to make way when a newer connection needed room")]
pub(crate) struct PushedOut;

impl Drop for Seat {
    fn drop(&mut self) {
        self.place.table.lock().leave(self.place.id);
    }
}

/// The requests of one connection. They may outlive it, and then change nothing.
#[derive(Debug, Clone)]
pub(crate) struct Requests(Place);

impl Requests {
    pub(crate) fn open(&self) -> OpenRequest {
        let place = self.0.clone();
        place.table.lock().renew(place.id, |occupant| occupant.open_requests += 1);
        OpenRequest(place)
    }
}

/// A request whose answer is not complete; it is over on drop.
#[derive(Debug)]
pub(crate) struct OpenRequest(Place);

impl OpenRequest {
    /// Some of the answer has gone out.
    pub(crate) fn moved(&self) {
        self.0.table.lock().renew(self.0.id, |_| {});
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.table.lock().renew(self.0.id, |occupant| occupant.open_requests -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Bounds = Bounds {
        total: 100,
        per_address: 9,
        handshakes: 100,
        handshakes_per_address: 9,
        settled_make_way: true,
    };

    fn settled(occupancy: &ConnectionTable, last: u8) -> Seat {
        let mut seat = occupancy.enter(IpAddr::from([10, 0, 0, last])).unwrap();
        seat.settle().unwrap();
        seat
    }

    fn pushed_out(seat: &Seat) -> bool {
        seat.pushed_out.is_cancelled()
    }

    #[test]
    fn every_bound_holds_and_room_comes_back() {
        let settled_make_way = false;
        let bounds =
            Bounds { total: 4, per_address: 3, handshakes: 9, handshakes_per_address: 2, settled_make_way };
        let occupancy = ConnectionTable::new(bounds);
        let enter = |ip: &str| occupancy.enter(ip.parse().unwrap());
        let settled = |ip: &str| {
            let mut seat = enter(ip).unwrap();
            seat.settle().unwrap();
            seat
        };
        let mut first = enter("10.0.0.1").unwrap();
        let second = enter("::ffff:10.0.0.1").unwrap();
        assert_eq!(enter("10.0.0.1").unwrap_err(), Full::Handshakes);
        first.settle().unwrap();
        let third = settled("10.0.0.1");
        drop(second);
        let fourth = settled("10.0.0.1");
        assert_eq!(enter("10.0.0.1").unwrap_err(), Full::Address);
        let fifth = settled("2001:db8::1");
        assert_eq!(enter("10.0.0.2").unwrap_err(), Full::Total);
        drop((third, fourth));
        let sixth = [enter("2001:db8::ffff").unwrap(), enter("2001:db8::2").unwrap()];
        assert_eq!(enter("2001:db8::3").unwrap_err(), Full::Address, "one /64 is one client");
        drop((first, fifth, sixth));
        let table = occupancy.table.lock();
        assert!(table.occupants.is_empty() && table.handshakes.is_empty() && table.settled.is_empty());
    }

    #[test]
    fn the_oldest_unfinished_handshake_makes_way() {
        let of_handshakes = Bounds { per_address: 2, handshakes: 3, handshakes_per_address: 2, ..ROOMY };
        for bounds in [of_handshakes, Bounds { total: 4, per_address: 2, settled_make_way: false, ..ROOMY }] {
            let occupancy = ConnectionTable::new(bounds);
            let enter = |last: u8| occupancy.enter(IpAddr::from([10, 0, 0, last]));
            let settled = settled(&occupancy, 1);
            let mut old = enter(2).unwrap();
            let waiting = [enter(3).unwrap(), enter(4).unwrap()];
            assert!(!waiting.iter().any(|seat| seat.made_way.is_some()));
            let newcomer = enter(5).unwrap();
            assert_eq!(newcomer.made_way, Some(ConnectionState::Handshaking));
            assert!(pushed_out(&old) && !pushed_out(&settled));
            assert_eq!(old.settle(), Err(PushedOut));
            assert!(!waiting.iter().any(pushed_out));
            assert_eq!(occupancy.table.lock().occupants.len(), 4, "the room counts once");

            // Whoever is refused for an address of its own pushes nobody out.
            let _second = enter(5).unwrap();
            assert_eq!(enter(5).unwrap_err(), Full::Address);
            assert_eq!(waiting.iter().filter(|seat| pushed_out(seat)).count(), 1);
            drop((old, waiting));
            assert_eq!(occupancy.table.lock().occupants.len(), 3);
        }
    }

    #[test]
    fn where_an_address_has_its_share_its_own_quietest_makes_way() {
        let occupancy = ConnectionTable::new(Bounds { per_address: 3, handshakes_per_address: 2, ..ROOMY });
        let other = settled(&occupancy, 2);
        let [first, second] = [1, 1].map(|last| settled(&occupancy, last));
        let open = first.requests().open();
        let third = settled(&occupancy, 1);
        let newcomer = settled(&occupancy, 1);
        assert_eq!(newcomer.made_way, Some(ConnectionState::Settled));
        assert!(pushed_out(&second) && !pushed_out(&first) && !pushed_out(&third));
        let enter = || occupancy.enter(IpAddr::from([10, 0, 0, 1]));
        let handshakes = [enter().unwrap(), enter().unwrap()];
        assert!(pushed_out(&third) && pushed_out(&newcomer) && !pushed_out(&first));
        // Handshakes that don't end push out no more.
        assert_eq!(enter().unwrap_err(), Full::Handshakes);
        assert!(!pushed_out(&first) && !pushed_out(&other) && !handshakes.iter().any(pushed_out));
        assert_eq!(occupancy.table.lock().occupants.len(), 4);
        drop(open);
    }

    #[test]
    fn of_handshakes_the_address_with_the_most_gives_one_up() {
        let occupancy = ConnectionTable::new(Bounds { handshakes: 4, ..ROOMY });
        let enter = |last: u8| occupancy.enter(IpAddr::from([10, 0, 0, last])).unwrap();
        let slow = enter(1);
        let flood: Vec<_> = (0..20).map(|number| enter(2 + number % 2)).collect();
        assert!(!pushed_out(&slow));
        assert_eq!(flood.iter().filter(|seat| !pushed_out(seat)).count(), 3);
    }

    #[test]
    fn the_quietest_settled_connection_makes_way_and_handshakes_go_on() {
        let occupancy = ConnectionTable::new(Bounds { total: 4, ..ROOMY });
        let [first, second, third] = [1, 2, 3].map(|last| settled(&occupancy, last));
        let handshake = occupancy.enter(IpAddr::from([10, 0, 0, 4])).unwrap();
        // The first one is still at it, the second one has been.
        let open = first.requests().open();
        drop(second.requests().open());
        let newcomer = settled(&occupancy, 5);
        assert_eq!(newcomer.made_way, Some(ConnectionState::Settled));
        assert!(pushed_out(&third) && !pushed_out(&handshake));
        let another = settled(&occupancy, 6);
        assert!(pushed_out(&second) && !pushed_out(&first));
        drop(open);
        let busy = [&newcomer, &another].map(|seat| seat.requests().open());
        let _last = settled(&occupancy, 7);
        assert!(pushed_out(&first) && !pushed_out(&newcomer) && !pushed_out(&another));
        drop((busy, first, second, third, handshake));
        assert_eq!(occupancy.table.lock().occupants.len(), 3);
    }

    #[test]
    fn open_requests_that_do_not_move_hold_no_place_for_ever() {
        let occupancy = ConnectionTable::new(Bounds { total: 3, ..ROOMY });
        let seats = [1, 2, 3].map(|last| settled(&occupancy, last));
        let open = seats.each_ref().map(|seat| seat.requests().open());
        open[0].moved();
        let newcomer = settled(&occupancy, 4);
        assert_eq!(seats.each_ref().map(pushed_out), [false, true, false]);
        // What ends after its connection was pushed out changes nothing, and neither does what outlives it.
        drop(seats);
        drop(open);
        assert_eq!(newcomer.made_way, Some(ConnectionState::Settled));
        assert_eq!(occupancy.table.lock().occupants.len(), 1);
    }

    #[test]
    fn nobody_makes_way_for_an_address_that_has_more() {
        let occupancy = ConnectionTable::new(Bounds { total: 9, ..ROOMY });
        let modest = settled(&occupancy, 1);
        let mut greedy: Vec<_> = (0..8).map(|_| settled(&occupancy, 2)).collect();
        let open: Vec<_> = greedy.iter().map(|seat| seat.requests().open()).collect();
        greedy.push(settled(&occupancy, 2));
        let other = settled(&occupancy, 3);
        assert!(!pushed_out(&modest) && !pushed_out(&other));
        assert_eq!(greedy.iter().filter(|seat| pushed_out(seat)).count(), 2);
        drop(open);
    }
}
