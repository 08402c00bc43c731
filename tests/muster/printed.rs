//! What commands print: secrets only where somebody gets them, wholes whole, and lines that can be pasted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::cli::Cli;
use crate::support::process::{Finished, MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// `muster ARGS` through a shell, which redirects.
fn shell(home: &Path, script: &str) -> Finished {
    let mut command = command("sh", home);
    command.args(["-c", script]).env("M", MUSTER).env("MUSTER_DATA_DIR", home.join("data"));
    let mut process = Process::start(&mut command);
    process.feed(b"");
    process.wait()
}

/// Every command that prints a secret, and what lists what it makes.
const REVEALING: [(&str, &str); 3] = [
    ("enroll-token", "enroll-token list"),
    ("secret create --name x", "secret list"),
    ("api-token create --name x --permission agent.read", "api-token list"),
];

#[test]
fn a_closed_output_refuses_a_secret_before_it_is_made() {
    let server = Server::quickstart();
    for (command, list) in REVEALING {
        let listed = || shell(server.room(), &format!("\"$M\" {list} --json")).stdout;
        let before = listed();
        for redirection in [">&-", "1</dev/null", "--json >&-"] {
            let refused = shell(server.room(), &format!("\"$M\" {command} {redirection}"));
            assert_eq!(refused.status.code(), Some(1), "{command} {redirection}: {refused:?}");
            assert!(refused.stderr.contains("standard output"), "{refused:?}");
        }
        assert_eq!(listed(), before, "{command} has made something");
    }
    let empty = tempfile::tempdir().unwrap();
    for command in ["agent-ca init", "agent-ca init --json", "quickstart"] {
        let refused = shell(empty.path(), &format!("\"$M\" {command} >&-"));
        assert_eq!(refused.status.code(), Some(1), "{command}: {refused:?}");
        assert!(!empty.path().join("data").exists(), "{command} has made something");
    }
}

#[test]
fn a_secret_for_a_file_that_others_can_read_is_warned_about() {
    let server = Server::quickstart();
    let (room, file) = (server.room(), server.room().join("out"));
    for (command, _) in REVEALING.into_iter().chain([("agent-ca init --data-dir ./other", "")]) {
        for (umask, warned) in [("022", true), ("027", true), ("077", false)] {
            let _ = fs::remove_file(&file);
            let _ = fs::remove_dir_all(room.join("other"));
            let done = shell(room, &format!("umask {umask}; \"$M\" {command} > out"));
            assert_eq!(done.status.code(), Some(0), "{command}: {done:?}");
            assert_eq!(done.stderr.starts_with("warning: "), warned, "{command}, first of all: {done:?}");
            assert!(!fs::read(&file).unwrap().is_empty());
            let open = fs::metadata(&file).unwrap().permissions().mode() & 0o077 != 0;
            assert_eq!(open, warned, "its owner decides about it");
        }
    }
}

#[test]
fn a_reader_that_went_away_matters_only_where_something_is_lost() {
    let mut server = Server::quickstart();
    // The reader is gone before the command starts: it closes, then says so through a fifo.
    let cut = |command: &str| {
        let script = format!(
            "mkfifo done; {{ cat done > /dev/null; \"$M\" {command}; echo $? > code; }} | {{ exec <&-; echo > done; }}; cat code; rm done code"
        );
        let finished = shell(server.room(), &script);
        (finished.stdout.trim().to_owned(), finished.stderr)
    };
    let dir = server.room().join("nobody");
    for list in ["host list", "host list --json", "audit list", "user list", "agent-ca show", "secret list"] {
        assert_eq!(cut(list), ("0".to_owned(), String::new()), "{list}");
    }
    let status = cut(&format!("agent status --dir {}", dir.display()));
    assert_eq!(
        status,
        ("1".to_owned(), String::new()),
        "its answer is that there is no identity, and not the pipe's"
    );
    for whole in ["agent-ca export -", "audit export -", "backup -", "enroll-token", "completions bash"] {
        let (code, said) = cut(whole);
        assert_eq!(code, "1", "{whole}: {said}");
        assert!(said.contains("error: "), "{whole}: {said}");
    }
    server.stop();
}

#[test]
fn a_backup_goes_down_a_pipe_as_well() {
    let server = Server::quickstart();
    let made = shell(server.room(), "\"$M\" backup - > backup.age; echo $?");
    assert_eq!(made.stdout, "0\n", "{made:?}");
    assert!(fs::read(server.room().join("backup.age")).unwrap().starts_with(b"age-encryption.org/v1\n"));
}

/// Lines that begin with a command, and advice after `run: `, are for a shell.
fn to_paste(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    let commands = lines.clone().filter(|line| line.starts_with("muster ")).map(str::to_owned);
    let advised = lines.filter_map(|line| line.split_once("run: ")).map(|(_, advice)| advice.to_owned());
    commands.chain(advised).collect()
}

#[test]
fn lines_to_paste_are_what_a_shell_takes() {
    let room = tempfile::tempdir().unwrap();
    let odd = room.path().join("my agent's $HOME `x`");
    fs::create_dir(&odd).unwrap();
    let mut command = command(MUSTER, room.path());
    command.args(["quickstart", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--data-dir"]);
    let data = odd.join("data");
    let server = Process::start(command.arg(&data));
    let line = server.stdout.wait_for_line(PATIENCE, |line| line.contains("muster agent enroll"));
    let line = line.unwrap_or_else(|| panic!("{}", server.stderr.text()));
    let cli =
        |args: &[&str]| Cli::new(room.path(), args).env("MUSTER_DATA_DIR", data.to_str().unwrap()).run();

    // The line does what it says when a shell reads it.
    let pasted = line.trim().replacen("muster", "\"$M\"", 1).replace("./muster-agent", "\"$1\"");
    let identity = odd.join("identity");
    let enrolled =
        Command::new("sh").args(["-c", &pasted, "sh"]).arg(&identity).env("M", MUSTER).output().unwrap();
    let said = String::from_utf8(enrolled.stdout).unwrap();
    assert!(enrolled.status.success(), "{pasted}: {said}");

    let mut lines = vec![line];
    lines.extend(to_paste(&said));
    let minted = cli(&["enroll-token", "--name", "x"]);
    lines.extend(to_paste(&minted.stderr));
    for key in [identity.join("key.pem"), data.join("envelope.key"), data.join("tls/server.key")] {
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    }
    lines.extend(to_paste(&cli(&["agent", "status", "--dir", identity.to_str().unwrap()]).stdout));
    let refused = cli(&["agent", "run", "--dir", identity.to_str().unwrap()]);
    lines.extend(to_paste(&refused.stderr));
    lines.extend(to_paste(&cli(&["backup", "b.age"]).stderr));
    server.wait_for_log("the one in use stays", PATIENCE);
    lines.extend(to_paste(&server.stderr.text()));
    drop(server);
    assert!(lines.len() >= 6, "{lines:#?}");
    for line in &lines {
        let judged = Command::new("sh").args(["-n", "-c", line]).output().unwrap();
        assert!(judged.status.success(), "{line}: {}", String::from_utf8_lossy(&judged.stderr));
    }
    // And the advice helps.
    let advice = to_paste(&refused.stderr).pop().unwrap();
    let advice = advice.split_once('\n').map_or(advice.as_str(), |(first, _)| first);
    assert!(Command::new("sh").args(["-c", advice]).status().unwrap().success(), "{advice}");
    let status = cli(&["agent", "status", "--dir", identity.to_str().unwrap()]);
    assert_eq!(status.code, Some(0), "{status}");
}
