//! `muster selftest`: the proof on a user's own machine, which leaves nothing behind however it ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::Cli;
use crate::support::process::{MUSTER, Process, command};
use crate::support::wait::until;

/// Processes whose command line has this in it.
fn processes_with(text: &str) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| {
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    processes.filter(named).collect()
}

/// What is in a directory.
fn names_in(directory: &Path) -> Vec<String> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Demands that every element of a document is closed in its place, every attribute quoted and every `&` an entity.
fn assert_well_formed(xml: &str) {
    let (_, mut rest) = xml.split_once("?>").expect("a declaration");
    let mut open = Vec::new();
    while let Some((text, tag)) = rest.split_once('<') {
        for entity in text.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "{text}");
        }
        assert!(!text.contains('>'), "{text}");
        let (tag, after) = tag.split_once('>').expect("the end of a tag");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {tag}");
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert_eq!(tag.matches("=\"").count() * 2, tag.matches('"').count(), "{tag}");
            let name = tag.split([' ', '/']).next().unwrap();
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = after;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
}

#[test]
fn everything_is_proved_and_measured_and_nothing_stays() {
    let room = tempfile::tempdir().unwrap();
    let (directory, svg) = (room.path().join("a & <b>"), room.path().join("report.svg"));
    fs::create_dir(&directory).unwrap();
    fs::write(&svg, "of before").unwrap();
    let shown = directory.to_str().unwrap();
    let args = ["selftest", "--agents", "5", "--json", "--directory", shown, "--svg", svg.to_str().unwrap()];
    // Settings of a server that is really there are nothing to a test.
    let ran = Cli::new(room.path(), &args)
        .env("MUSTER_DATA_DIR", room.path().join("real").to_str().unwrap())
        .env("MUSTER_LISTEN", "192.0.2.1:1")
        .env("MUSTER_SERVER", "https://192.0.2.1:1")
        .env("HTTPS_PROXY", "http://192.0.2.1:1")
        .run()
        .ok();
    assert_eq!(ran.stderr, "", "nobody watches");
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&report["passed"], &report["agents"], &report["directory"]),
        (&true.into(), &5.into(), &shown.into())
    );
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(names, ["enroll", "connect", "rotate", "revoke", "cut off", "restart", "storm", "stop"]);
    // How many were answered before the kill -9 and come back with the others is for the machine to say.
    let caught = steps[6]["count"].as_u64().unwrap() - 4;
    assert!((2..=4).contains(&caught), "{report}");
    for (step, count) in steps.iter().zip([5, 5, 5, 1, 1, 1, 4 + caught, 1]) {
        assert_eq!(step["count"], count, "{step}");
        for figure in ["seconds", "p50_ms", "p99_ms", "longest_ms"] {
            assert!(step[figure].as_f64().is_some_and(|figure| figure >= 0.0), "{figure} of {step}");
        }
    }
    let proofs = report["proofs"].as_array().unwrap();
    let names: Vec<_> = proofs.iter().map(|proof| proof["proof"].as_str().unwrap()).collect();
    let expected = [
        "enrolled",
        "let_in",
        "rotated",
        "streams_ended",
        "handshakes_refused",
        "others_stayed",
        "came_back",
        "enrollments_kept",
        "revocations_kept",
    ];
    assert_eq!(names, expected);
    assert!(
        proofs.iter().all(|proof| proof["held"] == true && proof["checked"].as_u64() > Some(0)),
        "{report}"
    );
    assert_eq!(proofs[7]["checked"], 5 + caught, "{report}");
    assert_eq!(report["rotations"]["over_session"], 9 + caught, "{report}");
    assert!(report["disk"]["store_mib"].as_f64() > Some(0.0), "{report}");
    assert!(report["disk"]["change_log_mib"].as_f64() > Some(0.0), "{report}");
    let drawn = fs::read_to_string(&svg).unwrap();
    assert_well_formed(&drawn);
    assert!(drawn.contains("a &amp; &lt;b&gt;") && !drawn.contains("script"), "{drawn}");
    assert!(expected.len() < drawn.matches("held: ").count() + 1, "{drawn}");
    assert_eq!(names_in(&directory), [""; 0]);
    assert_eq!(names_in(room.path()).len(), 2, "{:?}", names_in(room.path()));
    assert_eq!(processes_with(shown), [""; 0].map(PathBuf::from));
}

#[test]
fn a_report_for_people_fits_a_terminal() {
    let room = tempfile::tempdir().unwrap();
    let ran = Cli::new(room.path(), &["selftest", "--agents", "2", "--directory", "."]).run().ok();
    assert!(ran.stdout.lines().count() > 20, "{ran}");
    // The first line has the directory, which is as long as it is.
    assert!(ran.stdout.lines().skip(1).all(|line| line.chars().count() <= 80), "{ran}");
    assert_eq!(names_in(room.path()), [""; 0]);
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_made() {
    let room = tempfile::tempdir().unwrap();
    let (file, closed) = (room.path().join("file"), room.path().join("closed"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    let selftest = |args: &[&str]| Cli::new(room.path(), &[&["selftest"], args].concat()).run();
    let mut cases = vec![("absent", "there is no directory"), ("file", "is not a directory")];
    if !rustix::process::geteuid().is_root() {
        cases.push(("closed", "permission denied"));
    }
    for (directory, why) in cases {
        let refused = selftest(&["--directory", directory]).failed();
        assert!(refused.stderr.contains(why) && refused.stderr.contains("hint: "), "{refused}");
    }
    let refused = selftest(&["--svg", "absent/report.svg"]).failed();
    assert!(refused.stderr.contains("there is no directory absent"), "{refused}");
    for agents in ["0", "1", "-1", "5001", "many"] {
        assert_eq!(selftest(&["--agents", agents]).code, Some(2), "{agents}");
    }
    let mut few = command("sh", room.path());
    few.args(["-c", "ulimit -n 400 && exec \"$0\" selftest --agents 100 --directory .", MUSTER]);
    let refused = Process::start(&mut few).wait();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("--agents 75, or raise the hard limit"), "{refused:?}");
    assert_eq!(names_in(room.path()).len(), 2, "{:?}", names_in(room.path()));
}

#[test]
fn whoever_is_interrupted_leaves_nothing() {
    let room = tempfile::tempdir().unwrap();
    let begun = |directory: &Path| {
        fs::create_dir(directory).unwrap();
        let mut command = command(MUSTER, room.path());
        command.args(["selftest", "--agents", "2000", "--directory"]).arg(directory);
        let running = Process::start(&mut command);
        // Its server is another process, whose data lie there.
        let data = format!("{}/muster-selftest-", directory.display());
        until("its server", || (!processes_with(&data).is_empty()).then_some(()));
        (running, data)
    };
    for (signal, until_enrolling) in [(Signal::INT, false), (Signal::TERM, true)] {
        let directory = room.path().join(format!("{signal:?}"));
        let (mut running, data) = begun(&directory);
        if until_enrolling {
            let [place] = <[String; 1]>::try_from(names_in(&directory)).unwrap();
            until("a socket", || directory.join(&place).join("data/muster.sock").exists().then_some(()));
        }
        running.signal(signal);
        let ended = running.wait();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains("interrupted"), "{ended:?}");
        assert_eq!((names_in(&directory).len(), processes_with(&data).len()), (0, 0));
    }
    // Whoever is killed can remove nothing, but no server goes on.
    let (mut running, data) = begun(&room.path().join("killed"));
    running.kill();
    until("its server's end", || processes_with(&data).is_empty().then_some(()));
}
