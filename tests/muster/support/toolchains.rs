//! Go and Java, where a machine has them: tests that need them say so and do nothing where they are not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::command;

/// What Go hears of its surroundings: where modules come from, and who vouches for that.
const PASSED_ON: [&str; 7] =
    ["GOPROXY", "GOSUMDB", "GONOSUMDB", "GOFLAGS", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE"];

/// Where programs are, unless the search path has them already.
const ELSEWHERE: [&str; 3] = ["/usr/local/go/bin", "/usr/local/bin", "/usr/bin"];

/// Where programs of others come from that judge Muster.
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A program of this machine, or a word to whoever runs the tests on what was not run without it.
pub fn found(program: &str, needed_by: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ELSEWHERE.map(PathBuf::from));
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("{needed_by} was not run: there is no {program} on this machine");
    }
    found
}

/// The folder of whoever runs the tests, for what builds may share.
pub fn own_home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

/// A folder below `target/`, which stays from one run to the next.
pub fn kept(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Go, with a cache of builds that stays, and the modules of whoever runs the tests. It runs once at a time: two tests that
/// compile the same library would both do all of it.
#[derive(Debug)]
pub struct Go {
    program: PathBuf,
    lock: PathBuf,
    env: Vec<(String, String)>,
}

impl Go {
    /// It, where it is there and new enough.
    pub fn found(needed_by: &str) -> Option<Self> {
        let program = found("go", needed_by)?;
        let said = words_of(Command::new(&program).arg("version"));
        let minor =
            said.split("go1.").nth(1).and_then(|rest| rest.split(['.', ' ', '\n', 'r']).next()?.parse().ok());
        if minor.is_none_or(|minor: u32| minor < 25) {
            eprintln!("{needed_by} was not run: it needs Go 1.25, and here is {said}");
            return None;
        }
        let given = |name: &str| std::env::var(name).ok();
        let mut env: Vec<_> =
            PASSED_ON.iter().filter_map(|&name| Some((name.to_owned(), given(name)?))).collect();
        let or = |name: &str, usual: PathBuf| {
            (name.to_owned(), given(name).unwrap_or_else(|| usual.display().to_string()))
        };
        env.push(or("GOCACHE", kept("go-build")));
        env.push(or("GOMODCACHE", own_home().join("go/pkg/mod")));
        env.push(("GOTOOLCHAIN".to_owned(), "local".to_owned()));
        Some(Self { program, lock: kept("go-build").join("lock"), env })
    }

    /// It as a script of the shell, which hands its arguments on.
    pub fn script(&self) -> String {
        let env: Vec<_> = self.env.iter().map(|(name, value)| format!("{name}='{value}'")).collect();
        let (lock, program) = (self.lock.display(), self.program.display());
        format!("exec env {} flock '{lock}' {program} \"$@\"", env.join(" "))
    }

    /// Builds a program of `tests/clients/go`; where it is.
    pub fn build(&self, package: &str) -> PathBuf {
        let built = kept("clients").join(package);
        let mut go = command("flock", &own_home());
        go.arg(&self.lock).arg(&self.program).envs(self.env.iter().cloned());
        go.current_dir(Path::new(CLIENTS).join("go")).arg("build").arg("-o").arg(&built);
        words_of(go.arg(format!("./{package}")));
        built
    }
}

/// Whether there is a JDK 17, and what else Java needs.
pub fn has_java(needed_by: &str, programs: &[&str]) -> bool {
    let Some(javac) = found("javac", needed_by) else { return false };
    let said = words_of(Command::new(javac).arg("-version"));
    let version =
        said.strip_prefix("javac ").and_then(|rest| rest.split(['.', '\n', '-']).next()?.parse().ok());
    if version.is_none_or(|version: u32| version < 17) {
        eprintln!("{needed_by} was not run: it needs a JDK 17, and here is {said}");
        return false;
    }
    programs.iter().all(|program| found(program, needed_by).is_some())
}

/// Builds `tests/clients/java`; its class path.
pub fn build_java() -> String {
    let pom = Path::new(CLIENTS).join("java/pom.xml");
    let built = kept("clients/java");
    let mut maven = command("mvn", &own_home());
    maven.arg("-q").arg("-f").arg(pom).arg(format!("-DbuildDirectory={}", built.display()));
    words_of(maven.args(["compile", "dependency:copy-dependencies"]));
    format!("{0}/classes:{0}/dependency/*", built.display())
}

/// What a command prints that has to succeed, however long it takes: a first build fetches and compiles for minutes.
#[track_caller]
fn words_of(command: &mut Command) -> String {
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{command:?}: {ended:?}");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}
