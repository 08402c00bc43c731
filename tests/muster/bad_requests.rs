//! Bad requests by the thousand: those who send good ones don't notice, nothing grows, and nobody learns more from the
//! time an answer takes than from the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use crate::support::client::PASSWORD;
use crate::support::http::Http;
use crate::support::identity::{ENROLL, Identity, ROTATE, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;

const MIB: u64 = 1 << 20;
/// Senders of bad requests at a time.
const SENDERS: usize = 8;

/// A server that believes this machine about whom it speaks for, so that each request may come from another address.
fn behind_a_proxy() -> Server {
    Server::quickstart_with(&[("MUSTER_TRUSTED_PROXIES", "127.0.0.1/32")])
}

/// The same id with another secret.
fn guess(credential: &str, number: usize) -> String {
    let (head, secret) = credential.rsplit_once('_').unwrap();
    format!("{head}_{number:06}{}", &secret[6..]).replace(['0', '1', '8', '9'], "a")
}

/// One of so many bad requests: method, path, body, and what may be the answer.
fn bad(number: usize, known: &Known) -> (&'static str, String, String, &'static [u16]) {
    let (token, secret) = (guess(&known.token, number), guess(&known.secret, number));
    match number % 10 {
        0 => ("POST", ENROLL.to_owned(), json!({"token": token, "csr": known.csr}).to_string(), &[401, 429]),
        1 => {
            ("POST", ENROLL.to_owned(), json!({"secret": secret, "csr": known.csr}).to_string(), &[401, 429])
        }
        2 => (
            "POST",
            ENROLL.to_owned(),
            json!({"token": known.token, "csr": "x".repeat(9_000)}).to_string(),
            &[400],
        ),
        3 => ("POST", ENROLL.to_owned(), "[".repeat(20_000), &[400]),
        4 => (
            "POST",
            ROTATE.to_owned(),
            json!({"chain": known.csr.repeat(9), "csr": known.csr, "proof": "MAA="}).to_string(),
            &[401, 429],
        ),
        5 => ("GET", format!("/v1/hosts/{number}"), String::new(), &[401]),
        6 => ("GET", format!("/no/such/page-{number}.php"), String::new(), &[404]),
        7 => ("POST", ENROLL.to_owned(), "x".repeat(65 * 1024), &[413]),
        8 => ("PATCH", format!("/v1/users/{number}"), "{}".to_owned(), &[401]),
        _ => ("PROPFIND", ROTATE.to_owned(), String::new(), &[405, 501]),
    }
}

/// What a stranger may have overheard.
struct Known {
    token: String,
    secret: String,
    csr: String,
}

/// Sends as many bad requests, each from an address of its own, and demands the expected answer to each.
async fn send_bad_requests(http: &Http, known: &Arc<Known>, numbers: std::ops::Range<usize>) {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (http, known, numbers) = (http.clone(), Arc::clone(known), numbers.clone());
        senders.spawn(async move {
            for number in numbers.skip(sender).step_by(SENDERS) {
                let (method, path, body, expected) = bad(number, &known);
                let address = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
                let headers = [
                    ("content-type".to_owned(), "application/json".to_owned()),
                    ("x-forwarded-for".to_owned(), address),
                ];
                let answer = http.exchange(method, &path, &headers, body.into_bytes()).await.unwrap();
                assert!(expected.contains(&answer.status), "{number}: {answer}");
            }
        });
    }
    senders.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_leave_nothing_behind() {
    let mut server = behind_a_proxy();
    let http = server.http();
    let (_, secret) = server.secret(&[]);
    let known = Arc::new(Known { token: server.join_token(&[]), secret, csr: Key::p256().csr().pem });
    let size = |server: &Server| std::fs::metadata(server.store_file()).unwrap().len();

    send_bad_requests(&http, &known, 0..500).await;
    let (memory, file) = (server.resident_memory(), size(&server));
    send_bad_requests(&http, &known, 500..2_000).await;
    let (memory_after, file_after) = (server.resident_memory(), size(&server));
    // What 4 KiB for each of them would be.
    assert!(memory_after < memory + 6 * MIB, "{memory} octets of memory have become {memory_after}");
    assert!(file_after <= file + MIB, "{file} octets of store have become {file_after}");
    assert!(server.log().len() < 1 << 20, "{} octets of log", server.log().len());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    assert!(server.process().is_running());
    present_token(&http, &known.token, &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_a_known_secret_keep_nobody_waiting() {
    let server = behind_a_proxy();
    let http = server.http();
    let (id, secret) = server.secret(&[]);
    let tokens: Vec<_> = (0..5).map(|_| server.join_token(&[])).collect();
    let memory = server.resident_memory();

    let done = Arc::new(AtomicBool::new(false));
    let mut guessers = JoinSet::new();
    for guesser in 0..50 {
        let (http, secret) = (http.clone(), secret.clone());
        guessers.spawn(async move {
            let csr = Key::p256().csr();
            for number in 0..10 {
                let headers = [
                    ("content-type".to_owned(), "application/json".to_owned()),
                    ("x-forwarded-for".to_owned(), format!("10.0.0.{guesser}")),
                ];
                let body = json!({"secret": guess(&secret, guesser * 10 + number), "csr": csr.pem});
                let body = body.to_string().into_bytes();
                let answer = http.exchange("POST", ENROLL, &headers, body).await.unwrap();
                assert!(matches!(answer.status, 401 | 429 | 503), "{answer}");
            }
        });
    }
    let (health, over) = (server.http(), Arc::clone(&done));
    let looker = tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            assert_eq!(health.get("/healthz").await.status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    });
    for token in tokens {
        Identity::with_token(&http, &token).await;
    }
    guessers.join_all().await;
    done.store(true, Ordering::Relaxed);
    let slowest = looker.await.unwrap();
    // The guessers and the server share two processors here.
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(server.resident_memory() < memory + 150 * MIB);
    assert_eq!(server.uses(&id), 0);
}

/// How long the one in the middle takes.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Whether the medians are as close to each other as can be told from outside, on a busy machine.
fn are_alike(times: &mut [(&str, Vec<Duration>)]) -> bool {
    let medians: Vec<_> = times.iter_mut().map(|(_, times)| median(times)).collect();
    let (fastest, slowest) = (*medians.iter().min().unwrap(), *medians.iter().max().unwrap());
    slowest <= fastest + Duration::from_millis(2).max(fastest / 2)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_a_refusal_tells_nothing() {
    let server = behind_a_proxy();
    let http = server.http();
    let (revoked_id, revoked) = server.secret(&[]);
    server.cli(&["secret", "revoke", &revoked_id]).run().ok();
    let (_, exhausted) = server.secret(&["--max-uses", "1"]);
    let csr = Key::p256().csr().pem;
    present_secret(&http, &exhausted, &Key::p256().csr()).await.expect(201);
    let (_, live) = server.secret(&[]);
    let (head, part) = live.rsplit_once('_').unwrap();
    let other = |c: char| if c == 'a' { 'b' } else { 'a' };
    let first = format!("{head}_{}{}", other(part.chars().next().unwrap()), &part[1..]);
    let middle = format!("{head}_{}{}{}", &part[..20], other(part.chars().nth(20).unwrap()), &part[21..]);
    let unknown = live.replacen(&head[4..], &"a".repeat(head.len() - 4), 1);
    let presented = [
        ("an unknown id", unknown),
        ("wrong from the first character", first),
        ("wrong in the middle", middle),
        ("revoked", revoked),
        ("exhausted", exhausted),
    ];
    let mut number = 0;
    let mut ask = async |path: &str, body: serde_json::Value| {
        number += 1;
        let address = format!("10.0.{}.{}", number >> 8, number & 255);
        let headers = [("content-type", "application/json".to_owned()), ("x-forwarded-for", address)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        let asked = Instant::now();
        let answer = http.exchange("POST", path, &headers, body.to_string().into_bytes()).await.unwrap();
        assert_eq!(answer.status, 401, "{answer}");
        asked.elapsed()
    };
    // Whatever else the machine does may fall on one case by chance, and does not do so each time.
    let mut said = Vec::new();
    for _ in 0..4 {
        let mut times = presented.each_ref().map(|(case, _)| (*case, Vec::new()));
        for _ in 0..40 {
            for ((_, secret), (_, times)) in presented.iter().zip(&mut times) {
                times.push(ask(ENROLL, json!({"secret": secret, "csr": csr})).await);
            }
        }
        let mut users = [("admin", Vec::new()), ("nobody", Vec::new())];
        for _ in 0..9 {
            for (name, times) in &mut users {
                times.push(ask("/v1/session", json!({"username": name, "password": PASSWORD})).await);
            }
        }
        // Whoever knows all of a secret is told the same as a guesser, and may be told it later.
        let (guesses, known) = times.split_at_mut(3);
        if are_alike(guesses) && are_alike(known) && are_alike(&mut users) {
            return;
        }
        let medians = times.iter_mut().chain(&mut users).map(|(case, times)| (*case, median(times)));
        said.push(medians.collect::<Vec<_>>());
    }
    panic!("times that tell something, each time: {said:#?}");
}
