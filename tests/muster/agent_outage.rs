//! A server that was away for longer than an SVID lives: its agents come back by themselves, the decommissioned one
//! does not.
//!
//! One process per agent. They are small enough for two hundred of them, which take most of the time to start.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use muster::agent::identity::IdentityDir;
use rustix::process::Signal;

use crate::support::agent::Machine;
use crate::support::process::Process;
use crate::support::server::{Server, text};
use crate::support::wait;

const AGENTS: usize = 200;
const SVID_TTL: SignedDuration = SignedDuration::from_secs(60);

struct Agent {
    machine: Machine,
    process: Process,
}

impl Agent {
    fn start(server: &Server, secret: &str) -> Self {
        let machine = Machine::new();
        let config = machine.configure(server, None);
        let env = [
            ("MUSTER_AGENT_ENROLLMENT_SECRET", secret),
            ("MUSTER_AGENT_ENROLL_CA_PIN", &server.hello.ca_pin),
        ];
        let process = machine.run(&config, &env);
        Self { machine, process }
    }

    fn not_after(&self) -> Option<Timestamp> {
        IdentityDir::new(self.machine.dir()).read().ok().flatten().map(|identity| identity.svid.not_after)
    }
}

#[test]
fn after_an_outage_everybody_is_back_without_a_token_but_the_decommissioned() {
    let mut server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "60s")]);
    let (secret_id, secret) = server.secret(&[]);
    let mut agents: Vec<_> = (0..AGENTS).map(|_| Agent::start(&server, &secret)).collect();
    wait::until("everybody is enrolled", || agents.iter().all(|a| a.not_after().is_some()).then_some(()));
    let online = |server: &Server| {
        let hosts = server.cli(&["host", "list", "--status", "online", "--json"]).run().items();
        hosts.len()
    };
    wait::until("everybody is online", || (online(&server) == AGENTS).then_some(()));
    server.stop();
    let gone = &agents[0];
    let gone_id =
        IdentityDir::new(gone.machine.dir()).read().unwrap().unwrap().svid.spiffe_id.agent.to_string();
    let hosts = server.hosts();
    let host = hosts.iter().find(|host| host["agent_id"] == gone_id.as_str()).unwrap();
    server.cli(&["host", "decommission", &text(host, "id")]).run().ok();
    let recovered = |server: &Server| {
        let rotations = server.audit("agent.rotate");
        rotations.iter().filter(|record| record["detail"]["recovered"] == "true").count()
    };
    assert_eq!((recovered(&server), server.uses(&secret_id)), (0, AGENTS as u64));

    let last = agents.iter().filter_map(Agent::not_after).max().unwrap();
    let left = last.duration_since(Timestamp::now()) + SignedDuration::from_secs(2);
    std::thread::sleep(Duration::try_from(left).unwrap_or_default());
    assert!(agents.iter().all(|a| a.not_after().unwrap() < Timestamp::now()), "everybody has expired");
    server.start_again_on_the_same_ports();
    let returned = Timestamp::now();
    wait::until("everybody else is back", || {
        agents[1..].iter().all(|a| a.not_after().unwrap() > returned).then_some(())
    });
    let took = Timestamp::now().duration_since(returned);
    wait::until("everybody else is online", || (online(&server) == AGENTS - 1).then_some(()));
    let reported = Timestamp::now().duration_since(returned);
    assert!(took < SVID_TTL, "they are back within a lifetime, not after {took}");
    assert!(reported < SVID_TTL, "they report within a lifetime, not after {reported}");
    assert_eq!(recovered(&server), AGENTS - 1);
    assert_eq!(server.uses(&secret_id), AGENTS as u64, "nobody enrolled a second time");

    let gone = agents.remove(0);
    assert!(gone.not_after().unwrap() < returned);
    let mut process = gone.process;
    let finished = process.wait();
    assert_eq!(finished.status.code(), Some(3), "{}", finished.stderr);
    assert!(finished.stderr.contains("identity_revoked"), "{}", finished.stderr);
    for agent in &agents {
        agent.process.signal(Signal::TERM);
    }
    for agent in &mut agents {
        assert_eq!(agent.process.wait().status.code(), Some(0));
    }
}
