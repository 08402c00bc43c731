//! `kill -9` and a failing disk at awkward moments: what was answered is there, and nothing is there by half.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::disk::{Disk, Mishap};
use crate::support::http::{Answer, Http};
use crate::support::identity::{ENROLL, Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::until_answered;

const ROUNDS: usize = 15;
const CLIENTS: usize = 6;

/// An enrollment that was answered with 201.
#[derive(Debug)]
struct Acknowledged {
    host: String,
    serial: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_enrollments_survive_kill_9() {
    let mut server = Server::quickstart();
    let mut all: Vec<Acknowledged> = Vec::new();
    let mut secrets = Vec::new();
    for round in 0..ROUNDS {
        let (secret_id, secret) = server.secret(&[]);
        let sent = Arc::new(AtomicUsize::new(0));
        let (report, mut reports) = mpsc::unbounded_channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                tokio::spawn(enroll_until_cut_off(
                    server.http(),
                    secret.clone(),
                    sent.clone(),
                    report.clone(),
                ))
            })
            .collect();
        drop(report);

        // The moment differs from round to round, always with requests in flight.
        let mut answered = Vec::new();
        while answered.len() <= round % 5 {
            answered.push(reports.recv().await.expect("clients run until the server is killed"));
        }
        server.kill();
        for client in clients {
            client.await.unwrap();
        }
        while let Some(late) = reports.recv().await {
            answered.push(late);
        }
        block_in_place(|| server.start_again());

        let uses = usize::try_from(server.uses(&secret_id)).unwrap();
        let sent = sent.load(Ordering::SeqCst);
        assert!(
            (answered.len()..=sent).contains(&uses),
            "round {round}: {} answered, {uses} counted, {sent} sent",
            answered.len()
        );
        for enrollment in &answered {
            assert_present(&server, enrollment, round);
        }
        secrets.push(secret_id);
        all.extend(answered);
    }

    for enrollment in &all {
        assert_present(&server, enrollment, ROUNDS);
    }
    let hosts = server.hosts();
    let uses: u64 = secrets.iter().map(|id| server.uses(id)).sum();
    assert_eq!(hosts.len() as u64, uses, "hosts and uses were written together");
    for host in &hosts {
        let enrollments = server.enrollments(&text(host, "id"));
        assert_eq!(enrollments.len(), 1, "a host without its certificate, or with another's: {host}");
    }
    server.cli(&["audit", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_revocations_and_rotations_survive_kill_9() {
    let mut server = Server::quickstart();
    for round in 0..5 {
        let agent = format!("web-{round}");
        let identity = Identity::enroll(&server, &agent).await;
        let key = Key::p256();
        let rotated = server.http().post(ROTATE, &identity.rotation(&key)).await.expect(200);
        server.revoke(&agent);
        server.kill();
        block_in_place(|| server.start_again());
        let enrollments = server.enrollments(&identity.host_id());
        assert_eq!(enrollments.len(), 2, "{enrollments:?}");
        assert!(enrollments.iter().any(|e| e["serial"] == rotated["serial"]), "{enrollments:?}");
        assert!(enrollments.iter().all(|e| e["revoked"] == true), "{enrollments:?}");
    }
}

async fn enroll_until_cut_off(
    http: Http,
    secret: String,
    sent: Arc<AtomicUsize>,
    report: mpsc::UnboundedSender<Acknowledged>,
) {
    loop {
        let body = json!({"secret": secret, "csr": Key::p256().csr().pem});
        sent.fetch_add(1, Ordering::SeqCst);
        let Some(answer) = http.try_post(ENROLL, &body).await else { return };
        let answer = answer.expect(201);
        let acknowledged = Acknowledged { host: text(&answer, "host_id"), serial: text(&answer, "serial") };
        report.send(acknowledged).unwrap();
    }
}

fn assert_present(server: &Server, enrollment: &Acknowledged, round: usize) {
    let known = server.enrollments(&enrollment.host);
    assert!(known.iter().any(|e| e["serial"] == enrollment.serial), "round {round}: lost {enrollment:?}");
}

/// What happens to one host, from its token to its revocation. Each step is asked for until it is answered, always with
/// the same request.
#[derive(Debug)]
struct Life {
    agent: String,
    keys: [Key; 2],
    token: Option<String>,
    first: Option<Value>,
    second: Option<Value>,
}

impl Life {
    fn new(agent: String) -> Self {
        Self { agent, keys: [Key::p256(), Key::p256()], token: None, first: None, second: None }
    }

    /// Goes on where it stopped. An error is the refusal, or nothing when the server is gone.
    async fn go_on(&mut self, operator: &Client) -> Result<(), Option<Box<Answer>>> {
        let Self { agent, keys: [one, two], .. } = self;
        let token = match &self.token {
            Some(token) => token.clone(),
            None => {
                let mint = Some(json!({"agent_id": agent}));
                let minted = done(operator.try_post("/v1/agents/enroll-tokens", mint.as_ref()).await)?;
                self.token.insert(text(&minted, "token")).clone()
            }
        };
        let first = match &self.first {
            Some(answer) => answer.clone(),
            None => {
                let request = json!({"token": token, "csr": one.csr().pem});
                self.first.insert(done(operator.http.try_post(ENROLL, &request).await)?).clone()
            }
        };
        if self.second.is_none() {
            let first = Identity { key: one.clone(), answer: first };
            self.second = Some(done(operator.http.try_post(ROTATE, &first.rotation(two)).await)?);
        }
        done(operator.try_post(&format!("/v1/agents/{agent}/revoke"), None).await)?;
        Ok(())
    }

    /// Demands that everything is on record exactly once, and holds.
    async fn assert_complete(&self, server: &Server) {
        let [first, second] = [&self.first, &self.second].map(|answer| answer.as_ref().unwrap());
        let enrollments = server.enrollments(&text(first, "host_id"));
        let serials: Vec<_> = enrollments.iter().map(|row| row["serial"].clone()).collect();
        assert_eq!(serials.len(), 2, "{enrollments:?}");
        assert!(serials.contains(&first["serial"]) && serials.contains(&second["serial"]), "{enrollments:?}");
        assert!(enrollments.iter().all(|row| row["revoked"] == true), "{enrollments:?}");
        let newest = Identity { key: self.keys[1].clone(), answer: second.clone() };
        newest.peer(server).assert_refused().await;
    }
}

/// The body of an answer that says yes.
fn done(answer: Option<Answer>) -> Result<Value, Option<Box<Answer>>> {
    match answer {
        Some(answer) if matches!(answer.status, 200 | 201) => Ok(answer.json()),
        other => Err(other.map(Box::new)),
    }
}

/// Goes through the life of one host after another, each with the mishap one sync later, until one is over before it
/// happens. Returns how many were not.
async fn every_sync_in_turn(mishap: Mishap) -> u64 {
    let disk = Disk::new();
    let mut server = Server::quickstart_with(&disk.env());
    let token = server.api_token(&["agent.write"], None);
    let mut operator = Client::bearer(&server, &token);
    for number in 1.. {
        let mut life = Life::new(format!("web-{number}"));
        disk.at_sync(number, mishap);
        let outcome = life.go_on(&operator).await;
        let spared = disk.has_been_spared();
        match (mishap, outcome) {
            (_, outcome) if spared => outcome.unwrap(),
            (Mishap::Killed, outcome) => {
                // What the server writes for itself may be what was hit.
                assert!(matches!(outcome, Ok(()) | Err(None)), "{outcome:?}");
                let ended = block_in_place(|| server.process().wait());
                assert_eq!(ended.status.signal(), Some(9), "{ended:?}");
                block_in_place(|| server.start_again());
                operator = Client::bearer(&server, &token);
                life.go_on(&operator).await.unwrap();
            }
            (Mishap::Failed, Ok(())) => {}
            (Mishap::Failed, Err(refusal)) => {
                refusal.expect("the server goes on").refused(503, "unavailable");
                let works = async || match life.go_on(&operator).await {
                    Ok(()) => Some(()),
                    Err(refusal) => {
                        refusal.expect("the server goes on").refused(503, "unavailable");
                        None
                    }
                };
                until_answered("the disk works again", works).await;
            }
        }
        life.assert_complete(&server).await;
        if spared {
            server.cli(&["audit", "verify"]).run().ok();
            server.cli(&["check"]).run().well();
            assert!(!server.log().contains("panicked"), "{}", server.log());
            return number - 1;
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_sync_the_server_has_what_it_answered_and_nothing_twice() {
    let syncs = every_sync_in_turn(Mishap::Killed).await;
    assert!(syncs >= 5, "{syncs} syncs for four changes and a line of the revocation journal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_at_any_sync_costs_a_refusal() {
    let syncs = every_sync_in_turn(Mishap::Failed).await;
    assert!(syncs >= 5, "{syncs} syncs for four changes and a line of the revocation journal");
}

/// Closing puts what is in the change log into the store's file, and opening reads it from the log where that was not done.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_sync_of_an_end_or_a_start_the_server_has_what_it_answered() {
    let disk = Disk::new();
    let mut server = Server::quickstart_with(&disk.env());
    let mut known = Vec::new();
    for number in 1.. {
        let enrolled = Identity::enroll(&server, &format!("web-{number}")).await;
        known.push(enrolled.host_id());
        disk.at_sync(number, Mishap::Killed);
        block_in_place(|| {
            server.process().signal(Signal::TERM);
            server.process().wait();
        });
        let ended = disk.has_been_spared();
        disk.at_sync(number, Mishap::Killed);
        let mut runs = block_in_place(|| server.try_start_again()).is_ok();
        let started = disk.has_been_spared();
        if runs && !started {
            // It was hit after it had said that it serves.
            block_in_place(|| server.process().wait());
            runs = false;
        }
        if !runs {
            block_in_place(|| server.start_again());
        }
        let hosts: Vec<_> = server.hosts().iter().map(|host| text(host, "id")).collect();
        assert!(known.iter().all(|id| hosts.contains(id)), "{number}: {known:?}, but {hosts:?}");
        if ended && started {
            assert!(number > 2, "no sync in an end and a start");
            server.cli(&["audit", "verify"]).run().ok();
            server.cli(&["check"]).run().well();
            return;
        }
    }
}
