//! Whatever goes wrong with a rotation, the agent says what it is, goes on with the identity it has, and rotates
//! when it can again. What goes wrong with an enrollment leaves nothing behind.

use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use x509_parser::time::ASN1Time;

use crate::support::agent::Machine;
use crate::support::hierarchy::Hierarchy;
use crate::support::hostile::{Hostile, Script, problem, response};
use crate::support::process::{MUSTER, Process, command};
use crate::support::server::{Server, text};
use crate::support::{clock, wait};

/// What the server does, and what the agent says of it.
fn cases() -> Vec<(&'static str, Script, &'static str)> {
    let html = |status| Script::Bytes(response(status, "text/html", "<html>no</html>"));
    let ok = |body: &str| Script::Bytes(response(200, "application/json", body));
    vec![
        ("400", problem(400, "bad_request"), "refused (400 bad_request): scripted"),
        ("401 of the chain", problem(401, "bad_chain"), "refused (401 bad_chain): scripted"),
        ("401 of the proof", problem(401, "bad_proof"), "refused (401 bad_proof): scripted"),
        ("401 of the serial", problem(401, "unknown_serial"), "muster enroll-token --tenant"),
        ("401 of the time", problem(401, "svid_expired"), "muster enroll-token --tenant"),
        ("403", problem(403, "permission_denied"), "refused (403 permission_denied): scripted"),
        ("402", html(402), "refused (402 http)"),
        ("404", html(404), "refused (404 http)"),
        ("405", problem(405, "method_not_allowed"), "refused (405 method_not_allowed): scripted"),
        ("408", html(408), "refused (408 http)"),
        ("409", problem(409, "conflict"), "refused (409 conflict): scripted"),
        ("410", html(410), "refused (410 http)"),
        ("413", problem(413, "too_large"), "refused (413 too_large): scripted"),
        ("415", problem(415, "media_type"), "refused (415 media_type): scripted"),
        ("418", html(418), "refused (418 http)"),
        ("422", problem(422, "invalid_agent_id"), "refused (422 invalid_agent_id): scripted"),
        ("431", html(431), "refused (431 http)"),
        ("451", html(451), "refused (451 http)"),
        ("429", problem(429, "throttled"), "wait a few minutes"),
        ("500", problem(500, "internal"), "refused (500 internal): scripted"),
        ("502", html(502), "refused (502 http)"),
        ("501", html(501), "refused (501 http)"),
        ("504", html(504), "refused (504 http)"),
        ("503", problem(503, "ca_unavailable"), "the log of the server says why"),
        ("a redirect", html(302), "refused (302 http)"),
        ("no answer", Script::Bytes(Vec::new()), "can't be reached"),
        ("no HTTP", Script::Bytes(b"SSH-2.0-x\r\n".to_vec()), "can't be reached"),
        (
            "a truncated answer",
            Script::Bytes(b"HTTP/1.1 200 x\r\ncontent-length: 9999\r\n\r\n{\"agent_id\":".to_vec()),
            "can't be reached",
        ),
        ("half a document", ok("{\"agent_id\":"), "is not believed: it can't be read"),
        ("an empty document", ok(""), "is not believed: it can't be read"),
        ("a page", html(200), "is not believed: it can't be read"),
        (
            "an answer for another key",
            Script::Changed(|answer| answer["certificate"] = json!(foreign_leaf(answer))),
            "its certificate is for another key",
        ),
        (OTHER_ID, Script::Changed(to_another_id), "its certificate is for spiffe://"),
        ("ten years", Script::Changed(to_ten_years), "at the time of its issue, or for too long"),
        ("not yet valid", Script::Changed(to_next_year), "at the time of its issue, or for too long"),
        ("a leaf that may sign", Script::Changed(to_a_ca_of_the_same_key), "is a CA's"),
        (
            "a foreign intermediate",
            Script::Changed(|answer| answer["intermediate"] = json!(Hierarchy::foreign().intermediate_pem)),
            "does not chain to its trust bundle",
        ),
        (
            "a foreign root",
            Script::Changed(|answer| answer["trust_bundle"] = json!(Hierarchy::foreign().root_pem)),
            "does not chain to its trust bundle",
        ),
        (
            "a CA instead of a leaf",
            Script::Changed(|answer| answer["certificate"] = answer["intermediate"].clone()),
            "is a CA's",
        ),
        (
            "another serial beside it",
            Script::Changed(|answer| answer["serial"] = json!("00112233445566778899aabbccddeeff")),
            "does not say what the answer says beside it",
        ),
        (
            "another id beside it",
            Script::Changed(|answer| answer["agent_id"] = json!("somebody-else")),
            "does not say what the answer says beside it",
        ),
    ]
}

