//! A server of the run with its own fleet: whatever is asked of one is asked of the other in the same way.

use std::time::Duration;

use crate::bare::Bare;
use crate::load::account::Run;
use crate::load::closed_loop::{self, Connections};
use crate::load::device::Device;
use crate::load::https::Https;
use crate::load::machines::{Fleet, Host, Machine, rotating};
use crate::load::server::Server;

pub struct Contender {
    https: Https,
    process: u32,
    device: Device,
    fleet: Fleet,
}

impl Contender {
    pub fn bare(bare: &Bare) -> Self {
        let fleet = Fleet::let_in_by("it asks for none".to_owned());
        Self { https: bare.door(), process: bare.id(), device: bare.device(), fleet }
    }

    pub fn muster(server: &Server) -> Self {
        let fleet = Fleet::new(server);
        Self { https: server.door(), process: server.id(), device: server.device(), fleet }
    }

    /// Who enrolls is in the fleet from then on.
    pub async fn enroll(&mut self, connections: Connections, phase: Duration) -> Run {
        let machines = self.fleet.newcomers(closed_loop::prepared(phase));
        let (run, answered) = self.ask(connections, machines, phase).await;
        self.fleet.welcome(answered);
        run
    }

    /// Who may rotate does so once, and leaves the fleet. Fresh connections get a third of it, because that goes slower; some
    /// are left for renewals.
    pub async fn rotate(&mut self, connections: Connections, phase: Duration) -> Run {
        let count = match connections {
            Connections::Fresh => self.fleet.at_hand() / 3,
            Connections::Kept => self.fleet.at_hand() / 4 * 3,
        };
        let machines = self.fleet.take(count).iter().map(rotating).collect();
        self.ask(connections, machines, phase).await.0
    }

    async fn ask(
        &self,
        connections: Connections,
        machines: Vec<Machine>,
        phase: Duration,
    ) -> (Run, Vec<(Machine, Vec<u8>)>) {
        let server = (&self.https, self.process, &self.device);
        closed_loop::run(server, connections, machines, phase).await
    }

    /// Hosts that leave the fleet to renew.
    pub fn renewing(&mut self, count: usize) -> Vec<Host> {
        self.fleet.take(count)
    }

    /// What a measurement counts.
    pub fn counted(&self) -> (u32, &Device) {
        (self.process, &self.device)
    }
}
