//! How many connections there are, in all and per client address, and whether there is room for one more.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Upper bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub total: usize,
    pub per_address: usize,
    /// Connections of one address whose handshake is not over.
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
}

#[derive(Debug, Default)]
struct Count {
    connections: usize,
    handshakes: usize,
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
        if table.total >= self.bounds.total {
            return Err(Full::Total);
        }
        let count = table.addresses.entry(address).or_default();
        // An entry is there only while it counts something, and a bound of zero is no bound to run with.
        if count.connections >= self.bounds.per_address {
            return Err(Full::Address);
        }
        if count.handshakes >= self.bounds.handshakes_per_address {
            return Err(Full::Handshakes);
        }
        count.connections += 1;
        count.handshakes += 1;
        table.total += 1;
        Ok(Seat { address, handshaking: true, table: Arc::clone(&self.table) })
    }
}

/// One connection's room, given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    address: IpAddr,
    handshaking: bool,
    table: Arc<Mutex<Table>>,
}

impl Seat {
    /// The handshake is over.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.handshaking)
            && let Some(count) = lock(&self.table).addresses.get_mut(&self.address)
        {
            count.handshakes -= 1;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
        let mut table = lock(&self.table);
        table.total -= 1;
        if let Some(count) = table.addresses.get_mut(&self.address) {
            count.connections -= 1;
            if count.connections == 0 {
                table.addresses.remove(&self.address);
            }
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who is counted: an IPv4 address, or the /64 that one IPv6 site usually has for itself.
fn accountable(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bound_holds_and_room_comes_back() {
        let occupancy = Occupancy::new(Bounds { total: 4, per_address: 3, handshakes_per_address: 2 });
        let enter = |ip: &str| occupancy.enter(ip.parse().unwrap());
        let mut first = enter("10.0.0.1").unwrap();
        let second = enter("::ffff:10.0.0.1").unwrap();
        assert_eq!(enter("10.0.0.1").unwrap_err(), Full::Handshakes);
        first.settle();
        let third = enter("10.0.0.1").unwrap();
        drop(second);
        let fourth = enter("10.0.0.1").unwrap();
        assert_eq!(enter("10.0.0.1").unwrap_err(), Full::Address);
        let fifth = enter("2001:db8::1").unwrap();
        assert_eq!(enter("10.0.0.2").unwrap_err(), Full::Total);
        drop(fourth);
        let sixth = enter("2001:db8::ffff").unwrap();
        drop(third);
        assert_eq!(enter("2001:db8::2").unwrap_err(), Full::Handshakes, "one /64 is one client");
        drop((first, fifth, sixth));
        assert_eq!(lock(&occupancy.table).total, 0);
        assert!(lock(&occupancy.table).addresses.is_empty());
    }
}
