//! A quickstart server of the test's own: free ports, fresh directory, killed with the test.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::Cli;
use super::client::PASSWORD;
use super::http::Http;
use super::keys::certificates;
use super::ports::free_port;
use super::process::{Finished, MUSTER, Process, command};
use super::wait::PATIENCE;

const ANY_PORT: &str = "127.0.0.1:0";

/// Where a server is found again after it was away.
fn own_port() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// The first line of `muster quickstart --json`.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    pub url: String,
    pub grpc_addr: String,
    pub admin_user: String,
    pub admin_password: Option<String>,
    pub ca_pin: String,
    pub join_token: Option<String>,
    pub tenant_id: String,
    pub data_dir: PathBuf,
}

#[derive(Debug)]
pub struct Server {
    process: Process,
    pub hello: Hello,
    /// The line that `hello` was read from.
    pub first_line: String,
    env: Vec<(String, String)>,
    descriptors: Option<u32>,
    /// Beside the data directory there is room for what a test needs.
    room: TempDir,
}

impl Server {
    pub fn quickstart() -> Self {
        Self::quickstart_with(&[])
    }

    /// A quickstart with settings in its environment.
    pub fn quickstart_with(env: &[(&str, &str)]) -> Self {
        Self::first_start(env, None)
    }

    /// A quickstart on a data directory that has been filled before.
    pub fn quickstart_on(fill: impl FnOnce(&Path)) -> Self {
        Self::quickstart_on_with(&[], fill)
    }

    /// The same, with settings in its environment.
    pub fn quickstart_on_with(env: &[(&str, &str)], fill: impl FnOnce(&Path)) -> Self {
        let room = tempfile::tempdir().unwrap();
        fill(&room.path().join("data"));
        let env: Vec<_> = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let (process, hello, first_line) = launch(room.path(), &env, None, &own_port(), &own_port()).unwrap();
        Self { process, hello, first_line, env, descriptors: None, room }
    }

    /// A quickstart that may have only so many descriptors open.
    pub fn quickstart_with_descriptors(descriptors: u32) -> Self {
        Self::first_start(&[], Some(descriptors))
    }

    fn first_start(env: &[(&str, &str)], descriptors: Option<u32>) -> Self {
        let room = tempfile::tempdir().unwrap();
        let env: Vec<_> = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let (process, hello, first_line) =
            launch(room.path(), &env, descriptors, &own_port(), &own_port()).unwrap();
        Self { process, hello, first_line, env, descriptors, room }
    }

    pub fn room(&self) -> &Path {
        self.room.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.room.path().join("data")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.data_dir().join(name)
    }

