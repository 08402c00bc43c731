//! What a step has cost, in numbers that a report shows.

use std::time::Duration;

use serde::Serialize;

/// How many agents do the same at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AtATime(pub(crate) usize);

/// A step and how long each of its parts took. Null where a step has none.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct StepFigures {
    pub(crate) step: &'static str,
    pub(crate) count: usize,
    pub(crate) at_a_time: usize,
    pub(crate) seconds: f64,
    pub(crate) per_second: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) longest_ms: Option<f64>,
}

impl StepFigures {
    /// Of many that did the same.
    pub(crate) fn of_many(
        step: &'static str,
        AtATime(at_a_time): AtATime,
        took: Duration,
        mut times: Vec<Duration>,
    ) -> Self {
        times.sort_unstable();
        let seconds = took.as_secs_f64();
        let per_second = (seconds > 0.0 && !times.is_empty()).then(|| rounded(times.len() as f64 / seconds));
        Self {
            step,
            count: times.len(),
            at_a_time: at_a_time.min(times.len()),
            seconds: rounded(seconds),
            per_second,
            p50_ms: percentile(&times, 50).map(millis),
            p99_ms: percentile(&times, 99).map(millis),
            longest_ms: times.last().copied().map(millis),
        }
    }

    /// Of what happens once.
    pub(crate) fn of_one(step: &'static str, took: Duration) -> Self {
        Self { per_second: None, ..Self::of_many(step, AtATime(1), took, vec![took]) }
    }
}

/// The smallest that so many percent of all don't exceed.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

pub(crate) fn millis(took: Duration) -> f64 {
    rounded(took.as_secs_f64() * 1000.0)
}

pub(crate) fn mib(octets: u64) -> f64 {
    rounded(octets as f64 / 1_048_576.0)
}

/// To three digits behind the point: more would say more than was measured.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        let at = |percent| percentile(&times, percent).map(|time| time.as_millis());
        assert_eq!((at(50), at(99), at(100), at(0)), (Some(100), Some(198), Some(200), Some(1)));
        assert_eq!(percentile(&times[..1], 99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 50), None);
        let step = StepFigures::of_many("x", AtATime(4), Duration::from_secs(2), times);
        assert_eq!((step.count, step.per_second, step.longest_ms), (200, Some(100.0), Some(200.0)));
        let none = StepFigures::of_many("x", AtATime(4), Duration::ZERO, Vec::new());
        assert_eq!((none.per_second, none.p50_ms, none.longest_ms), (None, None, None));
    }
}
