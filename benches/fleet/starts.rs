//! How long the server needs with so many hosts on record: from exec to its first answer after `kill -9`, and until it can list
//! them; with what the system has of the file in memory, and without; and how long it needs to stop.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::load::figures::{Times, line};
use crate::load::https::Https;

/// Starts of each kind.
const STARTS: usize = 5;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(120);

struct Server<'d> {
    directory: &'d Path,
    binary: PathBuf,
    https: SocketAddr,
    grpc: SocketAddr,
    ca: String,
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("it has one")
}

impl Server<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        let log = std::fs::File::options().create(true).append(true).open(self.directory.join("log"));
        command.env_clear().env("HOME", self.directory).env("MUSTER_DATA_DIR", self.directory);
        command.env("MUSTER_LISTEN", self.https.to_string()).env("MUSTER_GRPC_LISTEN", self.grpc.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        command
    }

    /// Starts it, and says when it first answered and when it could list hosts.
    async fn start(&self) -> (Child, Duration, Duration) {
        let begun = Instant::now();
        let child = self.command().arg("serve").spawn().expect("a server");
        let answered = self.until("/readyz", begun).await;
        // Counts all hosts, so it has them all.
        let listed = self.until("/metrics", begun).await;
        (child, answered, listed)
    }

    async fn until(&self, path: &str, begun: Instant) -> Duration {
        let https = Https::new(self.https, &self.ca);
        let request = format!("GET {path} HTTP/1.1\r\nHost: muster\r\n\r\n");
        loop {
            if let Ok(mut connection) = https.connect(Ipv4Addr::LOCALHOST.into()).await
                && matches!(connection.exchange(request.as_bytes()).await, Ok((200 | 401 | 403, _)))
            {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not answer");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn resident_mib(child: &Child) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.expect("every process has it") / 1024.0
}

/// Has the system forget what it has read; whether it may be asked to.
fn forget() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

pub async fn measure(directory: &Path, binary: &Path) {
    let mut server =
        Server { directory, binary: binary.to_owned(), https: free(), grpc: free(), ca: String::new() };
    assert!(server.command().arg("gen-cert").status().expect("it runs").success(), "a certificate");
    server.ca = std::fs::read_to_string(directory.join("tls/ca.crt")).expect("the server's CA");
    let (mut clean, mut warm, mut cold) = (Vec::new(), Vec::new(), Vec::new());
    let (mut listed, mut stops, mut resident) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..STARTS {
        let (mut child, took, _) = server.start().await;
        clean.push(took);
        let begun = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        assert!(child.wait().expect("it ends").success(), "it ends in good order");
        stops.push(begun.elapsed());
    }
    for round in 0..2 * STARTS {
        let is_cold = round % 2 == 1 && forget();
        let (mut child, took, all) = server.start().await;
        if is_cold {
            cold.push(took);
        } else {
            warm.push(took);
            listed.push(all);
        }
        resident = resident.max(resident_mib(&child));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
    let times = |times: Vec<Duration>| times.into_iter().collect::<Times>().to_string();
    line("start after a clean stop", &times(clean));
    line("start after kill -9", &times(warm));
    line("the same until hosts are listed", &times(listed));
    if !cold.is_empty() {
        line("start after kill -9, cold", &times(cold));
    }
    line("clean stop", &times(stops));
    line("memory", &format!("{resident:.0} MiB resident"));
}
