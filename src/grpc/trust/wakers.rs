//! Who waits to be told something: one waker for each watcher, in places that are used again.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

/// A shared handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A watcher's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: usize,
    wakers: Wakers,
}

impl Wakers {
    pub(super) fn enter(&self) -> Place {
        let mut table = self.0.lock();
        let number = table.free.pop().unwrap_or_else(|| {
            table.places.push(None);
            table.places.len() - 1
        });
        drop(table);
        Place { number, wakers: self.clone() }
    }

    /// How many watch.
    pub(super) fn count(&self) -> usize {
        let table = self.0.lock();
        table.places.len() - table.free.len()
    }

    /// Wakes all of every `stride`th place, beginning with the `first`.
    pub(super) fn wake(&self, first: usize, stride: usize) {
        // Waking takes locks of the runtime, so it is done without this one.
        let woken: Vec<Waker> =
            self.0.lock().places.iter_mut().skip(first).step_by(stride).filter_map(Option::take).collect();
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Place {
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// To be called before a look at what there is to tell, so that nothing is missed.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut table = self.wakers.0.lock();
        let place = &mut table.places[self.number];
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.wakers.0.lock();
        let waker = table.places[self.number].take();
        table.free.push(self.number);
        drop(table);
        // It may hold the last of a task, which may hold anything.
        drop(waker);
    }
}
