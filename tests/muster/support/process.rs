//! A child process: clean environment, output kept and searchable, ended by its own id.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

use super::wait::{self, PATIENCE};

/// The binary under test.
pub const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

/// A command with nothing of the caller's environment but the search path.
pub fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.current_dir(home);
    command
}

/// Lines as they arrive.
#[derive(Debug, Clone, Default)]
pub struct Lines(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Debug, Default)]
struct Collected {
    text: String,
    ended: bool,
}

impl Lines {
    fn collect(&self, from: impl Read + Send + 'static) {
        let this = self.clone();
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                this.0.0.lock().text.push_str(&String::from_utf8_lossy(&line));
                this.0.1.notify_all();
                line.clear();
            }
            this.0.0.lock().ended = true;
            this.0.1.notify_all();
        });
    }

    pub fn text(&self) -> String {
        self.0.0.lock().text.clone()
    }

    /// Whether no more can come.
    pub fn has_ended(&self) -> bool {
        self.0.0.lock().ended
    }

    /// The first complete line that `wanted` accepts, waiting for it as long as more may come.
    pub fn wait_for_line(&self, timeout: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + timeout;
        let mut collected = self.0.0.lock();
        loop {
            let complete = collected.text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            if let Some(line) = complete.map(str::trim_end).find(|line| wanted(line)) {
                return Some(line.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if collected.ended || left.is_zero() {
                return None;
            }
            self.0.1.wait_for(&mut collected, left);
        }
    }

    fn wait_for_end(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut collected = self.0.0.lock();
        while !collected.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "output was still open after the process had ended");
            self.0.1.wait_for(&mut collected, left);
        }
        collected.text.clone()
    }
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pub stdout: Lines,
    pub stderr: Lines,
}

/// What a child left behind.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (stdout, stderr) = (Lines::default(), Lines::default());
        stdout.collect(child.stdout.take().unwrap());
        stderr.collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Writes to the child's standard input and closes it.
    pub fn feed(&mut self, input: &[u8]) {
        let mut stdin = self.child.stdin.take().unwrap();
        // A child that has already refused need not read.
        drop(stdin.write_all(input));
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until the log holds a line with this text and returns the line.
    pub fn wait_for_log(&self, text: &str, timeout: Duration) -> String {
        self.stderr
            .wait_for_line(timeout, |line| line.contains(text))
            .unwrap_or_else(|| panic!("{text:?} is not in the log:\n{}", self.stderr.text()))
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn wait(&mut self) -> Finished {
        let id = self.id();
        let status = wait::until(&format!("process {id} ends"), || self.child.try_wait().unwrap());
        Finished { status, stdout: self.stdout.wait_for_end(), stderr: self.stderr.wait_for_end() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
