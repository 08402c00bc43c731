//! Programs as a service manager has them: started, reloaded and restarted by name, ended with the test.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::process::{Finished, Process};
use crate::support::wait::PATIENCE;

/// How a program is run: how it starts, and what tells it to read its configuration again.
pub struct Unit {
    start: Box<dyn Fn() -> Command + Send + Sync>,
    reload: Reload,
    ready: Option<Box<dyn Fn() -> bool + Send + Sync>>,
    ends: bool,
    running: Option<Group>,
}

pub enum Reload {
    By(Signal),
    Run(Box<dyn Fn() -> Command + Send + Sync>),
    /// It has to be restarted.
    Not,
}

/// A process with all of its children.
struct Group(Process);

impl Group {
    fn start(mut command: Command) -> Self {
        Self(Process::start(command.process_group(0)))
    }

    fn kill(&self) {
        // The group outlives its leader, so its id is still its own.
        let leader = Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        let _ = kill_process_group(leader, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Unit {
    pub fn new(reload: Reload, start: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { start: Box::new(start), reload, ready: None, ends: false, running: None }
    }

    /// Who starts it waits until this is so, as for a unit that says when it is ready.
    pub fn ready(mut self, is_ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.ready = Some(Box::new(is_ready));
        self
    }

    /// Does one thing and ends, and who starts it waits for that (`Type=oneshot`).
    pub fn once(start: impl Fn() -> Command + Send + Sync + 'static) -> Self {
        Self { ends: true, ..Self::new(Reload::Not, start) }
    }

    /// What it has against it: one that ends before it is ready says why in its log.
    fn start(&mut self, name: &str) -> Result<(), String> {
        if self.ends {
            return end_of(&mut (self.start)(), name);
        }
        let group = self.running.insert(Group::start((self.start)()));
        let Some(is_ready) = &self.ready else { return Ok(()) };
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if !group.0.is_running() {
                // Its children may hold its log open.
                group.kill();
                let status = group.0.wait().status;
                let said = last_lines(&group.0);
                return Err(format!("{name} has ended before it was ready, {status}:\n{said}"));
            }
            if is_ready() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let said = last_lines(&group.0);
                return Err(format!("{name} is not ready after {READY_WITHIN:?}:\n{said}"));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Runs a command to its end, which must be a success.
fn end_of(command: &mut Command, name: &str) -> Result<(), String> {
    let mut process = Process::start(command);
    process.feed(b"");
    let Finished { status, stdout, stderr } = process.wait();
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}\n{stdout}{stderr}")) }
}

/// The end of what a program has said.
fn last_lines(process: &Process) -> String {
    let said = process.stderr.text() + &process.stdout.text();
    let from = said.lines().count().saturating_sub(LAST_LINES);
    said.lines().skip(from).map(|line| format!("    {line}\n")).collect()
}

/// So much of a log says why something failed.
const LAST_LINES: usize = 12;
/// Less than the patience of whoever runs `systemctl`, who should hear why.
const READY_WITHIN: Duration = PATIENCE.saturating_sub(Duration::from_secs(10));
/// Between two looks at whether a unit is ready.
const PAUSE: Duration = Duration::from_millis(20);

/// The units of one machine.
#[derive(Clone, Default)]
pub struct Units(Arc<Mutex<BTreeMap<String, Unit>>>);

impl Units {
    pub fn add(&self, name: &str, unit: Unit) {
        self.0.lock().insert(name.to_owned(), unit);
    }

    /// `systemctl …`; what it has against it.
    pub fn obey(&self, line: &str) -> Result<(), String> {
        let now = line.split_whitespace().any(|word| word == "--now");
        let mut words = line.split_whitespace().filter(|word| !word.starts_with('-'));
        let verb = words.next().unwrap_or_default();
        if verb == "daemon-reload" {
            return Ok(());
        }
        for name in words {
            let mut units = self.0.lock();
            let name = name.trim_end_matches(".service");
            let unit = units.get_mut(name).ok_or_else(|| format!("there is no unit {name}"))?;
            match (verb, now) {
                ("start", _) | ("enable", true) => {
                    if unit.running.is_none() {
                        unit.start(name)?;
                    }
                }
                ("enable", false) => {}
                ("restart", _) => {
                    stop(unit);
                    unit.start(name)?;
                }
                ("stop", _) => stop(unit),
                ("reload", _) => reload(unit, name)?,
                ("try-reload-or-restart", _) => {
                    if unit.running.is_some() {
                        reload(unit, name)?;
                    }
                }
                _ => return Err(format!("systemctl {line}: the stand-in knows no {verb}")),
            }
        }
        Ok(())
    }

    /// For a test that has failed.
    pub fn print_logs(&self) {
        for (name, unit) in &*self.0.lock() {
            if let Some(Group(process)) = &unit.running {
                eprintln!("{name} has said:\n{}", last_lines(process));
            }
        }
    }

    pub fn stop_all(&self) {
        self.0.lock().clear();
    }
}

/// SIGTERM, and the end; a program that does not end fails the test.
fn stop(unit: &mut Unit) {
    if let Some(mut group) = unit.running.take()
        && group.0.is_running()
    {
        group.0.signal(Signal::TERM);
        group.0.wait();
    }
}

fn reload(unit: &Unit, name: &str) -> Result<(), String> {
    let Some(group) = &unit.running else { return Err(format!("{name} is not running")) };
    match &unit.reload {
        Reload::By(signal) => group.0.signal(*signal),
        Reload::Run(command) => end_of(&mut command(), &format!("reload of {name}"))?,
        Reload::Not => return Err(format!("{name} can't be reloaded")),
    }
    Ok(())
}
