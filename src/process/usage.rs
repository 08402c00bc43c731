//! What this process uses of the machine, as `/proc/self` has it (proc(5)).

use std::fs;
use std::time::Duration;

/// Linux shows processor time in hundredths of a second, whatever it counts in.
const TICK: Duration = Duration::from_millis(10);

/// What it uses now; what can't be read is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time since it began, its own and the kernel's for it.
    pub cpu: Option<Duration>,
    /// Memory that it has in use, in octets.
    pub resident: Option<u64>,
    /// Address space, in octets.
    pub virtual_memory: Option<u64>,
    pub threads: Option<u64>,
    pub open_files: Option<u64>,
    pub max_files: Option<u64>,
    /// Seconds since the epoch at which it began.
    pub began: Option<u64>,
}

impl ProcessUsage {
    /// Looks.
    pub fn now() -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let (stat, limits) = (read("stat"), read("limits"));
        let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
        let mut usage = Self::read(&stat, &read("status"), &limits, &booted);
        usage.open_files = fs::read_dir("/proc/self/fd").ok().and_then(|files| files.count().try_into().ok());
        usage
    }

    fn read(stat: &str, status: &str, limits: &str, booted: &str) -> Self {
        // The name in parentheses may hold anything; behind it is field 3.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |count: u64| TICK.saturating_mul(count.try_into().unwrap_or(u32::MAX));
        let cpu = field(14).zip(field(15)).map(|(user, kernel)| ticks(user.saturating_add(kernel)));
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime "));
        let booted = booted.and_then(|at| at.trim().parse::<u64>().ok());
        Self {
            cpu,
            resident: kib("VmRSS:"),
            virtual_memory: kib("VmSize:"),
            threads: field(20),
            open_files: None,
            max_files: files.and_then(|line| line.split_whitespace().next()?.parse().ok()),
            began: booted.zip(field(22)).map(|(booted, ticks)| booted + ticks / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_whatever_the_program_is_called() {
        let stat = "7 (a) 1 2 (x) S 1 1 1 0 -1 4 1 0 0 0 250 50 0 0 20 0 9 0 3000 1 1";
        let status = "Name:\tx\nVmSize:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        let limits = "Max open files            1024                 4096                 files\n";
        let usage = ProcessUsage::read(stat, status, limits, "cpu 1\nbtime 1700000000\n");
        let expected = ProcessUsage {
            cpu: Some(Duration::from_secs(3)),
            resident: Some(1 << 20),
            virtual_memory: Some(2 << 20),
            threads: Some(9),
            open_files: None,
            max_files: Some(1024),
            began: Some(1_700_000_030),
        };
        assert_eq!(usage, expected);
        assert_eq!(ProcessUsage::read("", "", "", ""), ProcessUsage::default());
        assert!(ProcessUsage::now().resident.is_some_and(|resident| resident > 0));
    }
}
