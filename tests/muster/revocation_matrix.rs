//! Every way to take an identity away against every way to go on with it: none leads anywhere.

use serde_json::json;
use tonic::Code;

use crate::support::client::Client;
use crate::support::fleet::mint;
use crate::support::grpc::{Connection, Peer, Session};
use crate::support::identity::{Identity, ROTATE, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// How an identity ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In the browser, by an administrator.
    Decommissioned,
    RevokedInBrowser,
    /// By a program with an API token.
    RevokedByProgram,
    RevokedByCommand,
    RevokedWhileStopped,
    /// A token that names the agent has enrolled it anew.
    Superseded,
}

const LIVE_WAYS: [Way; 5] = [
    Way::Decommissioned,
    Way::RevokedInBrowser,
    Way::RevokedByProgram,
    Way::RevokedByCommand,
    Way::Superseded,
];

/// An agent with everything it could go on with.
struct Agent {
    way: Way,
    identity: Identity,
    /// What it enrolled with, a moment ago.
    token: String,
    /// Keeps one TLS configuration, and would resume.
    peer: Peer,
}

impl Agent {
    async fn enroll(server: &Server, way: Way) -> Self {
        let token = server.join_token_for(&format!("{way:?}"));
        let identity = Identity::with_token(&server.http(), &token).await;
        let peer = identity.peer(server);
        for _ in 0..2 {
            peer.reports().await.unwrap();
        }
        Self { way, identity, token, peer }
    }

    fn name(&self) -> String {
        self.identity.agent_id()
    }

    /// Demands that its certificate gets it nowhere. Its ports may have changed.
    async fn assert_certificate_is_dead(&self, server: &Server, when: &str) {
        let way = self.way;
        let outcome = self.identity.peer(server).reports().await;
        assert!(outcome.is_err(), "{way:?}, {when}, handshake: {outcome:?}");
        let answer = server.http().post(ROTATE, &self.identity.rotation(&Key::p256())).await;
        let expected = (answer.status, answer.code()) == (403, "identity_revoked".to_owned());
        assert!(expected, "{way:?}, {when}, rotation: {answer}");
        // Within the ten minutes in which a lost answer can be asked for again.
        let answer = present_token(&server.http(), &self.token, &self.identity.key.csr()).await;
        assert!(matches!(answer.status, 401 | 403), "{way:?}, {when}, the same enrollment again: {answer}");
    }

    /// Demands that no token helps it either.
    async fn assert_identity_is_dead(&self, program: &Client, when: &str) {
        if self.way != Way::Superseded {
            let token = mint(program, "", &json!({"agent_id": self.name()})).await;
            let answer = present_token(&program.http, &token, &Key::p256().csr()).await;
            let expected = (answer.status, answer.code()) == (403, "identity_revoked".to_owned());
            assert!(expected, "{:?}, {when}, a token that names it: {answer}", self.way);
        }
    }
}

/// What it has open when it happens.
struct Open {
    session: Session,
    idle: Connection,
}

impl Open {
    async fn of(agent: &Agent) -> Self {
        let session = agent.peer.connect().await.unwrap().session().await.unwrap();
        let mut idle = agent.peer.connect().await.unwrap();
        idle.heartbeat().await.unwrap();
        Self { session, idle }
    }

    async fn assert_dead(mut self, way: Way) {
        let ended = self.session.end(PATIENCE).await;
        assert_eq!(ended.unwrap_err().code(), Code::PermissionDenied, "{way:?}, live stream");
        assert!(self.idle.heartbeat().await.is_err(), "{way:?}, open connection");
    }
}

async fn take_away(agent: &Agent, server: &Server, admin: &Client, program: &Client) {
    let revoke = format!("/v1/agents/{}/revoke", agent.name());
    match agent.way {
        Way::Decommissioned => {
            let path = format!("/v1/hosts/{}/decommission", agent.identity.host_id());
            drop(admin.act(&path).await.expect(200));
        }
        Way::RevokedInBrowser => drop(admin.act(&revoke).await.expect(200)),
        Way::RevokedByProgram => drop(program.act(&revoke).await.expect(200)),
        Way::RevokedByCommand | Way::RevokedWhileStopped => server.revoke(&agent.name()),
        Way::Superseded => drop(Identity::enroll(server, &agent.name()).await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_taken_out_stays_out_whatever_he_tries() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let program_token = server.api_token(&["agent.write", "host.write"], None);
    let program = Client::bearer(&server, &program_token);
    let bystander = Identity::enroll(&server, "bystander").await;
    let mut agents = Vec::new();
    for way in LIVE_WAYS.into_iter().chain([Way::RevokedWhileStopped]) {
        agents.push(Agent::enroll(&server, way).await);
    }
    let backup = server.room().join("backup");
    server.cli(&["backup", backup.to_str().unwrap()]).run().ok();

    for agent in agents.iter().filter(|agent| agent.way != Way::RevokedWhileStopped) {
        let open = Open::of(agent).await;
        take_away(agent, &server, &admin, &program).await;
        open.assert_dead(agent.way).await;
        for _ in 0..2 {
            agent.peer.assert_refused().await;
        }
        agent.peer.assert_never_resumed();
        agent.assert_certificate_is_dead(&server, "at once").await;
        agent.assert_identity_is_dead(&program, "at once").await;
    }
    server.stop();
    take_away(agents.last().unwrap(), &server, &admin, &program).await;
    server.start_again();
    let all_are_dead = async |server: &Server, when: &str| {
        let program = Client::bearer(server, &program_token);
        for agent in &agents {
            agent.assert_certificate_is_dead(server, when).await;
            agent.assert_identity_is_dead(&program, when).await;
        }
        bystander.peer(server).reports().await.unwrap();
    };
    all_are_dead(&server, "after a restart").await;
    server.kill();
    server.start_again();
    all_are_dead(&server, "after kill -9").await;
    server.stop();
    std::fs::remove_file(server.store_file()).unwrap();
    server.cli(&["restore", backup.to_str().unwrap()]).run().ok();
    server.start_again();
    all_are_dead(&server, "after a restore").await;

    let program = Client::bearer(&server, &program_token);
    for agent in &agents {
        let path = format!("/v1/hosts/{}/re-enable", agent.identity.host_id());
        program.act(&path).await.expect(200);
        agent.assert_certificate_is_dead(&server, "after it was let back in").await;
        let token = mint(&program, "", &json!({"agent_id": agent.name()})).await;
        let back = Identity::with_token(&server.http(), &token).await;
        back.peer(&server).reports().await.unwrap();
        agent.assert_certificate_is_dead(&server, "after it came back").await;
    }
}
