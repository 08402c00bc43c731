//! The program as the server offers it, and the line that brings it to a machine.

use std::path::Path;

use serde_json::Value;

use crate::support::cli::Cli;
use crate::support::http::Http;
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::{Server, text};
use crate::support::wait::PATIENCE;

fn own() -> String {
    format!("/install/{}-{}/muster", std::env::consts::OS, std::env::consts::ARCH)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_program_is_offered_also_after_an_upgrade_has_taken_its_name() {
    let room = tempfile::tempdir().unwrap();
    let program = room.path().join("muster");
    std::fs::copy(MUSTER, &program).unwrap();
    let data = room.path().join("data");
    let mut server = Process::start(
        command(program.to_str().unwrap(), room.path())
            .args(["quickstart", "--json", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"])
            .args(["--data-dir", data.to_str().unwrap()]),
    );
    let hello = server.stdout.wait_for_line(PATIENCE, |_| true).unwrap();
    let hello: Value = serde_json::from_str(&hello).unwrap();
    let ca = std::fs::read_to_string(data.join("tls/ca.crt")).unwrap();
    let http = Http::new(&text(&hello, "url"), &ca);

    let newer = room.path().join("newer");
    std::fs::write(&newer, "another program").unwrap();
    std::fs::rename(&newer, &program).unwrap();
    let answer = http.get(&own()).await;
    assert_eq!(answer.status, 200);
    let expected = std::fs::read(MUSTER).unwrap();
    assert!(answer.body == expected, "{} and {} bytes", answer.body.len(), expected.len());
    let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-length"), expected.len().to_string());
    assert_eq!(header("content-type"), "application/octet-stream");

    let again = [("if-none-match".to_owned(), header("etag"))];
    let unchanged = http.exchange("GET", &own(), &again, Vec::new()).await.unwrap();
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let head = http.exchange("HEAD", &own(), &[], Vec::new()).await.unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"].to_str().unwrap(), expected.len().to_string());
    server.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_platforms_are_what_lies_in_the_data_directory() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["linux-riscv64", "linux", "..-..", "linux-%2e%2e", "linux-riscv64%2f..", "LINUX-x"] {
        let answer = http.get(&format!("/install/{path}/muster")).await;
        assert_eq!(answer.status, 404, "{path}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(text(&problem, "detail").contains("data directory"), "{problem}");
    }
    let place = server.file("install/linux-riscv64");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("muster"), "for another machine").unwrap();
    let answer = http.get("/install/linux-riscv64/muster").await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"for another machine"[..]));
}

/// The line after the one that begins so.
fn line_after<'a>(text: &'a str, start: &str) -> &'a str {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(start)).skip(1);
    lines.next().unwrap_or_else(|| panic!("{start}: {text}")).trim()
}

#[test]
fn a_token_comes_with_the_lines_to_paste() {
    let server = Server::quickstart();
    let minted = server.cli(&["enroll-token"]).run().ok();
    let token = minted.stdout.trim();
    let authority = server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/');
    let link = format!("muster://{authority}/?pin={}#{token}", server.hello.ca_pin);
    let install = line_after(&minted.stderr, "On the host, to bring");
    assert!(install.starts_with("curl -fsSk --pinnedpubkey 'sha256//"), "{install}");
    let rest = format!(
        " https://{authority}/install/linux-$(uname -m)/muster -o muster && chmod +x muster && ./muster agent install '{link}'"
    );
    assert!(install.ends_with(&rest), "{install}");
    assert!(minted.stderr.contains(&format!("Join link: {link}\n")), "{}", minted.stderr);

    let json = server.cli(&["enroll-token", "--json"]).run().json();
    let link = text(&json, "join_link");
    assert!(text(&json, "install_command").ends_with(&format!("./muster agent install '{link}'")));
    assert_eq!(text(&json, "enroll_command"), format!("muster agent enroll '{link}' --dir ./identity"));

    // The second line enrolls as it is.
    let room = tempfile::tempdir().unwrap();
    let line = text(&json, "enroll_command").replace("muster agent", &format!("{MUSTER} agent"));
    let mut process = Process::start(command("sh", room.path()).args(["-c", &line]));
    let finished = process.wait();
    assert!(finished.status.success(), "{}", finished.stderr);
    assert!(room.path().join("identity/cert.pem").exists());

    // Without a server to name there is nothing to paste.
    let mut server = server;
    server.stop();
    let json = server.cli(&["enroll-token", "--json"]).run().json();
    assert!(
        json["join_link"].is_null() && json["install_command"].is_null() && json["enroll_command"].is_null()
    );
}

