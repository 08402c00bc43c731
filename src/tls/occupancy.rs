//! How many connections there are, in all and per client address, and whether there is room for one more.
//!
//! A handshake that is not over is worth less than a newcomer: whoever opens connections from many addresses
//! and says nothing on them must not keep anybody out. So, where room is short, the oldest unfinished
//! handshake makes way. An honest one takes milliseconds and is never that old.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::domain::networks::accountable;

/// Upper bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub total: usize,
    pub per_address: usize,
    /// Connections whose handshake is not over.
    pub handshakes: usize,
    pub handshakes_per_address: usize,
}

#[derive(Debug)]
pub(super) struct Occupancy {
    bounds: Bounds,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    total: usize,
    addresses: HashMap<IpAddr, Count>,
    /// By age: numbers are given out in order.
    handshakes: BTreeMap<u64, Handshake>,
    next_number: u64,
}

#[derive(Debug, Default)]
struct Count {
    connections: usize,
    handshakes: usize,
}

#[derive(Debug)]
struct Handshake {
    address: IpAddr,
    pushed_out: CancellationToken,
}

/// Which bound left no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("as many connections are open as the listener takes")]
    Total,
    #[error("the client's address has as many connections open as one address may have")]
    Address,
    #[error("the client's address has as many unfinished handshakes as one address may have")]
    Handshakes,
}

impl Occupancy {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, table: Arc::default() }
    }

    /// Room for a connection whose handshake is about to start.
    pub(super) fn enter(&self, client: IpAddr) -> Result<Seat, Full> {
        let address = accountable(client);
        let mut table = lock(&self.table);
        // Whoever is refused pushes nobody out, so an address's own bounds come first.
        if let Some(count) = table.addresses.get(&address) {
            if count.connections >= self.bounds.per_address {
                return Err(Full::Address);
            }
            if count.handshakes >= self.bounds.handshakes_per_address {
                return Err(Full::Handshakes);
            }
        }
        let short = table.handshakes.len() >= self.bounds.handshakes || table.total >= self.bounds.total;
        let pushed_another = short && table.push_out_oldest();
        if table.total >= self.bounds.total {
            return Err(Full::Total);
        }
        let (number, pushed_out) = (table.next_number, CancellationToken::new());
        table.next_number += 1;
        table.handshakes.insert(number, Handshake { address, pushed_out: pushed_out.clone() });
        table.total += 1;
        let count = table.addresses.entry(address).or_default();
        count.connections += 1;
        count.handshakes += 1;
        let table = Arc::clone(&self.table);
        Ok(Seat { number, address, standing: Standing::Handshaking, pushed_out, pushed_another, table })
    }
}

impl Table {
    /// Ends the oldest unfinished handshake, whose room is free from now on; `false` when there is none.
    fn push_out_oldest(&mut self) -> bool {
        let Some((_, Handshake { address, pushed_out })) = self.handshakes.pop_first() else { return false };
        self.settle(address);
        self.leave(address);
        pushed_out.cancel();
        true
    }

    /// A handshake of this address is over.
    fn settle(&mut self, address: IpAddr) {
        if let Some(count) = self.addresses.get_mut(&address) {
            count.handshakes -= 1;
        }
    }

    /// A connection of this address is over.
    fn leave(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(count) = self.addresses.get_mut(&address) {
            count.connections -= 1;
            if count.connections == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

/// One connection's room, given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    address: IpAddr,
    standing: Standing,
    /// Cancelled when the handshake has to make way for a newcomer's.
    pub(super) pushed_out: CancellationToken,
    /// Whether an older handshake had to make way for this one.
    pub(super) pushed_another: bool,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Handshaking,
    Settled,
}

impl Seat {
    /// The handshake is over; an error when the room was given away meanwhile.
    pub(super) fn settle(&mut self) -> Result<(), PushedOut> {
        let mut table = lock(&self.table);
        table.handshakes.remove(&self.number).ok_or(PushedOut)?;
        table.settle(self.address);
        self.standing = Standing::Settled;
        Ok(())
    }
}

/// A handshake took so long that a newcomer got its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the handshake was the oldest one when a newer connection needed room")]
pub(super) struct PushedOut;

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        if self.standing == Standing::Handshaking {
            // Whoever was pushed out has no room left to give back.
            if table.handshakes.remove(&self.number).is_none() {
                return;
            }
            table.settle(self.address);
        }
        table.leave(self.address);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_holds_and_room_comes_back() {
        let bounds = Bounds { total: 4, per_address: 3, handshakes: 9, handshakes_per_address: 2 };
        let occupancy = Occupancy::new(bounds);
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
        let table = lock(&occupancy.table);
        assert_eq!(table.total, 0);
        assert!(table.addresses.is_empty() && table.handshakes.is_empty());
    }

    #[test]
    fn the_oldest_unfinished_handshake_makes_way() {
        for bounds in [
            Bounds { total: 100, per_address: 2, handshakes: 3, handshakes_per_address: 2 },
            Bounds { total: 4, per_address: 2, handshakes: 100, handshakes_per_address: 2 },
        ] {
            let occupancy = Occupancy::new(bounds);
            let enter = |last: u8| occupancy.enter(IpAddr::from([10, 0, 0, last]));
            let mut settled = enter(1).unwrap();
            settled.settle().unwrap();
            let mut old = enter(2).unwrap();
            let waiting = [enter(3).unwrap(), enter(4).unwrap()];
            assert!(!waiting.iter().any(|seat| seat.pushed_another));
            let newcomer = enter(5).unwrap();
            assert!(newcomer.pushed_another && old.pushed_out.is_cancelled());
            assert_eq!(old.settle(), Err(PushedOut));
            assert!(!waiting.iter().any(|seat| seat.pushed_out.is_cancelled()));
            assert_eq!(lock(&occupancy.table).total, 4, "the room counts once");

            // Whoever is refused for an address of its own pushes nobody out.
            let _second = enter(5).unwrap();
            assert_eq!(enter(5).unwrap_err(), Full::Address);
            assert_eq!(waiting.iter().filter(|seat| seat.pushed_out.is_cancelled()).count(), 1);
            drop((old, waiting));
            assert_eq!(lock(&occupancy.table).total, 3);
        }
    }
}
