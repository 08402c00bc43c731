//! `kill -9` at any moment of a rotation leaves an identity that works.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use muster::agent::identity::IdentityDir;

use crate::support::agent::Machine;
use crate::support::server::Server;
use crate::support::wait;

const MACHINES: usize = 5;
const KILLS_PER_MACHINE: usize = 40;

#[test]
fn two_hundred_kills_leave_a_working_identity_each_time() {
    let server = Server::quickstart();
    let rotations: usize = std::thread::scope(|scope| {
        let machines: Vec<_> = (0..MACHINES)
            .map(|number| {
                scope.spawn({
                    let server = &server;
                    move || kill_and_kill_again(server, &format!("web-{number}"))
                })
            })
            .collect();
        machines.into_iter().map(|machine| machine.join().unwrap()).sum()
    });
    // Otherwise the moments were not around rotations.
    let kills = MACHINES * KILLS_PER_MACHINE;
    assert!((kills / 20..kills * 19 / 20).contains(&rotations), "{rotations} rotations in {kills} runs");
}

/// How many of the runs came as far as a new identity.
fn kill_and_kill_again(server: &Server, agent_id: &str) -> usize {
    let machine = Machine::new();
    machine.enroll_at(server, &server.join_token_for(agent_id));
    let config = machine.configure(server, None);
    let place = IdentityDir::new(machine.dir());
    let serial = || place.read().unwrap().unwrap().svid.serial;
    // From before the agent has read its identity until after it has the next one.
    let killed_within = time_of_a_rotation(&machine, &config).mul_f64(1.3);
    let mut rotations = 0;
    let random = RandomState::new();
    for kill in 0..KILLS_PER_MACHINE {
        let before = serial();
        machine.make_rotation_due();
        let mut agent = machine.run(&config, &[]);
        let share = f64::from(u32::try_from(random.hash_one(kill) >> 32).unwrap()) / f64::from(u32::MAX);
        std::thread::sleep(killed_within.mul_f64(share));
        agent.kill();
        // Reading demands that key and certificate are a pair.
        rotations += usize::from(serial() != before);
        let log = agent.stderr.text();
        assert!(!log.contains("rotation failed") && !log.contains("error:"), "kill {kill}: {log}");
    }
    // The server still takes it, for a session and for a rotation.
    machine.make_rotation_due();
    let agent = machine.run(&config, &[]);
    agent.wait_for_log("rotated", wait::PATIENCE);
    agent.wait_for_log("session open", wait::PATIENCE);
    machine.assert_key_matches();
    drop(agent);
    let mut names: Vec<_> =
        std::fs::read_dir(machine.dir()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["agent.json", "agent.yml", "ca.pem", "cert.pem", "key.pem", "server-ca.pem"]);
    rotations
}

/// How long the start of an agent and its first rotation take on this machine, as busy as it is.
fn time_of_a_rotation(machine: &Machine, config: &Path) -> Duration {
    machine.make_rotation_due();
    let begun = Instant::now();
    let agent = machine.run(config, &[]);
    agent.wait_for_log("rotated", wait::PATIENCE);
    begun.elapsed()
}
