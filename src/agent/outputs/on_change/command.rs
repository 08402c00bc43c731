//! Running a command: no shell, no input, a time limit for it and everything that it has started, and an end to what it
//! says.

use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::domain::printable::printable;

/// Where programs are looked for that are named without a path, whatever the environment says.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Octets of what a command says that are kept.
const SAID_MAX: usize = 2048;
/// Characters of it in a sentence.
const SAID_CHARS: usize = 400;
/// How often to look whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// How long a command may go on when everything is to end.
const GRACE: Duration = Duration::from_secs(5);
/// What speaks to the service manager in our name, and nobody else's.
const OURS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Why a run was no success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no program {0} in /usr/sbin, /usr/bin, /sbin or /bin")]
    NotFound(String),
    #[error("{program} can't be started")]
    Start { program: String, source: io::Error },
    #[error("{program} {ended}{}", after_it(.said))]
    Failed { program: String, ended: String, said: String },
    #[error("{program} went on for {} and was killed{}", humantime::format_duration(*.after), after_it(.said))]
    TimedOut { program: String, after: Duration, said: String },
    #[error("{0} was killed because the outputs end")]
    Stopped(String),
}

fn after_it(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("; it said: {text}") }
}

/// A command that is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    /// The program and its arguments.
    pub words: Vec<String>,
    pub timeout: Duration,
    /// The file that `MUSTER_DENIED` names.
    pub denied: PathBuf,
    /// The files that have changed.
    pub dir: PathBuf,
}

/// The file of a program that is named without a path.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let places = PLACES.iter().map(|place| Path::new(place).join(name));
    places.into_iter().find(|path| is_program(path))
}

/// The file of a program.
pub(crate) fn program(name: &str) -> Result<PathBuf, CommandError> {
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(|path| is_program(path))
    } else {
        find_program(name)
    };
    match found {
        Some(found) => Ok(found),
        None if name.contains('/') => {
            let source = io::Error::new(io::ErrorKind::NotFound, "there is no such program");
            Err(CommandError::Start { program: name.to_owned(), source })
        }
        None => Err(CommandError::NotFound(name.to_owned())),
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0)
}

/// Runs a command to its end, for a thread that may block. What it says is the answer.
pub(crate) fn run(order: &Order, stop: &CancellationToken) -> Result<String, CommandError> {
    let name = order.words.first().cloned().unwrap_or_default();
    let start_failed = |source| CommandError::Start { program: name.clone(), source };
    let file = program(&name)?;
    let (mut heard, speaks) = io::pipe().map_err(start_failed)?;
    // Whoever is still speaking when the command has ended is not waited for.
    rustix::fs::fcntl_setfl(&heard, OFlags::NONBLOCK).map_err(|error| start_failed(error.into()))?;
    let mut command = Command::new(&file);
    command
        .arg0(&name)
        .args(order.words.iter().skip(1))
        .env("MUSTER_DENIED", &order.denied)
        .env("MUSTER_OUTPUT_DIR", &order.dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(speaks.try_clone().map_err(start_failed)?)
        .stderr(speaks)
        .process_group(0);
    for name in OURS {
        command.env_remove(name);
    }
    let child = command.spawn().map_err(start_failed)?;
    // It holds the ends that are spoken into.
    drop(command);
    let mut said = Vec::new();
    let ended = wait(child, order.timeout, stop, || listen(&mut heard, &mut said));
    listen(&mut heard, &mut said);
    let said =
        printable(&String::from_utf8_lossy(&said).replace(['\n', '\t'], " "), SAID_CHARS).trim().to_owned();
    match ended.map_err(start_failed)? {
        Ended::ByItself(status) if status.success() => Ok(said),
        Ended::ByItself(status) => {
            let ended = match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with status {code}"),
                (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
            };
            Err(CommandError::Failed { program: name, ended, said })
        }
        Ended::TooLate => Err(CommandError::TimedOut { program: name, after: order.timeout, said }),
        Ended::Stopped => Err(CommandError::Stopped(name)),
    }
}

enum Ended {
    ByItself(ExitStatus),
    TooLate,
    Stopped,
}

/// Waits for the end. The child is reaped here alone, so its group is its own for as long as it may be killed.
fn wait(
    mut child: Child,
    timeout: Duration,
    stop: &CancellationToken,
    mut listen: impl FnMut(),
) -> io::Result<Ended> {
    let deadline = clock::monotonic() + timeout;
    let mut end_by: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::ByItself(status));
        }
        listen();
        let now = clock::monotonic();
        if stop.is_cancelled() && end_by.is_none() {
            end_by = Some(now + GRACE);
        }
        let stopped = end_by.is_some_and(|end| now >= end);
        if now >= deadline || stopped {
            let group = Pid::from_child(&child);
            // It may have ended just now; then there is nobody to kill.
            let _ = kill_process_group(group, Signal::KILL);
            child.wait()?;
            return Ok(if now >= deadline { Ended::TooLate } else { Ended::Stopped });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Takes what has been said; what is too much is forgotten.
fn listen(heard: &mut PipeReader, said: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    // A command that never stops speaking does not keep us from looking at the time.
    for _ in 0..64 {
        match heard.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                let room = SAID_MAX.saturating_sub(said.len());
                said.extend(buffer.iter().take(count.min(room)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<String, CommandError> {
        let words = ["sh", "-c", script].map(str::to_owned).to_vec();
        let order = Order { words, timeout, denied: "/denied".into(), dir: "/dir".into() };
        run(&order, &CancellationToken::new())
    }

    #[test]
    fn what_a_command_says_is_bounded_and_harmless() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            sh("echo out; echo err >&2; echo $MUSTER_DENIED $PWD", minute).unwrap(),
            "out err /denied /"
        );
        let long = sh("yes 0123456789 | head -c 3000000; printf '\\033[2J'", minute).unwrap();
        assert_eq!(long.chars().count(), SAID_CHARS);
        let failed = sh("echo why >&2; exit 3", minute).unwrap_err();
        assert_eq!(failed.to_string(), "sh ended with status 3; it said: why");
        let killed = sh("kill -TERM $$", minute).unwrap_err();
        assert_eq!(killed.to_string(), "sh was killed by signal 15");
        // A child that goes on speaking is not waited for.
        let begun = Instant::now();
        sh("sleep 30 & exit 0", minute).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_that_it_has_started() {
        let room = tempfile::tempdir().unwrap();
        let alive = room.path().join("alive");
        let script = format!("(while :; do date +%N > {0}; sleep 0.05; done) & sleep 600", alive.display());
        let error = sh(&script, Duration::from_secs(2)).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        let read = || std::fs::read(&alive).unwrap();
        // A write that was under way may still be seen.
        let mut last = read();
        let settled = (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(200));
            let now = read();
            std::mem::replace(&mut last, now.clone()) == now
        });
        assert!(settled, "its child goes on");
    }

    #[test]
    fn programs_are_looked_for_in_the_system_alone() {
        assert!(program("sh").is_ok() && program("/bin/sh").is_ok());
        let error = program("no-such-program").unwrap_err().to_string();
        assert_eq!(error, "there is no program no-such-program in /usr/sbin, /usr/bin, /sbin or /bin");
        assert!(program("/etc/passwd").is_err() && program("/nowhere/x").is_err());
    }
}
