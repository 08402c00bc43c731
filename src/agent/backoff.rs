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

    /// The next wait, moved by up to a quarter either way.
    pub fn wait(&mut self) -> Duration {
        let base = self.next;
        self.next = (base * 2).min(self.most);
        jittered(base, random_permille())
    }

    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `base` times 0.75 to 1.25, as `permille` (0..=999) says.
fn jittered(base: Duration, permille: u16) -> Duration {
    base * (750 + u32::from(permille.min(999)) / 2) / 1000
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
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(1250));
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let second = Duration::from_secs(1);
        assert_eq!(jittered(second, 0), Duration::from_millis(750));
        assert!(jittered(second, u16::MAX) <= Duration::from_millis(1250));
    }
}