    /// What the process has cost so far, in user and kernel time.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // proc(5): the name in parentheses may hold anything; utime and stime are fields 14 and 15, in ticks of
        // which Linux always shows 100 a second.
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// The memory that the process has now, in octets.
    pub fn resident_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        1024 * line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    }

    pub fn log(&self) -> String {
        self.process.stderr.text()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn wait_for_log(&self, text: &str, timeout: Duration) -> String {
        self.process.wait_for_log(text, timeout)
    }

    /// Where HTTPS listens, `127.0.0.1:PORT`, whatever others reach it by.
    pub fn listening(&self) -> String {
        let line = self.wait_for_log("https=127.0.0.1:", PATIENCE);
        let (_, address) = line.split_once("https=").unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    /// The same of the listener for agents.
    pub fn listening_for_agents(&self) -> String {
        let line = self.wait_for_log("https=127.0.0.1:", PATIENCE);
        let (_, address) = line.split_once(" grpc=").unwrap();
        address.split_whitespace().next().unwrap().to_owned()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM, and the orderly end that must follow.
    pub fn stop(&mut self) -> Finished {
        self.process.signal(Signal::TERM);
        let finished = self.process.wait();
        assert_eq!(finished.status.code(), Some(0), "{finished:?}");
        finished
    }

    /// Serves the same data directory again, on new ports.
    pub fn start_again(&mut self) {
        self.try_start_again().unwrap_or_else(|refused| panic!("{refused:?}"));
    }

    /// A setting for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// The same on the ports it had, for agents that must find it again.
    pub fn start_again_on_the_same_ports(&mut self) {
        let https = self.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
        let grpc = self.hello.grpc_addr.clone();
        assert!(!self.process.is_running());
        let launched = launch(self.room.path(), &self.env, self.descriptors, &https, &grpc);
        (self.process, self.hello, self.first_line) =
            launched.unwrap_or_else(|refused| panic!("{refused:?}"));
    }

    /// Serves the same data directory again, or says what a refusal looked like.
    pub fn try_start_again(&mut self) -> Result<(), Finished> {
        assert!(!self.process.is_running());
        let launched = launch(self.room.path(), &self.env, self.descriptors, ANY_PORT, ANY_PORT)?;
        (self.process, self.hello, self.first_line) = launched;
        Ok(())
    }

    /// An operator's command against this server's data directory, whether the server runs or not.
    pub fn cli(&self, args: &[&str]) -> Cli {
        Cli::new(self.room.path(), args).env("MUSTER_DATA_DIR", self.data_dir().to_str().unwrap())
    }

    pub fn http(&self) -> Http {
        Http::new(&self.hello.url, &self.server_ca())
    }

    /// `muster serve` on this data directory, on free ports. It prints nothing that says when it is ready.
    pub fn serve(&self, args: &[&str], env: &[(&str, &str)]) -> Process {
        let mut command = command(MUSTER, self.room.path());
        command.arg("serve").args(args).env("MUSTER_DATA_DIR", self.data_dir());
        command.env("MUSTER_LISTEN", ANY_PORT).env("MUSTER_GRPC_LISTEN", ANY_PORT).envs(env.iter().copied());
        Process::start(&mut command)
    }

    /// The store's file.
    pub fn store_file(&self) -> PathBuf {
        let mut files = std::fs::read_dir(self.data_dir()).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|ext| ext == "redb")).expect("the store's file")
    }

    /// The CA of the server's certificate, PEM.
    pub fn server_ca(&self) -> String {
        std::fs::read_to_string(self.file("tls/ca.crt")).unwrap()
    }

    /// The last second of the agent CA's intermediate.
    pub fn intermediate_not_after(&self) -> Timestamp {
        let bundle = self.cli(&["agent-ca", "export", "-"]).run().ok().stdout;
        let intermediate = certificates(&bundle).remove(1);
        let (_, intermediate) = x509_parser::parse_x509_certificate(&intermediate).unwrap();
        Timestamp::from_second(intermediate.validity().not_after.timestamp()).unwrap()
    }

    /// A join token; the arguments may narrow it.
    pub fn join_token(&self, args: &[&str]) -> String {
        let minted = self.cli(&[&["enroll-token", "--json"], args].concat()).run().json();
        text(&minted, "token")
    }

    /// A join token that names an agent id.
    pub fn join_token_for(&self, agent: &str) -> String {
        self.join_token(&["--agent", agent])
    }

    /// An enrollment secret: its id and its text.
    pub fn secret(&self, args: &[&str]) -> (String, String) {
        let made = self.cli(&[&["secret", "create", "--name", "test", "--json"], args].concat()).run().json();
        (text(&made, "id"), text(&made, "secret"))
    }

    /// How many of a secret's uses are gone.
    pub fn uses(&self, secret_id: &str) -> u64 {
        let secrets = self.cli(&["secret", "list", "--json"]).run().items();
        let secret = secrets.iter().find(|s| s["id"] == secret_id);
        secret.and_then(|s| s["uses"].as_u64()).unwrap_or_else(|| panic!("{secret_id} in {secrets:?}"))
    }

    pub fn hosts(&self) -> Vec<Value> {
        self.cli(&["host", "list", "--json"]).run().items()
    }

    pub fn host(&self, id: &str) -> Value {
        self.cli(&["host", "show", id, "--json"]).run().json()
    }

    /// Every certificate ever issued to a host.
    pub fn enrollments(&self, host: &str) -> Vec<Value> {
        self.cli(&["enrollment", "list", host, "--json"]).run().items()
    }

    /// A new tenant's id.
    pub fn tenant(&self, name: &str) -> String {
        text(&self.cli(&["tenant", "create", "--name", name, "--json"]).run().json(), "id")
    }

    /// Adds a person with the password of [`PASSWORD`](super::client::PASSWORD) and returns their id.
    pub fn add_user(&self, name: &str, role: &str, tenant: Option<&str>) -> String {
        let mut args = vec!["user", "add", name, "--role", role, "--json"];
        args.extend(tenant.into_iter().flat_map(|tenant| ["--tenant", tenant]));
        text(&self.cli(&args).stdin(PASSWORD).run().json(), "id")
    }

    /// An API token made by the local operator: its text.
    pub fn api_token(&self, permissions: &[&str], tenant: Option<&str>) -> String {
        let mut args = vec!["api-token", "create", "--name", "test", "--json"];
        args.extend(permissions.iter().flat_map(|permission| ["--permission", permission]));
        args.extend(tenant.into_iter().flat_map(|tenant| ["--tenant", tenant]));
        text(&self.cli(&args).run().json(), "token")
    }

    /// Audit records with this text in them, newest first.
    pub fn audit(&self, search: &str) -> Vec<Value> {
        self.cli(&["audit", "list", "--search", search, "--limit", "500", "--json"]).run().items()
    }

    /// Revokes an identity of the default tenant.
    pub fn revoke(&self, agent: &str) {
        self.cli(&["revoke-agent", "--tenant", &self.hello.tenant_id, "--agent", agent]).run().ok();
    }
}

/// Starts a quickstart and waits until it has announced itself or ended.
fn launch(
    room: &Path,
    env: &[(String, String)],
    descriptors: Option<u32>,
    https: &str,
    grpc: &str,
) -> Result<(Process, Hello, String), Finished> {
    let mut command = match descriptors {
        Some(most) => {
            let mut shell = command("sh", room);
            shell.args(["-c", &format!("ulimit -n {most} && exec \"$0\" \"$@\""), MUSTER]);
            shell
        }
        None => command(MUSTER, room),
    };
    command.args(["quickstart", "--json", "--listen", https, "--grpc-listen", grpc, "--data-dir"]);
    command.arg(room.join("data")).envs(env.iter().map(|(k, v)| (k, v)));
    let mut process = Process::start(&mut command);
    let Some(line) = process.stdout.wait_for_line(PATIENCE, |_| true) else {
        return Err(process.wait());
    };
    let hello = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    Ok((process, hello, line))
}

#[track_caller]
pub fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_else(|| panic!("no text {key:?} in {value}")).to_owned()
}
