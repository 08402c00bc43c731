//! How long to wait before trying again: a second at first, doubling to half a minute, with jitter so that a
//! fleet that lost its server does not come back in step.

use std::time::Duration;

/// Waits that double from attempt to attempt.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl Backoff {
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The next wait, moved by up to a quarter either way, and never longer than the most.
    pub fn wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.most);
        jittered_up_to(base, self.most, random_permille())
    }

    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// When to come back to a server that many may have lost at the same moment.
///
/// Time is cut into windows, each twice as long as the one before up to a longest, and an agent tries once in each,
/// always at the same place of it, which it draws at the beginning. So at no moment do more come than the first
/// window was made for, whenever the server returns: those who draw again would crowd those who have not come yet.
#[derive(Debug, Clone)]
pub struct ReconnectWindow {
    window: Duration,
    longest: Duration,
    permille: u16,
    tried: bool,
}

impl ReconnectWindow {
    /// `permille` from 0 to 999 says which place.
    pub fn new(window: Duration, longest: Duration, permille: u16) -> Self {
        Self { window, longest: longest.max(window), permille, tried: false }
    }

    /// How long to wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let place = place_in(self.window, self.permille);
        if !self.tried {
            self.tried = true;
            return place;
        }
        let rest = self.window - place;
        self.window = (self.window * 2).min(self.longest);
        rest + place_in(self.window, self.permille)
    }
}

/// The place in a window that a number from 0 to 999 stands for.
pub fn place_in(window: Duration, permille: u16) -> Duration {
    window * u32::from(permille.min(999)) / 1000
}

/// How long to wait before a request that was refused, and would be refused again unless somebody does
/// something: twice as long after each refusal, up to a quarter of an hour.
pub fn after_refusals(gap: Duration, refusals: u32, permille: u16) -> Duration {
    jittered_up_to(gap * (1 << refusals.min(4)), Duration::from_secs(900), permille)
}

/// `base` times 0.75 to 1.25, as `permille` (0..=999) says.
pub fn jittered(base: Duration, permille: u16) -> Duration {
    base * (750 + u32::from(permille.min(999)) / 2) / 1000
}

/// The same between three quarters of the shorter one of `base` and `most`, and `most`. Waits at the cap are spread
/// below it, because what is cut off at the cap would come in step.
fn jittered_up_to(base: Duration, most: Duration, permille: u16) -> Duration {
    let base = base.min(most);
    let (least, longest) = (base * 3 / 4, (base * 5 / 4).min(most));
    least + (longest - least) * u32::from(permille.min(999)) / 999
}

/// A random number from 0 to 999.
pub fn random_permille() -> u16 {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => u16::from_be_bytes(bytes) % 1000,
        // Without randomness agents wait in step, which is slower and nothing worse.
        Err(_) => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over() {
        let mut backoff = Backoff::default();
        for base in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.wait().as_secs_f64() / f64::from(base);
            assert!((0.75..=1.25).contains(&wait), "{base}: {wait}");
        }
        let cap = Duration::from_secs(30);
        let at_cap: Vec<_> = (0..200).map(|_| backoff.wait()).collect();
        assert!(at_cap.iter().all(|wait| *wait <= cap), "{at_cap:?}");
        let in_step = at_cap.iter().filter(|wait| **wait > cap - Duration::from_millis(300)).count();
        assert!(in_step < 40, "{in_step} of 200 come together");
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(1250));
    }

    /// The share of a fleet that comes in its busiest unit of time.
    fn busiest(times: impl Iterator<Item = Duration>, unit: Duration) -> f64 {
        let mut counts = std::collections::HashMap::new();
        let mut total = 0;
        for time in times {
            total += 1;
            *counts.entry(time.as_millis() / unit.as_millis()).or_insert(0) += 1;
        }
        f64::from(*counts.values().max().unwrap()) / f64::from(total)
    }

    #[test]
    fn a_fleet_that_lost_its_server_does_not_come_back_in_step() {
        let (longest, second) = (Duration::from_secs(30), Duration::from_secs(1));
        for (fleet, window) in [(1000, 30), (1000, 4), (300, 1)] {
            let window = Duration::from_secs(window);
            for away in [0, 1, 2, 5, 10, 29, 45, 300] {
                let away = Duration::from_secs(away);
                let arrivals = (0..fleet).map(|place: u16| {
                    let mut comeback = ReconnectWindow::new(window, longest, place * (1000 / fleet));
                    let mut at = comeback.wait();
                    while at < away {
                        at += comeback.wait();
                    }
                    at
                });
                let arrivals: Vec<_> = arrivals.collect();
                let share = busiest(arrivals.iter().copied(), second);
                let fair = (1.0 / window.as_secs_f64()).min(1.0);
                assert!(share <= fair * 1.1, "{window:?}, away for {away:?}: {share}");
                // No later than as long again as the server was away, or the longest window.
                let latest = away + (away + window).min(longest);
                assert!(arrivals.iter().all(|at| *at <= latest), "{window:?}, away for {away:?}");
            }
        }
    }

    #[test]
    fn a_lone_agent_tries_soon_and_then_ever_more_rarely() {
        let mut comeback = ReconnectWindow::new(Duration::from_secs(1), Duration::from_secs(30), 500);
        let waits: Vec<_> = (0..9).map(|_| comeback.wait().as_millis()).collect();
        assert_eq!(waits, [500, 1500, 3000, 6000, 12000, 23000, 30000, 30000, 30000]);
    }

    #[test]
    fn refusals_are_tried_again_ever_more_rarely() {
        let minutes = |refusals| after_refusals(Duration::from_secs(60), refusals, 500).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 4, 9].map(minutes), [1, 2, 4, 8, 13, 13]);
        for refusals in 0..10 {
            assert!(after_refusals(Duration::from_secs(60), refusals, 999) <= Duration::from_secs(900));
        }
        let brief = after_refusals(Duration::from_millis(300), 2, 500);
        assert!(brief.abs_diff(Duration::from_millis(1200)) < Duration::from_millis(2), "{brief:?}");
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(750));
        assert!(jittered(second, u16::MAX) <= Duration::from_millis(1250));
    }
}
