//! A machine to run a page on: its folders in a temporary one, its programs real, its service manager a stand-in.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::outputs;
use super::page::{Block, Kind, Page};
use super::unit::{Reload, Unit, Units};
use crate::support::process::{Finished, Process, command};

/// What pages name from the root on, and is a folder of the stage here.
const MOVED: [&str; 5] = ["/etc/", "/run/", "/var/", "/srv/", "/opt/"];

/// The tenant of every page's examples.
pub const EXAMPLE_TENANT: &str = "01a20522-87ef-71c3-91b1-d6df30adc77f";

pub struct Stage {
    root: TempDir,
    literals: Mutex<Vec<(String, String)>>,
    pub units: Units,
    /// Whether commands of the page build programs: a first build fetches and compiles for minutes.
    builds: AtomicBool,
    is_over: Arc<AtomicBool>,
    manager: Option<JoinHandle<()>>,
}

impl Stage {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Programs that change their user must get in.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for dir in ["bin", "home", "tmp", "requests", "etc/muster", "run", "var/lib", "var/log", "srv"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let (units, is_over) = (Units::default(), Arc::new(AtomicBool::new(false)));
        let manager = {
            let (requests, units, is_over) =
                (root.path().join("requests"), units.clone(), Arc::clone(&is_over));
            std::thread::spawn(move || manage(&requests, &units, &is_over))
        };
        let (literals, builds) = (Mutex::default(), AtomicBool::new(false));
        let stage = Self { root, literals, units, builds, is_over, manager: Some(manager) };
        let requests = stage.root().join("requests");
        stage.stand_in("systemctl", &SYSTEMCTL.replace("REQUESTS", requests.to_str().unwrap()));
        // Commands of pages are for root; here they run as whoever runs the tests.
        stage.stand_in(
            "sudo",
            "while case \"$1\" in -u) shift;; -*) ;; *) false;; esac; do shift; done; exec \"$@\"",
        );
        stage
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where something is that a page names from the root on, or from its working directory.
    pub fn path(&self, named: &str) -> PathBuf {
        match named.strip_prefix('/') {
            Some(absolute) => self.root().join(absolute),
            None => self.root().join("home").join(named),
        }
    }

    /// What a page says, and what that is here.
    pub fn say(&self, on_the_page: &str, here: impl Into<String>) {
        let mut literals = self.literals.lock();
        literals.retain(|(said, _)| said != on_the_page);
        literals.push((on_the_page.to_owned(), here.into()));
        // Of two that begin alike the longer one is meant.
        literals.sort_by_key(|(said, _)| std::cmp::Reverse(said.len()));
    }

    /// A text of a page as it is here. What has been put in is not looked at again.
    pub fn adapt(&self, text: &str) -> String {
        let literals = self.literals.lock();
        let root = self.root().to_str().unwrap();
        let (mut adapted, mut rest, mut before) = (String::new(), text, '\n');
        while let Some(next) = rest.chars().next() {
            let within_a_path = before.is_alphanumeric() || "._~/-}".contains(before);
            if let Some((said, here)) = literals.iter().find(|(said, _)| rest.starts_with(said)) {
                adapted.push_str(here);
                before = said.chars().last().unwrap();
                rest = &rest[said.len()..];
                continue;
            }
            if !within_a_path && MOVED.iter().any(|moved| rest.starts_with(moved)) {
                adapted.push_str(root);
            }
            adapted.push(next);
            before = next;
            rest = &rest[next.len_utf8()..];
        }
        adapted
    }

    /// Writes a file, and the folders above it.
    pub fn write(&self, named: &str, content: &str) -> PathBuf {
        let path = self.path(named);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A program of the stage's own, a script of the shell.
    pub fn stand_in(&self, name: &str, script: &str) {
        let path = self.root().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command on this machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(program, &self.root().join("home"));
        let path = std::env::var("PATH").unwrap_or_default();
        let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env("PATH", format!("{}:{path}:{system}", self.root().join("bin").display()));
        command.env("TMPDIR", self.root().join("tmp"));
        command
    }

    /// The same, to be made again and again.
    pub fn template(&self, program: &str, args: &[&str]) -> impl Fn() -> Command + Send + Sync + 'static {
        let made = self.command(program);
        let (home, args) =
            (self.root().join("home"), args.iter().map(|&arg| arg.to_owned()).collect::<Vec<_>>());
        let program = program.to_owned();
        let env: Vec<_> = made.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
        move || {
            let mut again = command(&program, &home);
            again.envs(env.iter().cloned()).args(&args);
            again
        }
    }

    /// From now on commands may take as long as they want.
    pub fn takes_its_time(&self) {
        self.builds.store(true, Ordering::Relaxed);
    }

    /// Runs lines as a shell does that stops at the first failure.
    pub fn shell(&self, lines: &str) -> Finished {
        let mut command = self.command("sh");
        if self.builds.load(Ordering::Relaxed) {
            let ended = command.args(["-eu", "-c", lines]).stdin(Stdio::null()).output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            return Finished { status: ended.status, stdout: text(ended.stdout), stderr: text(ended.stderr) };
        }
        let mut process = Process::start(command.args(["-eu", "-c", lines]));
        process.feed(b"");
        process.wait()
    }

    /// Does what a block says: writes the file, or runs the commands, which must succeed.
    #[track_caller]
    pub fn play(&self, page: &Page, block: &Block) -> String {
        page.was_run(block);
        let text = self.adapt(&block.text);
        match &block.kind {
            Kind::File(name) => {
                if name == outputs::SETTINGS {
                    outputs::were_prepared(self, page);
                }
                self.write(name, &text);
                String::new()
            }
            Kind::AddTo(name) => {
                let before = fs::read_to_string(self.path(name)).unwrap_or_default();
                self.write(name, &(before + &text));
                String::new()
            }
            Kind::Commands => {
                let done = self.shell(&text);
                assert!(done.status.success(), "docs/use/{}.md: {text}\n{done:?}", page.name);
                done.stdout
            }
            Kind::Other(info) => panic!("docs/use/{}.md: is {info:?} a file?\n{text}", page.name),
        }
    }

    /// Does what a part says, in order; what its commands printed.
    #[track_caller]
    pub fn play_part(&self, page: &Page, heading: &str) -> String {
        page.part(heading).iter().map(|block| self.play(page, block)).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.units.print_logs();
        }
        self.is_over.store(true, Ordering::Relaxed);
        self.units.stop_all();
        drop(self.manager.take().map(JoinHandle::join));
    }
}

