//! `kill -9` at any moment of a rotation leaves an identity that works.
//!
//! Half of the kills strike anywhere between the start of the agent and the end of its rotation; the other half is
//! aimed at the few milliseconds in which the agent writes the new identity over the old one.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use muster::agent::identity::IdentityDir;

use crate::support::agent::Machine;
use crate::support::server::Server;
use crate::support::wait;

const MACHINES: usize = 5;
const KILLS_PER_MACHINE: usize = 40;

/// What the kills came to.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    /// Runs that came as far as a new identity.
    rotations: usize,
    /// Runs that had begun to write it, and had not ended.
    interrupted: usize,
}

#[test]
fn two_hundred_kills_leave_a_working_identity_each_time() {
    let server = Server::quickstart();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let machines: Vec<_> = (0..MACHINES)
            .map(|number| {
                scope.spawn({
                    let server = &server;
                    move || kill_and_kill_again(server, &format!("web-{number}"))
                })
            })
            .collect();
        machines.into_iter().map(|machine| machine.join().unwrap()).collect()
    });
    // Otherwise the moments were not around rotations.
    let kills = MACHINES * KILLS_PER_MACHINE;
    let rotations: usize = tallies.iter().map(|tally| tally.rotations).sum();
    let interrupted: usize = tallies.iter().map(|tally| tally.interrupted).sum();
    assert!((kills / 20..kills * 19 / 20).contains(&rotations), "{rotations} rotations in {kills} runs");
    assert!(
        interrupted >= kills / 20,
        "{interrupted} of {kills} kills struck while the identity was written"
    );
}

fn kill_and_kill_again(server: &Server, agent_id: &str) -> Tally {
    let machine = Machine::new();
    machine.enroll_at(server, &server.join_token_for(agent_id));
    let config = machine.configure(server, None);
    let place = IdentityDir::new(machine.dir());
    let serial = || place.read().unwrap().unwrap().svid.serial;
    let mut usual = Times::of_a_rotation(&machine, &config);
    let mut tally = Tally::default();
    let random = RandomState::new();
    for kill in 0..KILLS_PER_MACHINE {
        let before = serial();
        machine.make_rotation_due();
        let begun = writing(&machine);
        let mut agent = machine.run(&config, &[]);
        let is_aimed = kill % 2 == 1;
        let share = f64::from(u32::try_from(random.hash_one(kill) >> 32).unwrap()) / f64::from(u32::MAX);
        // From before the agent has read its identity, or has written any of the next, until after.
        if is_aimed {
            wait_for_write(&machine, begun);
            std::thread::sleep(usual.writing.mul_f64(share * 1.3));
        } else {
            std::thread::sleep(usual.whole.mul_f64(share * 1.3));
        }
        agent.kill();
        let has_begun = writing(&machine) != begun;
        let is_interrupted = has_begun && machine.file("key.pem.next").exists();
        tally.interrupted += usize::from(is_interrupted);
        // Reading demands that key and certificate are a pair.
        let has_rotated = serial() != before;
        tally.rotations += usize::from(has_rotated);
        if is_aimed {
            follow(&mut usual.writing, !is_interrupted);
        } else {
            follow(&mut usual.whole, has_rotated);
        }
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
    tally
}

/// Changes when the agent begins to write a new identity: this file is replaced first.
fn writing(machine: &Machine) -> u64 {
    std::fs::metadata(machine.file("ca.pem")).unwrap().ino()
}

/// The machine is not as busy all the time: what was too long a wait becomes shorter, what was too short longer.
fn follow(usual: &mut Duration, was_too_long: bool) {
    *usual = usual.mul_f64(if was_too_long { 0.8 } else { 1.25 });
}

fn wait_for_write(machine: &Machine, begun: u64) {
    let deadline = Instant::now() + wait::PATIENCE;
    while writing(machine) == begun {
        assert!(Instant::now() < deadline, "no rotation");
        // The window is a few milliseconds wide.
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// How long things take on this machine, as busy as it is.
struct Times {
    /// From the start of an agent to the end of its first rotation.
    whole: Duration,
    /// From the first file of the new identity to the last.
    writing: Duration,
}

impl Times {
    fn of_a_rotation(machine: &Machine, config: &Path) -> Self {
        machine.make_rotation_due();
        let before = writing(machine);
        let started = Instant::now();
        let agent = machine.run(config, &[]);
        wait_for_write(machine, before);
        let begun = Instant::now();
        agent.wait_for_log("rotated", wait::PATIENCE);
        Self { whole: started.elapsed(), writing: begun.elapsed() }
    }
}
