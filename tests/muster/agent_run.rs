//! `muster agent run`: enrolls on boot, stays online, rotates in time, and stops when it is revoked.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::identity::present_token;
use crate::support::keys::Key;
use crate::support::notify::NotifySocket;
use crate::support::process::Process;
use crate::support::server::{Server, text};
use crate::support::wait;

#[test]
fn an_agent_enrolls_on_boot_and_comes_online() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let token_file = machine.home().join("join-token");
    std::fs::write(&token_file, format!("{}\n", server.join_token_for("web-1"))).unwrap();
    let enroll = json!({
        "token_file": token_file, "server": server.hello.url, "ca_pin": server.hello.ca_pin,
    });
    let config = machine.configure(&server, Some(enroll));
    let agent = machine.run(&config, &[]);
    let host = online(&server, &agent, "web-1");
    assert!(host["agent_version"].as_str().is_some_and(|version| !version.is_empty()), "{host}");
    assert!(host["hostname"].as_str().is_some_and(|name| !name.is_empty()), "{host}");
}

#[test]
fn the_environment_can_bring_everything_that_enrollment_needs() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let stale = machine.home().join("stale-token");
    std::fs::write(&stale, "mjt_stale").unwrap();
    let config = machine.configure(&server, Some(json!({"token_file": stale})));
    let token = server.join_token_for("web-1");
    let env = [
        ("MUSTER_AGENT_JOIN_TOKEN", token.as_str()),
        ("MUSTER_AGENT_ENROLL_SERVER", &server.hello.url),
        ("MUSTER_AGENT_ENROLL_CA_PIN", &server.hello.ca_pin),
    ];
    let agent = machine.run(&config, &env);
    online(&server, &agent, "web-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_identity_is_kept_and_the_token_saved() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let certificate = machine.read("cert.pem");
    let token = server.join_token_for("web-2");
    let config = machine.configure(&server, None);
    let agent = machine.run(&config, &[("MUSTER_AGENT_JOIN_TOKEN", &token)]);
    tokio::task::block_in_place(|| online(&server, &agent, "web-1"));
    assert_eq!(machine.read("cert.pem"), certificate);
    present_token(&server.http(), &token, &Key::p256().csr()).await.expect(201);
}

#[test]
fn rotations_happen_in_time_and_leave_no_gap() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "12s")]);
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let mut agent = machine.run(&config, &[]);
    let host = text(&online(&server, &agent, "web-1"), "id");

    let mut certificate = machine.read("cert.pem");
    for rotation in 1..=3 {
        certificate = wait::until(&format!("rotation {rotation}"), || {
            let now = machine.read("cert.pem");
            (now != certificate).then_some(now)
        });
        assert_eq!(server.host(&host)["status"], "online", "after rotation {rotation}");
        assert!(agent.is_running());
    }
    agent.signal(Signal::TERM);
    agent.wait();
    machine.assert_key_matches();
    let enrollments = server.enrollments(&host);
    assert!(enrollments.len() >= 4, "{enrollments:?}");
    assert_eq!(enrollments.iter().filter(|e| e["via"] == "rotation").count(), enrollments.len() - 1);
    assert!(enrollments.iter().all(|e| e["revoked"] == false), "{enrollments:?}");
}

#[test]
fn a_revoked_agent_exits_with_status_3() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let mut agent = machine.run(&config, &[]);
    online(&server, &agent, "web-1");
    server.revoke("web-1");
    let finished = agent.wait();
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("revoked"), "{}", finished.stderr);
    // So does the next start.
    let finished = machine.run(&config, &[]).wait();
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
}

#[test]
fn an_agent_finds_its_server_again() {
    let mut server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let mut agent = machine.run(&config, &[]);
    online(&server, &agent, "web-1");
    // Lost without a word, and told goodbye. A small fleet need not be spread over long.
    for end in [Server::kill as fn(&mut Server), |server| drop(server.stop())] {
        end(&mut server);
        server.start_again_on_the_same_ports();
        let returned = Instant::now();
        online(&server, &agent, "web-1");
        let took = returned.elapsed();
        assert!(took < Duration::from_secs(8), "back after {took:?}");
    }
    assert!(agent.is_running());
}