#[test]
fn somebody_else_than_root_installs_through_sudo() {
    let room = tempfile::tempdir().unwrap();
    let sudo = room.path().join("sudo");
    std::fs::write(&sudo, "#!/bin/sh\nprintf '%s\\n' \"$@\"\ncat\n").unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    for path in [room.path(), &sudo] {
        std::fs::set_permissions(path, Clone::clone(&everybody)).unwrap();
    }
    // Everybody must be able to start it.
    let program = room.path().join("muster");
    std::fs::copy(MUSTER, &program).unwrap();
    let run = |path: &str, args: &[&str]| {
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut setpriv = command("setpriv", room.path());
                setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
                setpriv
            }
            false => command(program.to_str().unwrap(), room.path()),
        };
        command.args(["agent", "install"]).args(args);
        command.env("PATH", path).env("MUSTER_AGENT_ENROLL_SERVER", "https://a:1");
        let mut process = Process::start(&mut command);
        process.feed(b"a link\n");
        process.wait()
    };
    let path = format!("{}:{}", room.path().display(), std::env::var("PATH").unwrap());
    let finished = run(&path, &["--link-file", "-"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let expected = format!(
        "--preserve-env=MUSTER_AGENT_ENROLL_SERVER\n--\n{}\nagent\ninstall\n--link-file\n-\na link\n",
        program.display()
    );
    assert_eq!(finished.stdout, expected);
    if !Path::new("/usr/bin/sudo").exists() && !Path::new("/bin/sudo").exists() {
        let finished = run("/usr/bin:/bin", &["--link-file", "-"]);
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains("run it as root"), "{}", finished.stderr);
    }
}

#[test]
fn an_image_gets_the_program_unless_it_has_one_as_new() {
    let room = tempfile::tempdir().unwrap();
    let server = Server::quickstart();
    let link = text(&server.cli(&["enroll-token", "--json"]).run().json(), "join_link");
    let root = room.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let (own, packaged) = (root.join("usr/local/bin/muster"), root.join("usr/bin/muster"));
    let install = || {
        let args = ["agent", "install", "--root", root.to_str().unwrap(), "--no-start", "--link-file", "-"];
        Cli::new(room.path(), &args).stdin(&link).run()
    };
    let unit = || std::fs::read_to_string(root.join("etc/systemd/system/muster-agent.service")).unwrap();
    let is_ours = || std::fs::read(&own).unwrap() == std::fs::read(MUSTER).unwrap();

    install().ok();
    assert!(is_ours() && unit().contains("\nExecStart=/usr/local/bin/muster agent run"));
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&own).unwrap().permissions()) & 0o777,
        0o755
    );
    for (older, replaced) in [
        ("\x1dmuster-program-version=0.1.0\x1d", true),
        ("MUSTER_AGENT_JOIN_TOKEN", true),
        ("\x1dmuster-program-version=99.0.0\x1d", false),
        (concat!("\x1dmuster-program-version=", env!("CARGO_PKG_VERSION"), "\x1d"), false),
    ] {
        std::fs::write(&own, older).unwrap();
        install().ok();
        assert_eq!(is_ours(), replaced, "{older:?}");
    }
    std::fs::write(&own, "#!/bin/sh\necho something else\n").unwrap();
    let refused = install().failed();
    assert!(refused.stderr.contains("another program"), "{refused}");
    assert!(std::fs::read_to_string(&own).unwrap().contains("something else"));

    std::fs::remove_file(&own).unwrap();
    std::fs::write(&packaged, "a package's").unwrap_or_else(|_| {
        std::fs::create_dir_all(packaged.parent().unwrap()).unwrap();
        std::fs::write(&packaged, "a package's").unwrap();
    });
    install().ok();
    assert!(!own.exists() && unit().contains("\nExecStart=/usr/bin/muster agent run"));
}