/// Leaves its arguments as a request, and waits for the answer.
const SYSTEMCTL: &str = r#"at=REQUESTS/$$
printf '%s\n' "$*" > "$at.new"
mv "$at.new" "$at.request"
while [ ! -e "$at.answer" ]; do
    [ -d "REQUESTS" ] || exit 1
    sleep 0.01
done
refusal=$(cat "$at.answer")
rm -f "$at.answer"
[ -z "$refusal" ] || { echo "$refusal" >&2; exit 1; }"#;

/// Answers requests until the stage is gone.
fn manage(requests: &Path, units: &Units, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        for entry in fs::read_dir(requests).into_iter().flatten().flatten() {
            let request = entry.path();
            if request.extension().is_some_and(|extension| extension == "request") {
                let line = fs::read_to_string(&request).unwrap();
                fs::remove_file(&request).unwrap();
                // Whoever asked waits for an answer, whatever comes of it.
                let obeyed = catch_unwind(AssertUnwindSafe(|| units.obey(line.trim())));
                let obeyed = obeyed.unwrap_or_else(|_| Err(format!("systemctl {line} failed the test")));
                let answer = obeyed.err().unwrap_or_default();
                let (new, answered) = (request.with_extension("new"), request.with_extension("answer"));
                fs::write(&new, answer + "\n").unwrap();
                fs::rename(new, answered).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_page_means_the_stage() {
    let stage = Stage::new();
    stage.say("listen 443 ssl", "listen 127.0.0.1:1234 ssl");
    stage.say("127.0.0.1:80", "a");
    stage.say("127.0.0.1:8080", "/etc/b");
    let root = stage.root().to_str().unwrap();
    for (said, meant) in [
        ("listen 443 ssl;", "listen 127.0.0.1:1234 ssl;".to_owned()),
        ("http://127.0.0.1:8080/", "http:///etc/b/".to_owned()),
        ("a /etc/x unix:/run/y.sock:/v1", format!("a {root}/etc/x unix:{root}/run/y.sock:/v1")),
        ("https://x/etc/y $d/etc/z \"/var/a\"", format!("https://x/etc/y $d/etc/z \"{root}/var/a\"")),
    ] {
        assert_eq!(stage.adapt(said), meant, "{said}");
    }
    let refused = stage.shell("systemctl reload nothing");
    assert!(!refused.status.success() && refused.stderr.contains("no unit nothing"), "{refused:?}");
}

#[test]
fn a_unit_that_ends_before_it_is_ready_says_why() {
    let stage = Stage::new();
    let start = stage.template("sh", &["-c", "echo the port is taken >&2; exit 3"]);
    stage.units.add("app", Unit::new(Reload::Not, start).ready(|| false));
    for verb in ["start", "restart"] {
        stage.units.obey("stop app").unwrap();
        let refused = stage.shell(&format!("systemctl {verb} app"));
        assert!(!refused.status.success(), "{refused:?}");
        for wanted in ["app has ended before it was ready", "exit status: 3", "the port is taken"] {
            assert!(refused.stderr.contains(wanted), "{refused:?}");
        }
    }
}
