//! Over how long a fleet that loses its server should spread its return.

use std::time::Duration;

/// Agents that may come back in a second: what two cores take in without keeping anybody waiting, with handshakes
/// on both sides of a full TLS 1.3 exchange and the heartbeats of those who are back already.
const PER_SECOND: f64 = 300.0;
/// Shortest window. Less would be no kinder to a lone agent, and a server needs a moment to return.
const WINDOW_MIN: Duration = Duration::from_secs(1);

/// The window for so many agents. Never longer than the interval between their reports, in which the server hears
/// from all of them anyway.
pub(crate) fn window(live: usize, interval: Duration) -> Duration {
    let live = u32::try_from(live).unwrap_or(u32::MAX);
    Duration::from_secs_f64(f64::from(live) / PER_SECOND).max(WINDOW_MIN).min(interval)
}

pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_with_the_fleet_up_to_the_interval() {
        let interval = Duration::from_secs(30);
        let millis = |live| millis(window(live, interval));
        assert_eq!([0, 1, 300].map(millis), [1_000; 3]);
        assert_eq!([301, 1_500, 6_000].map(millis), [1_003, 5_000, 20_000]);
        assert_eq!([9_000, 10_000, 100_000, usize::MAX].map(millis), [30_000; 4]);
        assert_eq!(window(10, Duration::from_millis(100)), Duration::from_millis(100));
    }
}
