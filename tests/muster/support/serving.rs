//! `muster serve` in a directory of the test's own, which may be as empty as a new machine's.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::cli::{Cli, Output, openssl};
use super::grpc::Peer;
use super::http::Http;
use super::identity::Identity;
use super::process::{Finished, MUSTER, Process, command};
use super::server::text;
use super::wait::PATIENCE;

#[derive(Debug)]
pub struct Serving {
    process: Process,
    room: TempDir,
    env: Vec<(String, String)>,
    /// Where the two listeners are, `127.0.0.1:PORT`.
    pub https: String,
    pub grpc: String,
    /// What it says of itself once it serves.
    pub hello: Value,
}

impl Serving {
    pub fn start(env: &[(&str, &str)]) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), env)
    }

    /// The same in a directory that has been filled before.
    pub fn start_on(room: TempDir, env: &[(&str, &str)]) -> Self {
        let env: Vec<_> = env.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        let mut command = command(MUSTER, room.path());
        command.args(["serve", "--json"]).env("MUSTER_DATA_DIR", room.path().join("data"));
        command.env("MUSTER_LISTEN", "127.0.0.1:0").env("MUSTER_GRPC_LISTEN", "127.0.0.1:0");
        command.envs(env.iter().map(|(k, v)| (k, v)));
        let process = Process::start(&mut command);
        let line = process.stdout.wait_for_line(PATIENCE, |_| true);
        let line = line.unwrap_or_else(|| panic!("it did not start:\n{}", process.stderr.text()));
        let hello: Value = serde_json::from_str(&line).unwrap();
        let (https, grpc) = (text(&hello, "listen"), text(&hello, "grpc_listen"));
        Self { process, room, env, https, grpc, hello }
    }

    pub fn room(&self) -> &Path {
        self.room.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.room.path().join("data")
    }

    pub fn log(&self) -> String {
        self.process.stderr.text()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGTERM; the directory stays.
    pub fn stop(mut self) -> (TempDir, Finished) {
        self.process.signal(rustix::process::Signal::TERM);
        let finished = self.process.wait();
        (self.room, finished)
    }

    /// An operator's command with the server's own environment.
    pub fn cli(&self, args: &[&str]) -> Cli {
        let cli = Cli::new(self.room.path(), args).env("MUSTER_DATA_DIR", self.data_dir().to_str().unwrap());
        self.env.iter().fold(cli, |cli, (name, value)| cli.env(name, value))
    }

    /// The CA of the certificate that the server has made for itself, PEM.
    pub fn server_ca(&self) -> String {
        std::fs::read_to_string(self.data_dir().join("tls/ca.crt")).unwrap()
    }

    pub fn http(&self) -> Http {
        Http::new(&format!("https://{}", self.https), &self.server_ca())
    }

    pub fn join_token(&self) -> String {
        text(&self.cli(&["enroll-token", "--json"]).run().json(), "token")
    }

    pub fn peer(&self, identity: &Identity) -> Peer {
        Peer::new(&self.grpc, &self.server_ca(), &identity.chain_der(), identity.key.pair())
    }

    /// The names in the certificate in `tls/`, as openssl prints them.
    pub fn certificate_names(&self) -> String {
        names_in(self.room(), &self.data_dir().join("tls/server.crt"))
    }
}

pub fn names_in(home: &Path, certificate: &Path) -> String {
    let args = ["x509", "-noout", "-ext", "subjectAltName", "-in", certificate.to_str().unwrap()];
    let Output { stdout, .. } = openssl(home, &args).ok();
    stdout
}

/// Runs `muster serve` where it must refuse, and returns what it said.
#[track_caller]
pub fn refuses(data_dir: &Path, args: &[&str], env: &[(&str, &str)]) -> String {
    let mut command = command(MUSTER, data_dir.parent().unwrap());
    command.arg("serve").args(args).env("MUSTER_DATA_DIR", data_dir);
    command.env("MUSTER_LISTEN", "127.0.0.1:0").env("MUSTER_GRPC_LISTEN", "127.0.0.1:0");
    command.envs(env.iter().copied());
    let finished = Process::start(&mut command).wait();
    assert_eq!(finished.status.code(), Some(1), "{args:?} {env:?}: {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    finished.stderr
}
