//! The server that is tried out: this very program as another process, on loopback, which goes when this value does.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Take};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::agent::connect::server_url::ServerUrl;
use crate::cli::output::error::CliError;
use crate::cli::selftest::place::Place;
use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::network::pin::Pin;
use crate::domain::printable::printable;

/// Leads to this very program, also when its file has been replaced meanwhile.
const RUNNING: &str = "/proc/self/exe";
const ANY_PORT: &str = "127.0.0.1:0";
/// Most that is read of what the server prints: one line, once.
const OUTPUT_MAX: u64 = 64 * 1024;
/// How much of the log's end is looked at, and how much of a line is shown.
const LOG_END: u64 = 4096;
const LOG_LINE_CHARS: usize = 300;
/// How long a server may take until it says where it listens, and until it has stopped.
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct TrialServer {
    child: Child,
    output: BufReader<Take<pipe::Receiver>>,
    log: PathBuf,
    pub(crate) https: ServerUrl,
    pub(crate) grpc: HostPort,
}

/// What `quickstart --json` says first, as far as it is of use here.
#[derive(Deserialize)]
struct Quickstarted {
    url: ServerUrl,
    grpc_addr: SocketAddr,
    ca_pin: String,
}

/// The same of `serve --json`.
#[derive(Deserialize)]
struct Serving {
    listen: SocketAddr,
    grpc_listen: SocketAddr,
}

impl TrialServer {
    /// A server with everything new, and what its certificate is known by.
    pub(crate) async fn first_start(place: &Place) -> Result<(Self, Pin), CliError> {
        let mut started = Self::launch(place, "quickstart")?;
        let Quickstarted { url, grpc_addr, ca_pin } = started.hear().await?;
        (started.https, started.grpc) = (url, at(grpc_addr));
        Ok((started, ca_pin.parse()?))
    }

    /// A server on what another one has left, when it listens.
    pub(crate) async fn start_again(place: &Place) -> Result<Self, CliError> {
        let mut started = Self::launch(place, "serve")?;
        let Serving { listen, grpc_listen } = started.hear().await?;
        (started.https, started.grpc) = (ServerUrl::from(at(listen)), at(grpc_listen));
        Ok(started)
    }

    fn launch(place: &Place, subcommand: &str) -> Result<Self, CliError> {
        let failed = |error: io::Error| CliError::new(format!("cannot start a server: {error}"));
        let log = File::options().create(true).append(true).open(place.log()).map_err(failed)?;
        let mut command = Command::new(RUNNING);
        command.arg0("muster").arg(subcommand).arg("--data-dir").arg(place.data_dir());
        command.args(["--json", "--until-stdin-ends", "--listen", ANY_PORT, "--grpc-listen", ANY_PORT]);
        // Settings of a server that this machine may have are not this one's.
        command.env_clear().env("HOME", place.path()).current_dir(place.path());
        // Its end of standard input closes with this process, however that ends, and it ends with that. What a terminal
        // sends to this command is not for the server: this command ends it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take().map(|output| pipe::Receiver::from_owned_fd(OwnedFd::from(output)));
        let Some(Ok(output)) = output else {
            put_down(&mut child);
            return Err(CliError::new("cannot start a server: what it prints can't be read"));
        };
        let nowhere = at(SocketAddr::from(([127, 0, 0, 1], 0)));
        Ok(Self {
            child,
            output: BufReader::new(output.take(OUTPUT_MAX)),
            log: place.log(),
            https: ServerUrl::from(nowhere.clone()),
            grpc: nowhere,
        })
    }

    /// The line in which it says where it listens. There is a password in it.
    async fn hear<T: DeserializeOwned>(&mut self) -> Result<T, CliError> {
        let mut line = Zeroizing::new(String::new());
        let heard = timeout(START_WITHIN, self.output.read_line(&mut line)).await;
        let why = match heard {
            Ok(Ok(0)) => "it ended",
            Ok(Ok(_)) => match serde_json::from_str(&line) {
                Ok(said) => return Ok(said),
                Err(_) => "what it says can't be understood",
            },
            Ok(Err(_)) => "it says nothing",
            Err(_) => "it took too long",
        };
        Err(self.explain(CliError::new(format!("the server did not start: {why}"))))
    }

    /// SIGTERM, and the end in good order that must follow.
    pub(crate) async fn stop(mut self) -> Result<(), CliError> {
        let failed = |why: String| CliError::new(format!("the server did not stop in order: {why}"));
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(|error| failed(error.to_string()))?;
        let mut rest = Vec::new();
        // Its output is at its end when it is.
        let ended = timeout(STOP_WITHIN, self.output.read_to_end(&mut rest)).await;
        if ended.is_err() {
            return Err(self.explain(failed(format!("it runs after {} s", STOP_WITHIN.as_secs()))));
        }
        let status = self.child.wait().map_err(|error| failed(error.to_string()))?;
        if status.success() { Ok(()) } else { Err(self.explain(failed(status.to_string()))) }
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        put_down(&mut self.child);
    }

    /// How much memory it has now. Not every machine shows that of other processes.
    pub(crate) fn resident_octets(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(1024 * kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()?)
    }

    /// Adds to an error what the server has to do with it.
    pub(crate) fn explain(&mut self, mut error: CliError) -> CliError {
        if let Ok(Some(status)) = self.child.try_wait() {
            error.message = format!("{} (the server has ended: {})", error.message, status);
        }
        match last_error(&self.log) {
            Some(line) => {
                let before = error.hint.map(|hint| format!("{hint}; ")).unwrap_or_default();
                CliError { hint: Some(format!("{before}the server's log says: {line}")), ..error }
            }
            None => error,
        }
    }
}

impl Drop for TrialServer {
    fn drop(&mut self) {
        put_down(&mut self.child);
    }
}

fn put_down(child: &mut Child) {
    // One that has ended already is what we want.
    drop(child.kill());
    drop(child.wait());
}

fn at(address: SocketAddr) -> HostPort {
    HostPort { host: HostName::Ip(address.ip()), port: address.port() }
}

/// The last line of a log that says that something went wrong.
fn last_error(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut end = Vec::new();
    file.take(LOG_END).read_to_end(&mut end).ok()?;
    let end = String::from_utf8_lossy(&end);
    let wrong = end.lines().rfind(|line| line.contains(" ERROR ") || line.starts_with("error: "))?;
    Some(printable(wrong, LOG_LINE_CHARS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_last_error_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let shown = |text: &str| {
            std::fs::write(&log, text).unwrap();
            last_error(&log)
        };
        assert_eq!(shown(""), None);
        assert_eq!(shown("one\ntwo\n\n"), None);
        assert_eq!(shown("at ERROR one\nat  INFO two\n").as_deref(), Some("at ERROR one"));
        assert_eq!(shown("error: no\nhint: do\n").as_deref(), Some("error: no"));
        let long = format!("{}\nerror: no\n", "x".repeat(10_000));
        assert_eq!(shown(&long).as_deref(), Some("error: no"));
        assert!(shown(&format!("error: {}", "y".repeat(1000))).unwrap().len() < 1000);
    }
}
