//! The machine that is measured on, to judge the figures by.

use serde::Serialize;

use crate::load::figures::load_average;

#[derive(Debug, Serialize)]
pub struct Machine {
    /// RFC 3339, UTC, when the run began.
    pub date: String,
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    /// Over 1, 5 and 15 minutes.
    pub load_before: String,
    /// The same after the run, which is a part of it then.
    pub load_after: String,
}

impl Machine {
    pub fn look() -> Self {
        let name = rustix::system::uname();
        let [system, release] =
            [name.sysname(), name.release()].map(|text| text.to_string_lossy().into_owned());
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            processor: processor().unwrap_or_else(|| name.machine().to_string_lossy().into_owned()),
            kernel: format!("{system} {release}"),
            load_before: load_average(),
            load_after: String::new(),
        }
    }

    pub fn look_again(&mut self) {
        self.load_after = load_average();
    }
}

/// The model, where the kernel tells it.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(": ")?.1.trim().to_owned())
}
