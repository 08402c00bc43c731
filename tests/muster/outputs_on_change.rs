//! `on_change` of `muster agent outputs`: run when it should be, told what is new, and no trouble for anybody else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::process::Process;
use crate::support::provider::{Outputs, Provider};
use crate::support::server::Server;
use crate::support::wait;

/// A provider, one output, and a script that writes down each run and what it was told.
struct Story {
    provider: Provider,
    outputs: Outputs,
    place: PathBuf,
}

/// Waits while `hold` is there, fails while `broken` is.
const SCRIPT: &str = r#"#!/bin/sh
cd "$(dirname "$0")"
{ echo "run"; cat "$MUSTER_DENIED"; stat -c 'mode %a' "$MUSTER_DENIED"; } >> runs
while [ -e hold ]; do sleep 0.05; done
if [ -e broken ]; then echo "it is broken" >&2; exit 7; fi
echo "end" >> runs
"#;

fn script(room: &Path) -> PathBuf {
    let path = room.join("script");
    fs::write(&path, SCRIPT).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

impl Story {
    fn new(settings: &Value) -> Self {
        let provider = Provider::start();
        let room = provider.room.path();
        provider.give(provider.ca.answer(&[1]));
        let place = Outputs::dir(room, "files");
        let mut output = json!({"dir": place, "on_change": [script(room)]});
        output.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let outputs = provider.outputs(json!([output]));
        Self { provider, outputs, place }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.provider.room.path().join(name)
    }

    fn runs(&self) -> String {
        fs::read_to_string(self.path("runs")).unwrap_or_default()
    }

    fn wait_for_runs(&self, count: usize) -> String {
        wait::until(&format!("{count} runs"), || {
            let runs = self.runs();
            (runs.matches("end\n").count() >= count).then_some(runs)
        })
    }

    /// Waits until a success is on record that is another one than `before`; when it was.
    fn wait_for_success(&self, before: &Value) -> Value {
        wait::until("a success on record", || {
            let at = self.outputs.status()["on_change_last_success_at"].clone();
            (!at.is_null() && at != *before).then_some(at)
        })
    }

    /// The set that is there now.
    fn set(&self) -> PathBuf {
        fs::read_link(self.place.join("..data")).unwrap()
    }

    fn wait_for_another_set(&self, before: &Path) {
        wait::until("another set", || (self.set() != before).then_some(()));
    }
}

fn keep(story: &Story) -> Process {
    story.outputs.keep()
}

#[test]
fn a_revocation_does_not_wait_because_of_a_rotation() {
    let story = Story::new(&json!({"min_interval": "1h"}));
    let process = keep(&story);
    let first = story.wait_for_runs(1);
    assert_eq!(first, "run\n01\t-\t-\nmode 600\nend\n");
    let success = story.wait_for_success(&Value::Null);
    // The rotation is written and told later.
    let set = story.set();
    story.provider.rotate();
    story.wait_for_another_set(&set);
    story.provider.revoke(&[1, 2]);
    let second = story.wait_for_runs(2);
    // Only what is new is told.
    assert_eq!(second[first.len()..], *"run\n02\t-\t-\nmode 600\nend\n");
    // A crash before that would have it told once more.
    let success = story.wait_for_success(&success);
    let set = story.set();
    story.provider.revoke(&[1, 2, 3]);
    story.wait_for_another_set(&set);
    drop(process);
    assert_eq!(story.runs(), second, "the next change of lists waits");
    // It is owed, also by the next process.
    let process = keep(&story);
    let third = story.wait_for_runs(3);
    assert_eq!(third[second.len()..], *"run\n03\t-\t-\nmode 600\nend\n");
    story.wait_for_success(&success);
    drop(process);
    // Nothing is owed now: the next one has nothing to run.
    let mut process = keep(&story);
    wait::until("it keeps", || story.outputs.status()["kept"].as_bool().filter(|kept| *kept));
    process.signal(rustix::process::Signal::TERM);
    process.wait();
    assert_eq!(story.runs(), third);
}

#[test]
fn a_change_during_a_run_is_not_lost() {
    let story = Story::new(&json!({"min_interval": "0s"}));
    fs::write(story.path("hold"), "").unwrap();
    let _process = keep(&story);
    wait::until("a run", || story.runs().contains("run").then_some(()));
    let set = story.set();
    story.provider.revoke(&[1, 5]);
    story.wait_for_another_set(&set);
    assert_eq!(story.runs().matches("run\n").count(), 1, "one run at a time");
    fs::remove_file(story.path("hold")).unwrap();
    let runs = story.wait_for_runs(2);
    assert!(runs.ends_with("run\n05\t-\t-\nmode 600\nend\n"), "{runs}");
}

#[test]
fn a_failure_is_told_and_tried_again() {
    let story = Story::new(&json!({"min_interval": "1h"}));
    fs::write(story.path("broken"), "").unwrap();
    let process = keep(&story);
    let failed = process.wait_for_log("on_change has failed", wait::PATIENCE);
    assert!(failed.contains("ended with status 7; it said: it is broken"), "{failed}");
    let status = wait::until("the status", || {
        let status = story.outputs.status();
        (status["state"] == "on_change_fails").then_some(status)
    });
    assert!(status["on_change_failure"].as_str().unwrap().contains("status 7"), "{status}");
    let shown = story.outputs.run(&["--status"]);
    assert!(shown.code == Some(1) && shown.stdout.contains("it is broken"), "{shown}");
    fs::remove_file(story.path("broken")).unwrap();
    let runs = story.wait_for_runs(1);
    // What a failed run was told is told again.
    assert!(runs.ends_with("run\n01\t-\t-\nmode 600\nend\n"), "{runs}");
    wait::until("all is well", || (story.outputs.status()["state"] == "ok").then_some(()));
}

#[test]
fn a_command_that_hangs_is_killed_and_the_files_go_on() {
    let story = Story::new(&json!({"timeout": "1s"}));
    fs::write(story.path("hold"), "").unwrap();
    let process = keep(&story);
    let failed = process.wait_for_log("on_change has failed", wait::PATIENCE);
    assert!(failed.contains("went on for 1s and was killed"), "{failed}");
    let set = story.set();
    story.provider.rotate();
    story.wait_for_another_set(&set);
    fs::remove_file(story.path("hold")).unwrap();
    story.wait_for_runs(1);
}

#[test]
fn a_program_is_looked_for_in_the_system_alone() {
    let story = Story::new(&json!({"on_change": ["no-such-program", "x"]}));
    let checked = story.outputs.run(&["--check"]);
    assert!(
        checked.code == Some(1) && checked.stdout.contains("there is no program no-such-program"),
        "{checked}"
    );
    let failed = story.outputs.run(&["--once"]);
    assert!(failed.code == Some(1) && failed.stderr.contains("there is no program"), "{failed}");
    assert!(story.place.join("key.pem").exists(), "the files are there all the same");
}

#[test]
fn a_new_list_is_read_from_a_hashed_folder_without_a_reload() {
    let story = Story::new(&json!({"format": "hashed", "min_interval": "0s"}));
    fs::write(story.path("broken"), "").unwrap();
    let _process = keep(&story);
    let numbers = || {
        let folder = fs::read_dir(story.place.join("crl.d")).ok()?;
        let mut names: Vec<_> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        Some(names.iter().map(|name| name.rsplit_once('.').unwrap().1.to_owned()).collect::<Vec<_>>())
    };
    wait::until("the first lists", || (numbers()? == ["r0", "r0"]).then_some(()));
    story.provider.revoke(&[1, 2]);
    wait::until("the next number", || (numbers()? == ["r0", "r1", "r0", "r1"]).then_some(()));
    story.provider.revoke(&[1, 2, 3]);
    wait::until("the number after that", || (numbers()?.len() == 6).then_some(()));
    fs::remove_file(story.path("broken")).unwrap();
    // After a success every program has read the newest list.
    wait::until("the first number again", || (numbers()? == ["r0", "r0"]).then_some(()));
}

#[test]
fn a_revocation_reaches_files_and_command_with_the_name_of_who_is_out() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let socket = machine.with_workload_api(&config);
    let agent = machine.run(&config, &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    let other = Machine::new();
    other.enroll_at(&server, &server.join_token_for("bad-1"));

    let place = Outputs::dir(machine.home(), "files");
    let script = script(machine.home());
    let outputs = Outputs::new(
        machine.home(),
        &socket,
        json!([{"dir": place, "on_change": [script], "min_interval": "1h"}]),
    );
    let process = outputs.keep();
    let runs = || fs::read_to_string(machine.home().join("runs")).unwrap_or_default();
    wait::until("the first run", || runs().contains("end").then_some(()));
    wait::until("lists", || place.join("crl.pem").exists().then_some(()));
    server.revoke("bad-1");
    let spiffe_id = format!("spiffe://muster/tenant/{}/agent/bad-1", server.hello.tenant_id);
    let told =
        wait::until("a run that tells of it", || Some(runs()).filter(|runs| runs.contains(&spiffe_id)));
    let line = told.lines().find(|line| line.contains(&spiffe_id)).unwrap();
    let parts: Vec<_> = line.split('\t').collect();
    let [serial, end, _] = parts[..] else { panic!("{line}") };
    assert!(serial.len() == 32 && end.ends_with('Z'), "{line}");
    // One change: the list has it when the command is told.
    let list =
        crate::support::cli::openssl(&place, &["crl", "-noout", "-text", "-in", "crl.pem"]).ok().stdout;
    assert!(list.to_lowercase().contains(serial), "{list}");
    let denied: Value = serde_json::from_slice(&fs::read(place.join("denied.json")).unwrap()).unwrap();
    let entry = denied.as_array().unwrap().iter().find(|entry| entry["serial"] == serial).unwrap();
    assert_eq!(entry["spiffe_id"], spiffe_id);
    assert_eq!(entry["dn"], format!("O=muster,OU={},CN=bad-1", server.hello.tenant_id));

    // What fails stands in the host's timeline, and that it works again.
    fs::write(machine.home().join("broken"), "").unwrap();
    drop(process);
    fs::remove_dir_all(machine.home().join("state")).unwrap();
    let process = outputs.keep();
    let host = server.hosts().into_iter().find(|host| host["agent_id"] == "web-1").unwrap();
    let id = host["id"].as_str().unwrap();
    let told = |kind: &str| {
        let shown = server.cli(&["host", "show", id]).run().ok().stdout;
        shown.contains(kind).then_some(())
    };
    wait::until("a failure in the timeline", || told("output_failed"));
    fs::remove_file(machine.home().join("broken")).unwrap();
    wait::until("a recovery in the timeline", || told("output_recovered"));
    drop(process);
}
