//! Places for request bodies that are arriving. They are held in memory, and strangers send them, so there are only
//! so many; and whoever takes his time must not keep anybody out, so the oldest makes way for the newest.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Bodies that may be arriving at the same time, from everybody together: 32 MiB at most.
const BODIES_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Arriving(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// By age: numbers are given out in order.
    bodies: BTreeMap<u64, CancellationToken>,
    next_number: u64,
}

impl Arriving {
    /// A place, if need be that of the body that has been arriving for longest.
    pub(super) fn place(&self) -> Place<'_> {
        let mut table = self.table();
        if table.bodies.len() >= BODIES_MAX
            && let Some((_, oldest)) = table.bodies.pop_first()
        {
            oldest.cancel();
        }
        let (number, pushed_out) = (table.next_number, CancellationToken::new());
        table.next_number += 1;
        table.bodies.insert(number, pushed_out.clone());
        Place { number, pushed_out, arriving: self }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One body's place, given back on drop.
#[derive(Debug)]
pub(super) struct Place<'a> {
    number: u64,
    /// Cancelled when the place goes to a newer body.
    pub(super) pushed_out: CancellationToken,
    arriving: &'a Arriving,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.arriving.table().bodies.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_way_and_places_come_back() {
        let arriving = Arriving::default();
        let mut places: Vec<_> = (0..BODIES_MAX).map(|_| arriving.place()).collect();
        let newest = arriving.place();
        let pushed_out = |place: &Place<'_>| place.pushed_out.is_cancelled();
        assert!(pushed_out(&places[0]) && !places[1..].iter().any(pushed_out) && !pushed_out(&newest));
        assert_eq!(arriving.table().bodies.len(), BODIES_MAX);
        // Whoever was pushed out has no place left to give back.
        drop(places.remove(0));
        assert_eq!(arriving.table().bodies.len(), BODIES_MAX);
        drop((places, newest));
        assert!(arriving.table().bodies.is_empty());
    }
}
