//! A server that is killed again and again under load: whatever was answered is there afterwards, in full, and nothing twice.
//! `make test-crash` runs it for as many cycles as `MUSTER_KILL_CYCLES` says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use crate::support::client::Client;
use crate::support::http::Answer;
use crate::support::identity::{ENROLL, Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::{Server, text};

/// Cycles unless the environment says another number.
const CYCLES: u32 = 1_000;
/// Machines at a time.
const MACHINES: usize = 8;
/// How often everything that was ever answered is looked up, in cycles. After the others what was answered in them is.
const ALL_EVERY: u32 = 250;

/// What a machine was answered.
#[derive(Debug, Clone)]
enum Answered {
    Enrolled { host: String, serial: String },
    Rotated { host: String, serial: String },
    Revoked { host: String },
}

/// Everything that was answered about a host.
#[derive(Debug, Default)]
struct Known {
    serials: Vec<String>,
    revoked: bool,
}

#[derive(Debug, Default)]
struct Oracle(BTreeMap<String, Known>);

impl Oracle {
    /// Whose host it was about.
    fn learn(&mut self, answered: &Answered) -> String {
        let (Answered::Enrolled { host, .. } | Answered::Rotated { host, .. } | Answered::Revoked { host }) =
            answered;
        let known = self.0.entry(host.clone()).or_default();
        match answered {
            Answered::Enrolled { serial, .. } | Answered::Rotated { serial, .. } => {
                known.serials.push(serial.clone());
            }
            Answered::Revoked { .. } => known.revoked = true,
        }
        host.clone()
    }

    /// Demands that a host is on record with everything that was answered.
    async fn demand(&self, operator: &Client, host: &str, cycle: u32) {
        let answer = operator.get(&format!("/v1/hosts/{host}/enrollments?limit=100")).await.expect(200);
        let rows = answer["items"].as_array().unwrap();
        let known = &self.0[host];
        for serial in &known.serials {
            assert!(rows.iter().any(|row| row["serial"] == **serial), "cycle {cycle}: {host} lost {serial}");
        }
        let mut serials: Vec<_> = rows.iter().map(|row| row["serial"].as_str().unwrap()).collect();
        serials.sort_unstable();
        serials.dedup();
        assert_eq!(serials.len(), rows.len(), "cycle {cycle}: {host} has a certificate twice");
        // One that was recorded and not answered may have come after the last that was.
        assert!(rows.len() <= known.serials.len() + 1, "cycle {cycle}: {host} has more than was asked for");
        if known.revoked {
            assert!(rows.iter().all(|row| row["revoked"] == true), "cycle {cycle}: {host} is let in again");
        }
    }
}

/// Enrolls, rotates and, every third time, has itself revoked, until the server is gone.
async fn live(
    operator: Client,
    secret: String,
    killed: Arc<AtomicBool>,
    report: mpsc::UnboundedSender<Answered>,
) {
    let http = operator.http.clone();
    for turn in 0_u32.. {
        if killed.load(Ordering::SeqCst) {
            return;
        }
        let key = Key::p256();
        let request = json!({"secret": secret, "csr": key.csr().pem});
        let Some(answer) = http.try_post(ENROLL, &request).await else { continue };
        let Some(answer) = taken(&answer, 201) else { continue };
        let host = text(&answer, "host_id");
        let _ = report.send(Answered::Enrolled { host: host.clone(), serial: text(&answer, "serial") });
        let agent = text(&answer, "agent_id");
        let identity = Identity { key, answer };
        let Some(answer) = http.try_post(ROTATE, &identity.rotation(&Key::p256())).await else { continue };
        if let Some(answer) = taken(&answer, 200) {
            let _ = report.send(Answered::Rotated { host: host.clone(), serial: text(&answer, "serial") });
        }
        if turn % 3 == 0 {
            let path = format!("/v1/agents/{agent}/revoke");
            let Some(answer) = operator.try_post(&path, None).await else { continue };
            if taken(&answer, 200).is_some() {
                let _ = report.send(Answered::Revoked { host });
            }
        }
    }
}

/// The answer; none where the server asks to come again in a moment.
fn taken(answer: &Answer, status: u16) -> Option<Value> {
    if answer.status == 503 {
        return None;
    }
    Some(answer.expect(status))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long: make test-crash"]
async fn what_was_answered_outlives_a_thousand_kills() {
    let cycles = std::env::var("MUSTER_KILL_CYCLES").ok().and_then(|it| it.parse().ok()).unwrap_or(CYCLES);
    let mut server = Server::quickstart_with(&[("MUSTER_WRITE_PACE", "10000")]);
    let (_, secret) = server.secret(&[]);
    let token = server.api_token(&["agent.write", "agent.read"], None);
    let mut oracle = Oracle::default();
    let mut moment = 12_345_u64;
    for cycle in 1..=cycles {
        let (report, mut reports) = mpsc::unbounded_channel();
        let operator = Client::bearer(&server, &token);
        let killed = Arc::new(AtomicBool::new(false));
        let machines: Vec<_> = (0..MACHINES)
            .map(|_| {
                tokio::spawn(live(operator.clone(), secret.clone(), Arc::clone(&killed), report.clone()))
            })
            .collect();
        drop(report);
        // Not before somebody was answered, and then at any moment within some checkpoints' time.
        let mut answered = vec![reports.recv().await.expect("machines live until the server is killed")];
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_micros((moment >> 33) % 120_000)).await;
        server.kill();
        killed.store(true, Ordering::SeqCst);
        for machine in machines {
            machine.await.unwrap();
        }
        while let Some(late) = reports.recv().await {
            answered.push(late);
        }
        block_in_place(|| server.start_again());
        let operator = Client::bearer(&server, &token);
        let mut hosts: Vec<_> = answered.into_iter().map(|answered| oracle.learn(&answered)).collect();
        if cycle % ALL_EVERY == 0 || cycle == cycles {
            hosts = oracle.0.keys().cloned().collect();
            let log = server.log();
            assert!(!log.contains("panicked") && !log.contains("DAMAGED"), "{log}");
        }
        hosts.sort_unstable();
        hosts.dedup();
        for host in &hosts {
            oracle.demand(&operator, host, cycle).await;
        }
        if cycle % 50 == 0 || cycle == cycles {
            let serials: usize = oracle.0.values().map(|known| known.serials.len()).sum();
            let revoked = oracle.0.values().filter(|known| known.revoked).count();
            println!("{cycle} kills: {serials} certificates of {} hosts, {revoked} revoked", oracle.0.len());
        }
    }
    server.cli(&["audit", "verify"]).run().ok();
    server.cli(&["check", "--json"]).run();
}