const OTHER_ID: &str = "the id of somebody else";

const DAY: i64 = 86_400;

/// Puts a certificate in place that is right in everything but for its validity (in seconds from now) and for what
/// `change` does to it; the whole hierarchy is changed with it.
fn reissue(answer: &mut Value, uri: &str, validity: [i64; 2], change: impl FnOnce(&mut CertificateParams)) {
    let foreign = Hierarchy::foreign();
    let (certificate, serial) = (text(answer, "certificate"), text(answer, "serial"));
    let [from, until] = validity.map(|seconds| Timestamp::now().as_second() + seconds);
    let reissued = foreign.leaf_for_key_of(&certificate, uri, &serial, |params| {
        params.not_before = ASN1Time::from_timestamp(from).unwrap().to_datetime();
        params.not_after = ASN1Time::from_timestamp(until).unwrap().to_datetime();
        change(params);
    });
    answer["certificate"] = json!(reissued);
    answer["intermediate"] = json!(foreign.intermediate_pem);
    answer["trust_bundle"] = json!(foreign.root_pem);
    answer["spiffe_id"] = json!(uri);
    answer["agent_id"] = json!(uri.rsplit('/').next());
    answer["not_after"] = json!(Timestamp::from_second(until).unwrap());
}

fn to_another_id(answer: &mut Value) {
    let mine = text(answer, "spiffe_id");
    let (head, _) = mine.rsplit_once('/').unwrap();
    reissue(answer, &format!("{head}/somebody-else"), [-300, DAY], |_| {});
}

fn to_ten_years(answer: &mut Value) {
    let mine = text(answer, "spiffe_id");
    reissue(answer, &mine, [-300, 3653 * DAY], |_| {});
}

fn to_next_year(answer: &mut Value) {
    let mine = text(answer, "spiffe_id");
    reissue(answer, &mine, [365 * DAY, 366 * DAY], |_| {});
}

