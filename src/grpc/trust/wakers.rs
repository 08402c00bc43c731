//! Who waits to be told something: one waker for each watcher, in places that are used again. Those whom relying parties ask
//! are woken first, and everybody in groups, so that no one waits behind ten thousand.
//!
//! Groups are taken round and round. When there is more to tell before everybody was woken, all are to be woken again from
//! where it was: nobody is always the last, and nobody is left out by a flood.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;

/// How many of those who answer are woken before what they are told is sent and others have their turn.
const GROUP: usize = 32;
/// The same of the others.
const GROUP_OF_OTHERS: usize = 128;

/// A shared handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    places: Vec<Waiting>,
    free: Vec<usize>,
    answering: Round,
    others: Round,
}

/// How far it is round the places.
#[derive(Debug, Default)]
struct Round {
    next: usize,
    /// How many places are left until everybody was woken.
    left: usize,
}

#[derive(Debug)]
struct Waiting {
    answers: bool,
    waker: Option<Waker>,
}

/// A watcher's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: usize,
    wakers: Wakers,
}

impl Wakers {
    /// A place for a watcher; `answers`: relying parties ask it.
    pub(super) fn enter(&self, answers: bool) -> Place {
        let mut table = self.0.lock();
        let waiting = Waiting { answers, waker: None };
        let number = if let Some(number) = table.free.pop() {
            table.places[number] = waiting;
            number
        } else {
            table.places.push(waiting);
            table.places.len() - 1
        };
        drop(table);
        Place { number, wakers: self.clone() }
    }

    /// How many watch.
    pub(super) fn count(&self) -> usize {
        let table = self.0.lock();
        table.places.len() - table.free.len()
    }

    /// From now on, everybody is to be woken.
    pub(super) fn begin(&self) {
        let mut table = self.0.lock();
        let places = table.places.len();
        (table.answering.left, table.others.left) = (places, places);
    }

    /// Wakes the next of those who answer; whether there are more.
    pub(super) fn wake_answering(&self) -> bool {
        self.wake_group(true, GROUP)
    }

    /// Wakes the next of the others; whether there are more.
    pub(super) fn wake_others(&self) -> bool {
        self.wake_group(false, GROUP_OF_OTHERS)
    }

    fn wake_group(&self, answers: bool, size: usize) -> bool {
        let (group, more) = self.0.lock().take(answers, size);
        // Waking takes locks of the runtime, so it is done without this one.
        group.into_iter().for_each(Waker::wake);
        more
    }

    /// Wakes all of every `stride`th place, beginning with the `first`, at once.
    pub(super) fn wake(&self, first: usize, stride: usize) {
        let mut table = self.0.lock();
        let places = table.places.iter_mut().skip(first).step_by(stride);
        let woken: Vec<Waker> = places.filter_map(|waiting| waiting.waker.take()).collect();
        drop(table);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Table {
    /// A group, and whether more are left.
    fn take(&mut self, answers: bool, size: usize) -> (Vec<Waker>, bool) {
        let Self { places, answering, others, .. } = self;
        let (round, count) = (if answers { answering } else { others }, places.len());
        let mut group = Vec::new();
        while round.left > 0 && group.len() < size {
            let waiting = places.get_mut(round.next % count.max(1));
            (round.next, round.left) = ((round.next + 1) % count.max(1), round.left - 1);
            group.extend(waiting.filter(|waiting| waiting.answers == answers).and_then(|it| it.waker.take()));
        }
        (group, round.left > 0)
    }
}

impl Place {
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// To be called before a look at what there is to tell, so that nothing is missed.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut table = self.wakers.0.lock();
        let known = &mut table.places[self.number].waker;
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.wakers.0.lock();
        let waker = table.places[self.number].waker.take();
        table.free.push(self.number);
        drop(table);
        // It may hold the last of a task, which may hold anything.
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    /// Notes when it was woken.
    struct Watcher {
        number: usize,
        woken: Arc<Mutex<Vec<usize>>>,
    }

    impl Wake for Watcher {
        fn wake(self: Arc<Self>) {
            self.woken.lock().push(self.number);
        }
    }

    /// So many places with a waker in each; every third watcher answers.
    fn watched(count: usize) -> (Wakers, Vec<Place>, Arc<Mutex<Vec<usize>>>) {
        let (wakers, woken) = (Wakers::default(), Arc::default());
        let places = (0..count).map(|number| {
            let place = wakers.enter(number % 3 == 0);
            place.wait(&Arc::new(Watcher { number, woken: Arc::clone(&woken) }).into());
            place
        });
        let places = places.collect();
        (wakers, places, woken)
    }

    fn wake_everybody(wakers: &Wakers) {
        wakers.begin();
        while wakers.wake_answering() {}
        while wakers.wake_others() {}
    }

    #[test]
    fn whoever_answers_is_woken_first_and_everybody_once() {
        let (wakers, places, woken) = watched(300);
        wake_everybody(&wakers);
        let (answer, others): (Vec<_>, Vec<_>) = (0..300).partition(|number| number % 3 == 0);
        assert_eq!(*woken.lock(), [answer, others].concat());
        wake_everybody(&wakers);
        assert_eq!(woken.lock().len(), 300, "nobody waits");
        // A place is used again by one of the other kind.
        drop(places);
        let places: Vec<_> = [false, true].into_iter().map(|answers| wakers.enter(answers)).collect();
        for (number, place) in places.iter().enumerate() {
            place.wait(&Arc::new(Watcher { number, woken: Arc::clone(&woken) }).into());
        }
        wake_everybody(&wakers);
        assert_eq!(woken.lock()[300..], [1, 0]);
    }

    #[test]
    fn some_have_their_turn() {
        let (wakers, _places, woken) = watched(300);
        wakers.wake(1, 50);
        assert_eq!(*woken.lock(), [1, 51, 101, 151, 201, 251]);
    }

    #[test]
    fn what_comes_meanwhile_is_told_to_all_and_begins_where_it_was() {
        let (wakers, _places, woken) = watched(300);
        wakers.begin();
        while wakers.wake_answering() {}
        assert!(wakers.wake_others());
        assert_eq!(woken.lock().len(), 100 + GROUP_OF_OTHERS);
        wakers.begin();
        while wakers.wake_answering() {}
        assert!(!wakers.wake_others(), "those who were left, and nobody else waits");
        assert_eq!(woken.lock().len(), 300);
        let others = &woken.lock()[100..];
        assert!(others.is_sorted(), "{others:?}");
    }
}
