//! Clients that ask and take nothing of the answers: what the server holds for them is bounded, they make way, and
//! nobody else notices.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::support::client::{Client, PASSWORD};
use crate::support::fleet::secret;
use crate::support::frames::{Frame, Frames, GOAWAY, HEADERS, RST_STREAM};
use crate::support::identity::ENROLL;
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// As many streams as one connection may have.
const STREAMS: u32 = 64;
/// Longer than the server takes for one of these answers.
const QUIET: Duration = Duration::from_millis(500);
const MIB: u64 = 1 << 20;

fn client(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 9, 9, number).into()
}

/// Asks as often as one connection may, and takes nothing: the window of each stream is zero (RFC 9113 6.9.2).
async fn take_nothing(server: &Server, from: IpAddr, path: &str, fields: &[(&str, &str)]) -> Frames {
    let mut frames = Frames::open_with_window(from, server, 0).await;
    for number in 0..STREAMS {
        frames.get(2 * number + 1, path, fields).await;
    }
    frames
}

/// The frames that come until so many answers have begun.
async fn until_begun(frames: &mut Frames, answers: usize) -> Vec<Frame> {
    let mut said = Vec::new();
    let reading = async {
        while count(&said, HEADERS) < answers {
            match frames.next().await {
                Some(frame) => said.push(frame),
                None => break,
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the server answers");
    said
}

fn count(frames: &[Frame], kind: u8) -> usize {
    frames.iter().filter(|frame| frame.kind == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_fills_no_memory_with_answers_that_he_does_not_take() {
    let server = Server::quickstart();
    let http = server.http();
    // The first connection costs what is only needed once.
    let mut held = vec![take_nothing(&server, client(1), "/openapi.json", &[]).await];
    held[0].until_quiet(QUIET).await;
    let before = server.resident_memory();
    for _ in 0..40 {
        held.push(take_nothing(&server, client(1), "/openapi.json", &[]).await);
    }
    for (number, frames) in held.iter_mut().enumerate().skip(1) {
        until_begun(frames, 16).await;
        // The others wait until one of these is over.
        let more = count(&frames.until_quiet(QUIET / 10).await, HEADERS);
        assert_eq!(more, 0, "{number}: so many more answers were begun for nobody in particular");
    }
    // 40 connections with 64 copies of the document each would be 350 MiB.
    let grown = server.resident_memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{} MiB more", grown / MIB);
    assert_eq!(http.get("/readyz").await.status, 200);
    assert_eq!(http.get("/openapi.json").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_fills_no_memory_with_pages_that_he_does_not_take() {
    const HOSTS: usize = 60;
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let (_, secret) = secret(&admin, "", &json!({"name": "fleet"})).await;
    // As long as facts can be.
    let ips: Vec<String> =
        (0..32).map(|number| format!("2001:db8:1111:2222:3333:4444:5555:66{number:02}")).collect();
    let facts =
        json!({"hostname": "h".repeat(63), "os": "o".repeat(255), "arch": "a".repeat(60), "ips": ips});
    for _ in 0..HOSTS {
        let body = json!({"secret": secret, "csr": Key::p256().csr().pem, "host": facts});
        admin.http.post(ENROLL, &body).await.expect(201);
    }
    server.add_user("watcher", "viewer", None);
    let viewer = Client::sign_in(&server, "watcher", PASSWORD).await;
    let page = viewer.get("/v1/hosts?limit=500").await;
    let page_size = page.body.len() as u64;
    assert!(page_size > 100_000, "{page_size}");
    let token = server.api_token(&["agent.read"], None);
    let fields = [("authorization", format!("Bearer {token}"))];
    let fields = fields.each_ref().map(|(name, value)| (*name, value.as_str()));

    let before = server.resident_memory();
    let mut held = Vec::new();
    let (mut begun, mut ended) = (0, 0);
    for _ in 0..24 {
        let mut frames = take_nothing(&server, client(1), "/v1/hosts?limit=500", &fields).await;
        let said = until_begun(&mut frames, STREAMS as usize).await;
        begun += count(&said, HEADERS);
        ended += count(&said, RST_STREAM);
        held.push(frames);
    }
    for frames in &mut held {
        ended += count(&frames.until_quiet(QUIET / 10).await, RST_STREAM);
    }
    let wanted = begun as u64 * page_size;
    assert!(wanted > 160 * MIB, "{begun} answers were begun, {page_size} octets each");
    let grown = server.resident_memory().saturating_sub(before);
    // The share of one address is 16 MiB; what the allocator keeps after that many threads have made pages levels off
    // near 60.
    assert!(grown < 96 * MIB, "{} MiB more, {} MiB wanted", grown / MIB, wanted / MIB);
    assert!(ended > 1_000, "the costliest answers have ended: {ended}");

    // Another address is served, and so is this one when it takes what it asks for.
    let page = timeout(PATIENCE, viewer.get("/v1/hosts?limit=500")).await.unwrap();
    assert_eq!((page.status, page.body.len() as u64), (200, page_size));
    assert_eq!(server.http().get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_whose_reader_takes_nothing_ends_with_the_right_to_listen() {
    let server = Server::quickstart();
    server.add_user("watcher", "viewer", None);
    for case in ["sign out", "revoke token"] {
        let viewer = Client::sign_in(&server, "watcher", PASSWORD).await;
        let admin = Client::admin(&server).await;
        let body = json!({"name": "tool", "permissions": ["agent.read"]});
        let made = admin.post("/v1/api-tokens", &body).await.expect(201);
        let (name, value) = match case {
            "sign out" => viewer.header("cookie").map(|value| ("cookie", value.to_owned())).unwrap(),
            _ => ("authorization", format!("Bearer {}", made["token"].as_str().unwrap())),
        };
        let mut frames = Frames::open_with_window(client(1), &server, 0).await;
        frames.get(1, "/v1/events", &[(name, &value)]).await;
        assert_eq!(count(&frames.until_quiet(QUIET).await, HEADERS), 1, "{case}");
        // More than may wait for the reader.
        for _ in 0..40 {
            admin.post("/v1/enrollment-secrets", &json!({"name": "fleet"})).await.expect(201);
        }
        let answer = match case {
            "sign out" => viewer.delete("/v1/session").await,
            _ => admin.delete(&format!("/v1/api-tokens/{}", made["id"].as_str().unwrap())).await,
        };
        assert_eq!(answer.status, 204, "{case}: {answer}");
        // Before anything stalls: a client may take nothing for half a minute.
        let end = timeout(Duration::from_secs(15), async {
            loop {
                match frames.next().await {
                    Some(Frame { kind: RST_STREAM, stream: 1, .. } | Frame { kind: GOAWAY, .. }) | None => {
                        break;
                    }
                    Some(_) => {}
                }
            }
        });
        end.await.unwrap_or_else(|_| panic!("{case}: the stream goes on"));
    }
}
