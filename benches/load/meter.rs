//! What both sides of a measurement spend, by the kernel's accounts: the server's process, and this one with the load.

use std::time::{Duration, Instant};

use crate::load::figures::Spent;

/// Clock ticks of /proc/PID/stat per second; Linux shows 100 to programs on every architecture that we run on.
const TICKS: u64 = 100;

/// Counts what both sides spend from when it is made.
#[derive(Debug)]
pub struct Meter {
    server: u32,
    begun: Instant,
    ticks: u64,
    client: u64,
}

impl Meter {
    /// For a server, by its process id.
    pub fn of(server: u32) -> Self {
        let client = cpu_ticks(std::process::id());
        Self { server, begun: Instant::now(), ticks: cpu_ticks(server), client }
    }

    pub fn spent(&self) -> Spent {
        let cpu = |process, before| Duration::from_millis((cpu_ticks(process) - before) * 1000 / TICKS);
        Spent {
            elapsed: self.begun.elapsed(),
            server_cpu: cpu(self.server, self.ticks),
            client_cpu: cpu(std::process::id(), self.client),
        }
    }
}

/// User and system time of a process with all its threads so far.
pub fn cpu_of(process: u32) -> Duration {
    Duration::from_millis(cpu_ticks(process) * 1000 / TICKS)
}

/// In clock ticks, proc(5).
fn cpu_ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("it runs");
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in parentheses");
    let fields: Vec<&str> = after_name.split(' ').collect();
    [11, 12].iter().map(|&field| fields[field].parse::<u64>().expect("a number")).sum()
}
