//! `kill -9` at awkward moments: what was answered is there, and nothing is there by half.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::support::http::Http;
use crate::support::identity::{ENROLL, Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::{Server, text};

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
        tokio::task::block_in_place(|| server.start_again());

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
        tokio::task::block_in_place(|| server.start_again());
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
        let body = serde_json::json!({"secret": secret, "csr": Key::p256().csr().pem});
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
