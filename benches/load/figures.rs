//! Figures as they are printed: one line each, with what they were taken from.

use std::time::Duration;

/// One figure, under its name.
pub fn line(name: &str, value: &str) {
    println!("{name:<34} {value}");
}

/// Samples below which one in a hundred says nothing.
const PERCENTILE: usize = 100;

/// How long things took.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

impl Times {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// In milliseconds; not a number where nothing was timed.
    pub fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|percent| self.at(percent));
        write!(f, "p50 {half:>7.2} ms  ")?;
        if self.count() >= PERCENTILE {
            write!(f, "p99 {most:>7.2} ms  ")?;
        }
        write!(f, "max {all:>7.2} ms  ({} samples)", self.count())
    }
}

/// What both sides spent while something was measured.
#[derive(Debug)]
pub struct Spent {
    pub elapsed: Duration,
    pub server_cpu: Duration,
    pub client_cpu: Duration,
}

impl Spent {
    pub fn rate(&self, count: usize) -> f64 {
        count as f64 / self.elapsed.as_secs_f64()
    }

    /// Rate, and CPU per operation on either side.
    pub fn each(&self, count: usize) -> String {
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        let (rate, server, client) = (self.rate(count), each(self.server_cpu), each(self.client_cpu));
        format!("{rate:>7.0}/s  CPU each: server {server:>5.0} us, client {client:>5.0} us")
    }
}

/// The machine's load over the last 1, 5 and 15 minutes, to judge the figures by.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
