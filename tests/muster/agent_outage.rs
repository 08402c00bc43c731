//! A server that was away for longer than an SVID lives: its agents come back by themselves, the revoked one does
//! not.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use muster::agent::boot::Patience;
use muster::agent::config::{AgentConfig, EnrollConfig};
use muster::agent::credential_source::{CredentialSource, Place, SecretText};
use muster::agent::facts::Subject;
use muster::agent::identity::IdentityDir;
use muster::agent::runtime::{self, RunEnd, tell_nobody};
use muster::clock::SystemClock;
use muster::domain::credential::CredentialKind;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::support::server::Server;
use crate::support::wait;

const AGENTS: usize = 50;
const SVID_TTL: SignedDuration = SignedDuration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_outage_everybody_is_back_without_a_token_but_the_revoked() {
    let mut server = block_in_place(|| Server::quickstart_with(&[("MUSTER_SVID_TTL", "15s")]));
    let (_, secret) = block_in_place(|| server.secret(&[]));
    let room = tempfile::tempdir().unwrap();
    let place = |number: usize| IdentityDir::new(room.path().join(number.to_string()));
    let stop = CancellationToken::new();
    let mut agents: Vec<_> = (0..AGENTS)
        .map(|number| {
            let config = config(&server, &secret, place(number).path());
            tokio::spawn(runtime::run(
                config,
                Arc::new(SystemClock),
                Patience::default(),
                stop.clone(),
                tell_nobody,
            ))
        })
        .collect();
    let not_after =
        |number: usize| place(number).read().ok().flatten().map(|identity| identity.svid.not_after);
    block_in_place(|| {
        wait::until("everybody is enrolled", || (0..AGENTS).all(|n| not_after(n).is_some()).then_some(()));
        server.stop();
    });
    let revoked = place(0).read().unwrap().unwrap().svid.spiffe_id.agent.to_string();
    block_in_place(|| server.revoke(&revoked));

    tokio::time::sleep(Duration::try_from(SVID_TTL).unwrap() + Duration::from_secs(3)).await;
    assert!((0..AGENTS).all(|n| not_after(n).unwrap() < Timestamp::now()), "everybody has expired");
    block_in_place(|| server.start_again_on_the_same_ports());
    let returned = Timestamp::now();
    block_in_place(|| {
        wait::until("everybody else is back", || {
            (1..AGENTS).all(|n| not_after(n).unwrap() > returned).then_some(())
        });
    });
    let took = Timestamp::now().duration_since(returned);
    assert!(took < SVID_TTL, "they are back within a lifetime, not after {took}");

    let end = tokio::time::timeout(wait::PATIENCE, agents.remove(0)).await.unwrap().unwrap().unwrap();
    assert!(matches!(&end, RunEnd::Revoked(refusal) if refusal.code == "identity_revoked"), "{end:?}");
    assert!(not_after(0).unwrap() < returned);
    block_in_place(|| {
        wait::until("everybody else has a session", || {
            let online = server.hosts().iter().filter(|host| host["status"] == "online").count();
            (online >= AGENTS - 1).then_some(())
        });
    });
    stop.cancel();
    for agent in agents {
        assert_eq!(agent.await.unwrap().unwrap(), RunEnd::Stopped);
    }
}

fn config(server: &Server, secret: &str, dir: &Path) -> AgentConfig {
    let credential = CredentialSource {
        kind: CredentialKind::EnrollmentSecret,
        place: Place::Given(SecretText::new(secret)),
    };
    AgentConfig {
        identity: IdentityDir::new(dir),
        server_ca: None,
        grpc_addr: None,
        server: None,
        enroll: EnrollConfig {
            credential: Some(credential),
            server: Some(server.hello.url.parse().unwrap()),
            pin: Some(server.hello.ca_pin.parse().unwrap()),
        },
        workload_socket: None,
        subject: Subject::ThisMachine,
    }
}
