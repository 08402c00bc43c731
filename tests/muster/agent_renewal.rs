//! Agents rotate over their sessions: with no way to the HTTPS door, and whatever becomes of the answer.

use muster::agent::identity::IdentityDir;
use serde_json::Value;

use crate::support::agent::Machine;
use crate::support::process::Process;
use crate::support::relay::Relay;
use crate::support::server::{Server, text};
use crate::support::wait::{self, PATIENCE};

fn serial(machine: &Machine) -> String {
    IdentityDir::new(machine.dir()).read().unwrap().unwrap().svid.serial.to_string()
}

/// The machine that is this agent, as the server has it.
fn host(server: &Server, agent: &str) -> Value {
    server.hosts().into_iter().find(|host| host["agent_id"] == agent).expect(agent)
}

/// An agent in session, whose way to the HTTPS door is a relay.
fn in_session(server: &Server, agent: &str) -> (Machine, Process, Relay) {
    let (machine, way) = (Machine::new(), Relay::open());
    way.lead_to(&server.listening());
    let url = format!("https://{}", way.address);
    machine.enroll(&url, &server.join_token_for(agent), &["--ca-pin", &server.hello.ca_pin]).ok();
    let agent = run(server, &machine, &way);
    agent.wait_for_log("session open", PATIENCE);
    (machine, agent, way)
}

fn run(server: &Server, machine: &Machine, way: &Relay) -> Process {
    let config = machine.configure(server, None);
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    settings["identity"]["server"] = format!("https://{}", way.address).into();
    std::fs::write(&config, settings.to_string()).unwrap();
    machine.run(&config, &[("MUSTER_LOG", "debug")])
}

#[test]
fn rotations_need_no_https_while_there_is_a_session() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "15s")]);
    let (machine, agent, way) = in_session(&server, "web-1");
    way.shut();
    let mut last = serial(&machine);
    for rotation in 1..=2 {
        last = wait::until(&format!("rotation {rotation}"), || {
            Some(serial(&machine)).filter(|serial| *serial != last)
        });
    }
    assert_eq!(way.came(), 0);
    let log = agent.stderr.text();
    assert!(!log.contains("rotation failed") && log.contains("Session("), "{log}");
    let host = host(&server, "web-1");
    let enrollments = server.enrollments(&text(&host, "id"));
    assert!(enrollments.iter().any(|one| one["serial"] == *last && one["via"] == "rotation"));
    assert_eq!(host["flags"], serde_json::json!([]));
    // What an agent was told of the HTTPS door it still knows.
    let notes: Value = serde_json::from_str(&machine.read("agent.json")).unwrap();
    assert_eq!(notes["servers"], serde_json::json!([format!("https://{}", way.address)]));
    machine.assert_key_matches();
}

#[test]
fn an_answer_that_is_lost_once_it_is_recorded_locks_nobody_out() {
    let grpc = Relay::open();
    let address = grpc.address.to_string();
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "24s"), ("MUSTER_GRPC_ADDR", &address)]);
    grpc.lead_to(&server.listening_for_agents());
    let names = ["by-https", "by-session", "killed"];
    let agents = std::thread::scope(|scope| {
        let starting = names.map(|name| scope.spawn(|| in_session(&server, name)));
        starting.map(|agent| agent.join().unwrap())
    });
    let [by_https, by_session, (machine, mut killed, way)] = agents;
    by_session.2.shut();
    grpc.keep_answers();
    let ids = names.map(|name| text(&host(&server, name), "id"));
    let recorded = ids.each_ref().map(|id| {
        wait::until("the new certificate is on record", || {
            let enrollments = server.enrollments(id);
            enrollments.iter().find(|one| one["via"] == "rotation").map(|one| text(one, "serial"))
        })
    });
    killed.kill();
    assert!(machine.file("key.pem.next").exists());
    grpc.cut();
    let killed = (run(&server, &machine, &way), machine);
    let [recorded_by_https, recorded_by_session, recorded_killed] = recorded;
    for (machine, agent, recorded) in [
        (&by_https.0, &by_https.1, recorded_by_https),
        (&by_session.0, &by_session.1, recorded_by_session),
        (&killed.1, &killed.0, recorded_killed),
    ] {
        // The same key, and so the very certificate that was recorded.
        agent.wait_for_log(&format!("new_serial={recorded}"), PATIENCE);
        agent.wait_for_log(&format!("serial={recorded} "), PATIENCE);
        machine.assert_key_matches();
    }
    assert!(by_https.1.stderr.text().contains("asking over HTTPS"));
    assert!(by_session.2.came() > 0, "it has tried");
    for id in &ids {
        // The machines of this test are one, so as duplicates they are known.
        let flags = server.host(id)["flags"].as_array().unwrap().clone();
        assert!(!flags.contains(&"possible_clone".into()), "{flags:?}");
        assert!(server.enrollments(id).iter().all(|one| one["revoked"] == false));
    }
}