fn to_a_ca_of_the_same_key(answer: &mut Value) {
    let mine = text(answer, "spiffe_id");
    reissue(answer, &mine, [-300, DAY], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
}

/// A certificate with everything that the answer says, for a key of somebody else's.
fn foreign_leaf(answer: &Value) -> String {
    let uri = answer["spiffe_id"].as_str().unwrap();
    let serial = answer["serial"].as_str().unwrap();
    Hierarchy::foreign().leaf(&[uri], serial, &crate::support::keys::Key::p256())
}

/// An enrolled machine whose rotations go to `url`, which the CAs in `trusted` vouch for.
fn machine_that_rotates_at(server: &Server, secret: &str, url: &str, trusted: &str) -> Machine {
    let machine = Machine::new();
    let secret_file = machine.home().join("secret");
    std::fs::write(&secret_file, secret).unwrap();
    let enroll =
        json!({"secret_file": secret_file, "server": server.hello.url, "ca_pin": server.hello.ca_pin});
    let config = machine.configure(server, Some(enroll));
    let mut agent = machine.run(&config, &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().status.code(), Some(0));
    let trusted = server.server_ca() + trusted;
    std::fs::write(machine.file("server-ca.pem"), trusted).unwrap();
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    settings["identity"]["server"] = json!(url);
    std::fs::write(&config, settings.to_string()).unwrap();
    // What the server named would come before the settings.
    let mut notes: Value = serde_json::from_str(&machine.read("agent.json")).unwrap();
    notes["servers"] = json!([]);
    std::fs::write(machine.file("agent.json"), notes.to_string()).unwrap();
    machine
}

/// Starts an agent whose identity is due, and demands that it says `says` and goes on with what it has.
fn fails_and_goes_on(case: &str, machine: &Machine, start: impl FnOnce() -> Process, says: &str) {
    let before = (machine.read("cert.pem"), machine.read("key.pem"));
    machine.make_rotation_due();
    let mut agent = start();
    let line = agent.wait_for_log("rotation failed", wait::PATIENCE);
    assert!(line.contains(says), "{case}: {line}");
    agent.wait_for_log("session open", wait::PATIENCE);
    assert!(agent.is_running(), "{case}");
    agent.kill();
    assert_eq!((machine.read("cert.pem"), machine.read("key.pem")), before, "{case}");
}

fn rotates(case: &str, machine: &Machine) {
    let before = machine.read("cert.pem");
    machine.make_rotation_due();
    let agent = machine.run(&machine.home().join("agent.yml"), &[]);
    agent.wait_for_log("rotated", wait::PATIENCE);
    assert_ne!(machine.read("cert.pem"), before, "{case}");
    machine.assert_key_matches();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn a_bad_answer_costs_nothing_but_the_time_until_a_good_one() {
    let server = block_in_place(Server::quickstart);
    let (_, secret) = block_in_place(|| server.secret(&[]));
    let mut hostiles = Vec::new();
    for (case, script, says) in cases() {
        hostiles.push((case, Hostile::before(server.http(), script).await, says));
    }
    // A few at a time, as many as the machine takes.
    let next = parking_lot::Mutex::new(hostiles.iter());
    let work = || {
        loop {
            let Some((case, hostile, says)) = next.lock().next() else { return };
            let machine = machine_that_rotates_at(&server, &secret, &hostile.url, &hostile.ca_pem);
            let config = machine.home().join("agent.yml");
            fails_and_goes_on(case, &machine, || machine.run(&config, &[]), says);
            hostile.become_honest();
            rotates(case, &machine);
        }
    };
    block_in_place(|| std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work)))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_not_asked() {
    let server = block_in_place(Server::quickstart);
    let (_, secret) = block_in_place(|| server.secret(&[]));
    let stranger = Hostile::before(server.http(), Script::Honest).await;
    let machine = block_in_place(|| machine_that_rotates_at(&server, &secret, &stranger.url, ""));
    let config = machine.home().join("agent.yml");
    block_in_place(|| {
        fails_and_goes_on(
            "wrong CA",
            &machine,
            || machine.run(&config, &[]),
            "is not the server it should be",
        );
    });
    let nobody = "https://127.0.0.1:9";
    let machine = block_in_place(|| machine_that_rotates_at(&server, &secret, nobody, ""));
    let config = machine.home().join("agent.yml");
    block_in_place(|| {
        fails_and_goes_on("nobody there", &machine, || machine.run(&config, &[]), "can't be reached");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn an_enrollment_that_fails_leaves_nothing_behind() {
    let server = block_in_place(Server::quickstart);
    let mut token = block_in_place(|| server.join_token(&[]));
    for (case, script, says) in cases() {
        let says = match case {
            // Nobody is anybody yet, so the server may choose.
            OTHER_ID => continue,
            // What only somebody with an identity is told.
            _ if says.starts_with("muster ") => "refused (401",
            _ => says,
        };
        let answered = matches!(script, Script::Changed(_));
        let hostile = Hostile::before(server.http(), script).await;
        let machine = Machine::new();
        let refused =
            block_in_place(|| machine.enroll(&hostile.url, &token, &["--ca-pin", &hostile.ca_pin])).failed();
        assert!(refused.stderr.contains(says), "{case}: {refused}");
        assert!(refused.stderr.contains("hint:"), "{case}: {refused}");
        assert!(machine.is_blank(), "{case}");
        assert!(!refused.stderr.contains(token.rsplit('_').next().unwrap()), "{case}");
        if answered {
            // The real server has consumed the token for this machine; the same key gets the same certificate.
            block_in_place(|| machine.enroll_at(&server, &token));
            machine.assert_key_matches();
            token = block_in_place(|| server.join_token(&[]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pin_sends_nothing() {
    let server = block_in_place(Server::quickstart);
    let token = block_in_place(|| server.join_token(&[]));
    let machine = Machine::new();
    let wrong = "00".repeat(32);
    let refused =
        block_in_place(|| machine.enroll(&server.hello.url, &token, &["--ca-pin", &wrong])).failed();
    assert!(refused.stderr.contains("is not the server it should be, so nothing was sent"), "{refused}");
    assert!(machine.is_blank());
    block_in_place(|| machine.enroll_at(&server, &token));
}

#[test]
fn a_disk_that_takes_nothing_costs_nothing_but_the_time_until_it_does() {
    let server = Server::quickstart();
    let (_, secret) = server.secret(&[]);
    // The namespace of its own is for mounting; everything in it ends with the agent.
    let full = "mount -t tmpfs -o size=32k,mode=700 none room && cp -p identity/* room && \
                mount --bind room identity && (cat /dev/zero >identity/ballast 2>/dev/null || true)";
    let read_only = "mount --bind identity identity && mount -o remount,bind,ro identity";
    // Files of up to 512 octets: a key fits, a certificate does not.
    let limited = "ulimit -f 1";
    for (case, prepare) in [("full", full), ("read-only", read_only), ("limited", limited)] {
        let machine = machine_that_rotates_at(&server, &secret, &server.hello.url, "");
        std::fs::create_dir(machine.home().join("room")).unwrap();
        let script = format!("{prepare} && exec {MUSTER} agent run --config agent.yml");
        let start = || Process::start(unshared(machine.home()).args(["sh", "-c", &script]));
        fails_and_goes_on(case, &machine, start, "can't be written");
        rotates(case, &machine);
    }
}

/// The agent goes by the server's clock: it warns, and then rotates no sooner and no later.
#[test]
fn a_clock_that_is_off_is_told_and_obeyed_by_nobody() {
    let server = Server::quickstart();
    let room = tempfile::tempdir().unwrap();
    let shim = clock::shim(room.path());
    for (seconds, warning) in [
        (240 - 30, None),
        (600, Some("600 s ahead of the server's")),
        (3600, Some("3600 s ahead of the server's")),
        (-250, Some("250 s behind the server's")),
        (86_400, Some("86400 s ahead of the server's")),
    ] {
        let machine = Machine::new();
        machine.enroll_at(&server, &server.join_token(&[]));
        let before = machine.read("cert.pem");
        let config = machine.configure(&server, None);
        let seconds = seconds.to_string();
        let env = [("LD_PRELOAD", shim.to_str().unwrap()), ("CLOCK_OFF_SECONDS", &seconds)];
        let agent = machine.run(&config, &env);
        agent.wait_for_log("session open", wait::PATIENCE);
        let noted = || {
            let notes: Value = serde_json::from_str(&machine.read("agent.json")).unwrap();
            notes["clock_difference_ms"].as_i64().filter(|millis| millis.unsigned_abs() > 100_000)
        };
        let millis = wait::until("the difference is known", noted);
        let expected = -seconds.parse::<i64>().unwrap() * 1000;
        assert!((millis - expected).abs() < 5_000, "{seconds}: {millis}");
        let near = |log: &str, text: &str| {
            let (number, rest) = text.split_once(' ').unwrap();
            let number: i64 = number.parse().unwrap();
            (number - 1..=number + 1).any(|number| log.contains(&format!("{number} {rest}")))
        };
        match warning {
            // It is said before it is noted, and read by whoever comes to it.
            Some(warning) => wait::until(warning, || near(&agent.stderr.text(), warning).then_some(())),
            None => assert!(!agent.stderr.text().contains("this machine's clock"), "{seconds}"),
        }
        // Until the server has told the time, a day ahead means that the identity has expired: it rotates, once.
        // It may be at it now, between the file and the line in the log.
        let rotations = wait::until("log and file agree", || {
            let rotations = agent.stderr.text().matches(" rotated ").count();
            ((machine.read("cert.pem") == before) == (rotations == 0)).then_some(rotations)
        });
        assert!(rotations <= usize::from(seconds == "86400"), "{seconds}: {}", agent.stderr.text());
        machine.assert_key_matches();
    }
}

/// Then the server's own certificate, which was made a moment ago, is not valid yet. The agent says so and waits for
/// somebody to set the clock.
#[test]
fn a_clock_from_before_the_servers_certificate_is_waited_for() {
    let server = Server::quickstart();
    let room = tempfile::tempdir().unwrap();
    let shim = clock::shim(room.path());
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let before = machine.read("cert.pem");
    let config = machine.configure(&server, None);
    let env = [("LD_PRELOAD", shim.to_str().unwrap()), ("CLOCK_OFF_SECONDS", "-3600")];
    let mut agent = machine.run(&config, &env);
    let line = agent.wait_for_log("session ended", wait::PATIENCE);
    assert!(line.contains("is not valid before") && line.contains("it is "), "{line}");
    assert!(agent.is_running());
    agent.kill();
    assert_eq!(machine.read("cert.pem"), before);
    machine.run(&config, &[]).wait_for_log("session open", wait::PATIENCE);
}

/// A command in a mount namespace of its own.
fn unshared(home: &Path) -> Command {
    let mut unshare = command("unshare", home);
    unshare.args(["--map-root-user", "--mount"]);
    unshare
}
