//! Who waits to be told something: one waker for each watcher, in places that are used again. Those whom relying parties ask
//! are woken first, and everybody in groups, so that no one waits behind ten thousand.

use std::sync::Arc;
use std::task::Waker;

use parking_lot::Mutex;
use tokio::task::yield_now;

/// How many are woken before what they say is sent and others have their turn.
const GROUP: usize = 32;

/// A shared handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Wakers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    places: Vec<Waiting>,
    free: Vec<usize>,
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

    /// Wakes all of every `stride`th place, beginning with the `first`: those who answer before the others.
    ///
    /// Whoever comes to wait meanwhile looks itself at what there is to tell.
    pub(super) async fn wake(&self, first: usize, stride: usize) {
        for answers in [true, false] {
            let mut next = first;
            loop {
                let group = self.0.lock().take(&mut next, stride, answers);
                if group.is_empty() {
                    break;
                }
                // Waking takes locks of the runtime, so it is done without this one.
                group.into_iter().for_each(Waker::wake);
                yield_now().await;
            }
        }
    }
}

impl Table {
    /// The next group of every `stride`th place, and where the one after it begins.
    fn take(&mut self, next: &mut usize, stride: usize, answers: bool) -> Vec<Waker> {
        let mut group = Vec::new();
        while let Some(waiting) = self.places.get_mut(*next)
            && group.len() < GROUP
        {
            *next += stride;
            if waiting.answers == answers {
                group.extend(waiting.waker.take());
            }
        }
        group
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
    use std::task::{Context, Wake};

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

    #[tokio::test]
    async fn whoever_answers_is_woken_first_and_everybody_once() {
        let (wakers, places, woken) = watched(300);
        wakers.wake(0, 1).await;
        let (answer, others): (Vec<_>, Vec<_>) = (0..300).partition(|number| number % 3 == 0);
        assert_eq!(*woken.lock(), [answer, others].concat());
        wakers.wake(0, 1).await;
        assert_eq!(woken.lock().len(), 300, "nobody waits");
        // A place is used again by one of the other kind.
        drop(places);
        let places: Vec<_> = [false, true].into_iter().map(|answers| wakers.enter(answers)).collect();
        for (number, place) in places.iter().enumerate() {
            place.wait(&Arc::new(Watcher { number, woken: Arc::clone(&woken) }).into());
        }
        wakers.wake(0, 1).await;
        assert_eq!(woken.lock()[300..], [1, 0]);
    }

    #[tokio::test]
    async fn some_have_their_turn() {
        let (wakers, _places, woken) = watched(300);
        wakers.wake(1, 50).await;
        assert_eq!(*woken.lock(), [51, 201, 1, 101, 151, 251]);
    }

    #[tokio::test]
    async fn others_run_between_the_groups() {
        let (wakers, _places, woken) = watched(300);
        let mut waking = std::pin::pin!(wakers.wake(0, 1));
        let mut rounds = Vec::new();
        while waking.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            rounds.push(woken.lock().len());
        }
        // A hundred answer, two hundred do not.
        assert_eq!(rounds, [32, 64, 96, 100, 132, 164, 196, 228, 260, 292, 300]);
    }
}
