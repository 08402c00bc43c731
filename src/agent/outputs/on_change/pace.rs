//! When to run the command of an output: a first change at once, then at most one run each interval. Lists have a turn
//! of their own, so a revocation does not wait because a certificate has just been rotated. What failed is tried again.

use std::time::{Duration, Instant};

/// What has changed since the last run that was a success.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub identity: bool,
    pub lists: bool,
    /// Somebody is denied who was not before. Lists are made anew for other reasons, too, which must not use up the turn
    /// of a revocation.
    pub denied: bool,
}

impl Changed {
    pub(crate) const fn is_any(self) -> bool {
        self.identity || self.lists || self.denied
    }

    const fn and(self, other: Self) -> Self {
        Self {
            identity: self.identity || other.identity,
            lists: self.lists || other.lists,
            denied: self.denied || other.denied,
        }
    }
}

/// The waits after failures: the first, and the longest, which a quarter of jitter may not lengthen.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(40));

/// The pace of one output's command.
#[derive(Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// What nobody has been told of.
    waiting: Changed,
    /// What a run that goes on is about.
    running: Option<Changed>,
    last_run: Option<Instant>,
    last_run_of_lists: Option<Instant>,
    last_run_of_denied: Option<Instant>,
    failures: u32,
    again_at: Option<Instant>,
    /// What the last runs failed to tell.
    failed: Changed,
}

impl Pace {
    /// `waiting` is what was not told before a restart.
    pub(crate) const fn new(interval: Duration, waiting: Changed) -> Self {
        Self {
            interval,
            waiting,
            running: None,
            last_run: None,
            last_run_of_lists: None,
            last_run_of_denied: None,
            failures: 0,
            again_at: None,
            failed: Changed { identity: false, lists: false, denied: false },
        }
    }

    /// Takes note of a change, also during a run.
    pub(crate) const fn note(&mut self, changed: Changed) {
        self.waiting = self.waiting.and(changed);
    }

    /// When to run next, unless nothing is to be told or a run goes on.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if self.running.is_some() {
            return None;
        }
        let after = |last: Option<Instant>| last.map_or(now, |last| last + self.interval);
        let lists = self.waiting.lists.then(|| after(self.last_run_of_lists));
        let identity = self.waiting.identity.then(|| after(self.last_run));
        let denied = self.waiting.denied.then(|| after(self.last_run_of_denied));
        [denied, lists, identity, self.again_at].into_iter().flatten().min()
    }

    /// A run begins, about everything that waits.
    pub(crate) fn begin(&mut self, now: Instant) {
        let about = self.waiting.and(self.failed);
        self.waiting = Changed::default();
        self.failed = Changed::default();
        self.again_at = None;
        self.last_run = Some(now);
        if about.lists {
            self.last_run_of_lists = Some(now);
        }
        if about.denied {
            self.last_run_of_denied = Some(now);
        }
        self.running = Some(about);
    }

    /// The run is over. `permille` spreads those who fail together.
    pub(crate) fn end(&mut self, success: bool, now: Instant, permille: u16) {
        let about = self.running.take().unwrap_or_default();
        if success {
            self.failures = 0;
            return;
        }
        self.failed = about;
        let wait = AGAIN.0.saturating_mul(1 << self.failures.min(10)).min(AGAIN.1);
        // Three quarters of it and up.
        let wait = wait * (750 + u32::from(permille.min(999)) / 4) / 1000;
        self.failures = self.failures.saturating_add(1);
        self.again_at = Some(now + wait);
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether anything has still to be told.
    pub(crate) const fn owes(&self) -> bool {
        self.waiting.is_any() || self.failed.is_any() || self.running.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTITY: Changed = Changed { identity: true, lists: false, denied: false };
    const LISTS: Changed = Changed { identity: false, lists: true, denied: false };
    const DENIED: Changed = Changed { identity: false, lists: true, denied: true };
    const INTERVAL: Duration = Duration::from_secs(5);

    /// A pace, and a clock that starts at 0.
    struct Story {
        pace: Pace,
        begin: Instant,
    }

    impl Story {
        fn new() -> Self {
            let begin = Instant::now();
            Self { pace: Pace::new(INTERVAL, Changed::default()), begin }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.begin + Duration::from_secs(seconds)
        }

        fn due(&self, now: u64) -> Option<u64> {
            Some(self.pace.due(self.at(now))?.duration_since(self.begin).as_secs())
        }

        fn run(&mut self, now: u64, success: bool) {
            self.pace.begin(self.at(now));
            self.pace.end(success, self.at(now), 999);
        }
    }

    #[test]
    fn a_first_change_is_told_at_once_and_the_next_after_the_interval() {
        let mut story = Story::new();
        assert_eq!(story.due(0), None);
        story.pace.note(IDENTITY);
        assert_eq!(story.due(100), Some(100));
        story.run(100, true);
        assert_eq!(story.due(101), None);
        story.pace.note(IDENTITY);
        story.pace.note(IDENTITY);
        assert_eq!(story.due(101), Some(105));
        story.run(105, true);
        assert_eq!(story.due(106), None);
    }

    #[test]
    fn lists_do_not_wait_for_rotations_but_for_lists() {
        let mut story = Story::new();
        story.pace.note(IDENTITY);
        story.run(100, true);
        story.pace.note(LISTS);
        assert_eq!(story.due(101), Some(101));
        story.run(101, true);
        story.pace.note(LISTS);
        assert_eq!(story.due(102), Some(106));
        story.pace.note(IDENTITY);
        assert_eq!(story.due(102), Some(106));
        story.run(106, true);
        // A run for lists was a run for the rotation, too.
        story.pace.note(IDENTITY);
        assert_eq!(story.due(107), Some(111));
    }

    #[test]
    fn a_revocation_waits_for_no_list_that_was_only_made_anew() {
        let mut story = Story::new();
        story.pace.note(LISTS);
        story.run(100, true);
        story.pace.note(DENIED);
        assert_eq!(story.due(101), Some(101));
        story.run(101, true);
        story.pace.note(DENIED);
        assert_eq!(story.due(102), Some(106));
    }

    #[test]
    fn a_change_during_a_run_is_not_lost() {
        let mut story = Story::new();
        story.pace.note(LISTS);
        story.pace.begin(story.at(0));
        story.pace.note(LISTS);
        assert_eq!(story.due(1), None, "one run at a time");
        story.pace.end(true, story.at(3), 0);
        assert_eq!(story.due(3), Some(5));
        assert!(story.pace.owes());
        story.run(5, true);
        assert!(!story.pace.owes());
    }

    #[test]
    fn failures_are_tried_again_within_forty_seconds() {
        let mut story = Story::new();
        story.pace = Pace::new(Duration::from_secs(3600), Changed::default());
        story.pace.note(IDENTITY);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..8 {
            story.run(now, false);
            assert!(story.pace.owes());
            let next = story.due(now).unwrap();
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [1, 3, 7, 15, 31, 39, 39, 39]);
        // A revocation does not wait for the next try.
        story.pace.note(LISTS);
        assert_eq!(story.due(now - 30), Some(now - 30));
        story.run(now, true);
        assert_eq!((story.due(now), story.pace.failures(), story.pace.owes()), (None, 0, false));
    }
}
