//! A machine whose agent serves the Workload API.

use std::path::PathBuf;

use rustix::process::Signal;
use spiffe::WorkloadApiClient;

use super::agent::Machine;
use super::process::Process;
use super::server::Server;
use super::wait::PATIENCE;

/// An enrolled machine, its agent and the server.
#[derive(Debug)]
pub struct Served {
    pub server: Server,
    pub machine: Machine,
    pub agent: Process,
    pub socket: PathBuf,
}

impl Served {
    /// The agent is `web-1`; the settings are the server's.
    pub fn start(env: &[(&str, &str)]) -> Self {
        let server = Server::quickstart_with(env);
        let machine = Machine::new();
        machine.enroll_at(&server, &server.join_token_for("web-1"));
        let config = machine.configure(&server, None);
        let socket = machine.with_workload_api(&config);
        let agent = machine.run(&config, &[]);
        agent.wait_for_log("session open", PATIENCE);
        server.wait_for_log("keys of JWT-SVIDs have changed", PATIENCE);
        Self { server, machine, agent, socket }
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    pub fn id(&self) -> String {
        format!("spiffe://muster/tenant/{}/agent/web-1", self.server.hello.tenant_id)
    }

    pub async fn client(&self) -> WorkloadApiClient {
        WorkloadApiClient::connect_to(self.endpoint()).await.unwrap()
    }

    pub fn start_agent_again(&mut self) {
        self.agent.signal(Signal::TERM);
        self.agent.wait();
        self.agent = self.machine.run(&self.machine.home().join("agent.yml"), &[]);
        self.agent.wait_for_log("serving the Workload API", PATIENCE);
    }

    /// Replaces the keys of tokens at once, as only the revocation of an intermediate does while the server runs.
    pub fn replace_keys(&self) {
        let shown = self.server.cli(&["agent-ca", "show", "--json"]).run().json();
        let intermediate = shown["certificates"][1]["serial"].as_str().unwrap().to_owned();
        let key = self.server.data_dir().join("root-key.pem");
        let command = ["agent-ca", "revoke-intermediate", &intermediate, "--root-key", key.to_str().unwrap()];
        self.server.cli(&command).run().ok();
    }

    /// Starts the server again with another algorithm, whose key signs a day later.
    pub fn sign_with(&mut self, algorithm: &str) {
        self.server.stop();
        self.server.set_env("MUSTER_JWT_SVID_ALG", algorithm);
        self.server.start_again_on_the_same_ports();
    }
}
