//! The agent: enrolled by its own command, run with a configuration file.

use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::cli::{Cli, Output, openssl};
use super::process::{MUSTER, Process, command};
use super::server::Server;

/// A machine that could run an agent: a home and an empty place for an identity.
#[derive(Debug)]
pub struct Machine {
    home: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn dir(&self) -> PathBuf {
        self.home.path().join("identity")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// Whether an enrollment has left an identity or any part of one.
    pub fn is_blank(&self) -> bool {
        // A key that waits for its certificate may be there: it is what makes a retry free.
        ["cert.pem", "key.pem", "ca.pem", "server-ca.pem", "agent.yml"]
            .iter()
            .all(|name| !self.dir().join(name).exists())
    }

    /// Demands that `cert.pem` and `key.pem` are a pair, in openssl's eyes.
    #[track_caller]
    pub fn assert_key_matches(&self) {
        let dir = self.dir();
        let certificate = openssl(&dir, &["x509", "-noout", "-pubkey", "-in", "cert.pem"]).ok().stdout;
        let key = openssl(&dir, &["pkey", "-pubout", "-in", "key.pem"]).ok().stdout;
        assert_eq!(certificate, key);
    }

    /// `muster agent enroll` with the token in a file.
    pub fn enroll(&self, url: &str, token: &str, trust: &[&str]) -> Output {
        let token_file = self.home().join("token");
        std::fs::write(&token_file, format!("  {token}\n")).unwrap();
        let dir = self.dir();
        let args = [
            "agent",
            "enroll",
            "--server",
            url,
            "--token-file",
            token_file.to_str().unwrap(),
            "--dir",
            dir.to_str().unwrap(),
        ];
        Cli::new(self.home(), &[&args[..], trust].concat()).run()
    }

    /// Enrolls with the pin that the server announced.
    pub fn enroll_at(&self, server: &Server, token: &str) {
        self.enroll(&server.hello.url, token, &["--ca-pin", &server.hello.ca_pin]).ok();
    }

    /// Writes a configuration for this server; `enroll` goes in as it is. YAML takes JSON.
    pub fn configure(&self, server: &Server, enroll: Option<serde_json::Value>) -> PathBuf {
        let mut config = json!({
            "control_plane": {"grpc_addr": server.hello.grpc_addr},
            "tls": {
                "cert_file": self.file("cert.pem"),
                "key_file": self.file("key.pem"),
                "ca_file": self.file("server-ca.pem"),
            },
            "identity": {"server": server.hello.url},
        });
        if let Some(enroll) = enroll {
            config["enroll"] = enroll;
        }
        let path = self.home().join("agent.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Has the agent serve the Workload API; where.
    pub fn with_workload_api(&self, config: &Path) -> PathBuf {
        let mut settings: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
        let socket = self.home().join("workload.sock");
        settings["workload_api"] = json!({"socket": socket});
        std::fs::write(config, settings.to_string()).unwrap();
        socket
    }

    /// Has the agent believe that its identity is due for rotation when it starts: the server's clock is told to
    /// be far ahead.
    pub fn make_rotation_due(&self) {
        let mut notes: serde_json::Value = serde_json::from_str(&self.read("agent.json")).unwrap();
        // An SVID of 24 hours is due after 16 or 17.
        notes["clock_difference_ms"] = json!(18 * 3_600_000);
        std::fs::write(self.file("agent.json"), notes.to_string()).unwrap();
    }

    /// `muster agent run`.
    pub fn run(&self, config: &Path, env: &[(&str, &str)]) -> Process {
        let mut command = command(MUSTER, self.home());
        command.args(["agent", "run", "--config"]).arg(config).envs(env.iter().copied());
        Process::start(&mut command)
    }
}