#[test]
fn a_refused_token_ends_the_agent_at_once_without_showing_it() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let token = server.join_token(&[]);
    Machine::new().enroll_at(&server, &token);
    let config = machine.configure(&server, None);
    let env = [
        ("MUSTER_AGENT_JOIN_TOKEN", token.as_str()),
        ("MUSTER_AGENT_ENROLL_CA_PIN", &server.hello.ca_pin),
        ("MUSTER_LOG", "trace"),
    ];
    let finished = machine.run(&config, &env).wait();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(!finished.stderr.contains(token.rsplit_once('_').unwrap().1), "the token is in the log");
    assert!(machine.is_blank());
}

#[test]
fn without_identity_and_credential_there_is_nothing_to_run() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let config = machine.configure(&server, None);
    let finished = machine.run(&config, &[]).wait();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
}

#[test]
fn an_identity_that_others_may_have_written_is_not_used() {
    use std::os::unix::fs::{PermissionsExt, chown};

    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let refused = |says: &str| {
        let finished = machine.run(&config, &[]).wait();
        assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
        assert!(finished.stderr.contains(says) && finished.stderr.contains("hint:"), "{}", finished.stderr);
        assert!(!finished.stderr.contains("session open"), "{}", finished.stderr);
    };
    for (path, mode) in
        [(machine.file("key.pem"), 0o600), (machine.file("cert.pem"), 0o600), (machine.dir(), 0o700)]
    {
        let rights = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        rights(mode | 0o020);
        refused("can be written by other users");
        rights(mode);
        // Only root can give files away.
        if rustix::process::geteuid().is_root() {
            chown(&path, Some(4242), None).unwrap();
            refused("belongs to another user");
            chown(&path, Some(0), None).unwrap();
        }
    }
    machine.run(&config, &[]).wait_for_log("session open", wait::PATIENCE);
}

#[test]
fn unknown_keys_in_the_configuration_are_errors() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let config = machine.configure(&server, None);
    let text = std::fs::read_to_string(&config).unwrap().replace("control_plane", "control_plain");
    std::fs::write(&config, text).unwrap();
    let finished = machine.run(&config, &[]).wait();
    assert!(matches!(finished.status.code(), Some(1 | 2)), "{}", finished.stderr);
    assert!(finished.stderr.contains("control_plain"), "{}", finished.stderr);
}

#[test]
fn an_agent_stops_when_asked() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let config = machine.configure(&server, None);
    let mut agent = machine.run(&config, &[]);
    online(&server, &agent, "web-1");
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().status.code(), Some(0));
}

#[test]
fn the_service_manager_is_told_what_it_needs_to_know() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let notify = NotifySocket::new(machine.home());
    let config = machine.configure(&server, Some(json!({"ca_pin": server.hello.ca_pin})));
    let token = server.join_token_for("web-1");
    let env = [("NOTIFY_SOCKET", notify.address()), ("MUSTER_AGENT_JOIN_TOKEN", &token)];
    let mut agent = machine.run(&config, &env);
    notify.wait_for("READY=1");
    assert!(machine.file("cert.pem").exists(), "ready means that there is an identity");
    notify.wait_for("WATCHDOG=1");
    agent.signal(Signal::TERM);
    notify.wait_for("STOPPING=1");
    assert_eq!(agent.wait().status.code(), Some(0));
}

/// Waits until the registry shows the agent online; returns its row.
fn online(server: &Server, agent: &Process, agent_id: &str) -> Value {
    wait::until(&format!("{agent_id} is online"), || {
        let hosts = server.hosts();
        let host = hosts.into_iter().find(|h| h["agent_id"] == agent_id && h["status"] == "online");
        assert!(host.is_some() || !agent.stderr.has_ended(), "the agent has ended: {}", agent.stderr.text());
        host
    })
}
