//! The server under load: a child process on free ports, its data on a real disk, ended with this value.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load::device::Device;
use crate::load::https::Https;
use crate::load::meter::Meter;

#[derive(Debug)]
pub struct Server {
    child: Child,
    binary: PathBuf,
    room: tempfile::TempDir,
    pub https: SocketAddr,
    pub grpc: SocketAddr,
    /// PEM.
    pub ca: String,
    /// Variables of the environment, beside those that every server here has.
    settings: Vec<(&'static str, String)>,
    /// SHA-256 of the CA's certificate, as agents are told it.
    pub pin: String,
}

impl Server {
    /// `muster quickstart` in a new data directory.
    pub fn first_start(binary: &Path) -> Self {
        Self::first_start_with(binary, &[])
    }

    /// The same with settings of its own, which it keeps.
    pub fn first_start_with(binary: &Path, settings: &[(&'static str, String)]) -> Self {
        let room = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on a real disk");
        let binary = binary.canonicalize().expect("a server to measure");
        let mut quickstart = Self::command_in(&binary, room.path());
        quickstart.args(["quickstart", "--json", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"]);
        quickstart.envs(settings.iter().cloned());
        let mut child = quickstart.stdout(Stdio::piped()).spawn().expect("a server");
        let mut hello = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut hello).expect("its first line");
        let hello: Value = serde_json::from_str(&hello).expect("a document");
        let address = |key: &str| {
            let text = hello[key].as_str().expect("a text");
            text.trim_start_matches("https://").trim_end_matches('/').parse().expect("an address")
        };
        let (https, grpc) = (address("url"), address("grpc_addr"));
        let ca = std::fs::read_to_string(room.path().join("data/tls/ca.crt")).expect("the server's CA");
        let pin = hello["ca_pin"].as_str().expect("a text").to_owned();
        Self { child, binary, room, https, grpc, ca, settings: settings.to_vec(), pin }
    }

    /// The binary with nothing of the caller's environment; what it logs goes to a file, as on a real machine.
    fn command_in(binary: &Path, room: &Path) -> Command {
        let room = room.canonicalize().expect("it is there");
        let log = File::options().create(true).append(true).open(room.join("log")).expect("a log");
        let mut command = Command::new(binary);
        command.env_clear().env("HOME", &room).env("MUSTER_DATA_DIR", room.join("data")).current_dir(&room);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// The binary as another process, by way of a program that ends in it, where the machine has that.
    pub fn command(&self, by_way_of: &[&str], room: &Path) -> Command {
        let direct = Self::command_in(&self.binary, room);
        let Some((first, rest)) = by_way_of.split_first() else { return direct };
        let there = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(first));
        let Some(first) = there.iter().find(|program| program.exists()) else { return direct };
        let mut command = Self::command_in(first, room);
        command.args(rest).arg(&self.binary);
        command
    }

    /// `muster serve` on the same data and the same ports. It may not answer yet.
    pub fn serve(&mut self) {
        let mut command = Self::command_in(&self.binary, self.room.path());
        command.arg("serve").env("MUSTER_LISTEN", self.https.to_string());
        command.env("MUSTER_GRPC_LISTEN", self.grpc.to_string()).envs(self.settings.iter().cloned());
        self.child = command.spawn().expect("a server");
    }

    /// SIGTERM, and the end that follows; how long that took.
    pub fn stop(&mut self) -> Duration {
        let begun = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("it ends").success(), "it ends in good order");
        begun.elapsed()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// What an operator's command prints with `--json`.
    pub fn operator(&self, arguments: &[&str]) -> Value {
        let mut command = Self::command_in(&self.binary, self.room.path());
        let output = command.args(arguments).arg("--json").stdout(Stdio::piped()).output().expect("it runs");
        assert!(output.status.success(), "{arguments:?}");
        serde_json::from_slice(&output.stdout).expect("a document")
    }

    /// Starts to count what both sides spend.
    pub fn meter(&self) -> Meter {
        Meter::of(self.id())
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What connects to it over HTTPS.
    pub fn door(&self) -> Https {
        Https::new(self.https, &self.ca)
    }

    pub fn resident_mib(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.expect("every process has it") / 1024.0
    }

    /// What its store lies on.
    pub fn device(&self) -> Device {
        Device::of(self.room.path())
    }

    pub fn store_mib(&self) -> f64 {
        let store = self.room.path().join("data").join(muster::store::FILE_NAME);
        std::fs::metadata(store).expect("it is there").len() as f64 / 1048576.0
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
