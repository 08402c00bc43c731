//! `muster …` as an operator's shell runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::{Finished, MUSTER, Process, command};

/// One invocation, being put together.
#[derive(Debug)]
pub struct Cli {
    home: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
}

/// What came out of it.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    call: String,
}

impl Cli {
    pub fn new(home: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { home: home.to_owned(), args, env: Vec::new(), stdin: Vec::new() }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn stdin(mut self, input: &str) -> Self {
        self.stdin = input.as_bytes().to_vec();
        self
    }

    pub fn run(self) -> Output {
        let mut command = command(MUSTER, &self.home);
        command.args(&self.args).envs(self.env);
        let mut process = Process::start(&mut command);
        process.feed(&self.stdin);
        let Finished { status, stdout, stderr } = process.wait();
        Output { code: status.code(), stdout, stderr, call: format!("muster {}", self.args.join(" ")) }
    }
}

impl Output {
    /// Demands success.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self}");
        self
    }

    /// Demands of a `check` that it finds nothing to see to but where a test's server has its keys, and of hosts that are all of
    /// this machine.
    #[track_caller]
    pub fn well(self) -> Self {
        let words = ["CRITICAL: ", "SOON: ", "TIDY: "];
        let findings = self.stderr.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
        let usual = ["envelope key lies in the data", "root key lies on", "report machine ids"];
        let findings: Vec<_> = findings.filter(|line| !usual.iter().any(|it| line.contains(it))).collect();
        assert!(findings.is_empty() && self.stderr.contains("The store is whole."), "{self}");
        assert!(matches!(self.code, Some(0 | 4)), "{self}");
        self
    }

    /// Demands exit status 1, nothing on stdout, and something on stderr.
    #[track_caller]
    pub fn failed(self) -> Self {
        assert_eq!(self.code, Some(1), "{self}");
        assert_eq!(self.stdout, "", "{self}");
        assert!(!self.stderr.trim().is_empty(), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// The one JSON document that `--json` promises.
    #[track_caller]
    pub fn json(self) -> Value {
        let this = self.ok();
        serde_json::from_str(&this.stdout).unwrap_or_else(|e| panic!("{e}: {this}"))
    }

    /// The `items` of a list.
    #[track_caller]
    pub fn items(self) -> Vec<Value> {
        let list = self.json();
        list["items"].as_array().unwrap_or_else(|| panic!("not a list: {list}")).clone()
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, call } = self;
        write!(f, "{call}\nexit status {code:?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

/// A script of `tests/clients`, run by a Python that has the libraries of `tests/requirements.txt`.
pub fn python(home: &Path, script: &str, args: &[&str]) -> Output {
    let mut process = Process::start(python_command(home, script).args(args));
    process.feed(b"");
    let Finished { status, stdout, stderr } = process.wait();
    Output { code: status.code(), stdout, stderr, call: format!("{script} {}", args.join(" ")) }
}

/// The same, to be started and left running.
pub fn python_command(home: &Path, script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/python/bin/python");
    assert!(python.exists(), "{} is missing: run .ci/prepare first", python.display());
    let mut command = command(python.to_str().unwrap(), home);
    command.arg(root.join("tests/clients").join(script));
    command
}

/// `openssl …`: a judge that was not written for Muster.
pub fn openssl(home: &Path, args: &[&str]) -> Output {
    program("openssl", home, args)
}

/// Another such judge, which `.ci/prepare` has installed.
pub fn program(name: &str, home: &Path, args: &[&str]) -> Output {
    program_with(name, home, args, &[])
}

/// The same with more in its environment.
pub fn program_with(name: &str, home: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut process = Process::start(command(name, home).args(args).envs(env.iter().copied()));
    process.feed(b"");
    let Finished { status, stdout, stderr } = process.wait();
    Output { code: status.code(), stdout, stderr, call: format!("{name} {}", args.join(" ")) }
}
