//! Requests that no client of ours would send: each gets one clear refusal or a closed connection, and the next
//! client notices nothing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::frames::{CONTINUATION, END_HEADERS, END_STREAM, Frames, HEADERS, HEALTHZ, RST_STREAM};
use crate::support::http::{Http, trusting};
use crate::support::identity::{Identity, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// What comes back to a request as it is written here. The server closes when it is done.
async fn answer(http: &Http, request: &str) -> String {
    String::from_utf8_lossy(&http.raw(request.as_bytes(), PATIENCE).await).into_owned()
}

/// The status codes of all answers in a text.
fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.").skip(1).map(|rest| rest.get(2..5).unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_end_and_nothing_hides_behind_it() {
    let server = Server::quickstart();
    let http = server.http();
    let hidden = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let extension =
        format!("Transfer-Encoding: chunked\r\n\r\n2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(40_000));
    let long = format!("Content-Length: {}\r\n\r\n", "1".repeat(5000));
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        "Content-Length: 2, 2\r\n\r\n{}",
        "Content-Length: +2\r\n\r\n{}",
        "Content-Length: -2\r\n\r\n{}",
        "Content-Length: 0x2\r\n\r\n{}",
        "Content-Length: 99999999999999999999\r\n\r\n{}",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "Content-Length: 0\r\n Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n",
        &extension,
        &long,
    ] {
        let head = "POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        let answers = answer(&http, &format!("{head}{framing}{hidden}")).await;
        assert_eq!(statuses(&answers), ["400"], "{framing:.60?}: {answers}");
    }
    // Whoever asks first is told before anything is sent.
    let asked = |length: u32| {
        format!(
            "POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{}",
            if length == 2 { "{}" } else { "" }
        )
    };
    assert_eq!(statuses(&answer(&http, &asked(70_000)).await), ["413"]);
    assert_eq!(statuses(&answer(&http, &asked(2)).await), ["100", "400"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_one_host_and_no_answer_repeats_it() {
    let server = Server::quickstart();
    let http = server.http();
    for headers in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let answers =
            answer(&http, &format!("GET /healthz HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await;
        assert_eq!(statuses(&answers), ["400"], "{headers:?}: {answers}");
    }
    for target in ["/", "/hosts", "/v1/hosts", "/healthz", "/nothing.here", "https://evil.example/hosts"] {
        for forwarded in ["", "X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: evil.example\r\n{forwarded}Connection: close\r\n\r\n"
            );
            let answers = answer(&http, &request).await;
            assert!(!answers.is_empty() && !answers.contains("evil"), "{target}: {answers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_address_leads_to_a_file_of_the_machine() {
    let server = Server::quickstart();
    let http = server.http();
    let long = format!("/{}", "a".repeat(10_000));
    for target in [
        "/../../../../etc/passwd",
        "/%2e%2e%2f%2e%2e%2fetc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/assets/../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/etc/passwd%00.html",
        "/index.html%00",
        "/.git/config",
        // An unknown file is never the page under another name.
        "/hosts.js",
        "/v1/hosts.css",
        "/assets/nothing.js.map",
        "/debug",
        "/server-status",
        &long,
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answers = answer(&http, &request).await;
        let [status] = statuses(&answers)[..] else { panic!("{target}: {answers}") };
        // Names without a dot are pages of the UI, which says itself that there is none.
        let page = ["/debug", "/server-status"].contains(&target) && answers.contains("text/html");
        assert!(["400", "404", "414"].contains(&status) || page, "{target:.60}: {answers:.300}");
        assert!(!answers.contains("root:"), "{target}");
    }
    for method in ["TRACE", "CONNECT", "DEBUG", "PROPFIND", "get"] {
        for target in ["/", "/healthz", "/v1/hosts"] {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: x\r\nX-Secret: 7\r\nConnection: close\r\n\r\n");
            let answers = answer(&http, &request).await;
            assert!(
                matches!(statuses(&answers)[..], ["400" | "404" | "405"]),
                "{method} {target}: {answers}"
            );
            assert!(!answers.to_ascii_lowercase().contains("x-secret"), "{method} {target}: {answers}");
        }
    }
    let overridden = [("x-http-method-override", "DELETE"), ("x-method-override", "POST")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(http.exchange("GET", "/healthz", &overridden, Vec::new()).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_what_a_browser_must_not_do_with_it() {
    let server = Server::quickstart();
    let http = server.http();
    let evil = [("origin".to_owned(), "https://evil.example".to_owned())];
    let preflight = [evil[0].clone(), ("access-control-request-method".to_owned(), "DELETE".to_owned())];
    let cases = [
        ("GET", "/", &evil[..]),
        ("GET", "/hosts", &evil),
        ("GET", "/v1/hosts", &evil),
        ("GET", "/v1/nothing", &evil),
        ("POST", "/enroll/agent", &evil),
        ("POST", "/enroll/agent/rotate", &evil),
        ("GET", "/healthz", &evil),
        ("GET", "/agent-ca.crt", &evil),
        ("GET", "/openapi.json", &evil),
        ("GET", "/assets/nothing", &evil),
        ("OPTIONS", "/v1/hosts", &preflight),
    ];
    for (method, path, headers) in cases {
        let answer = http.exchange(method, path, headers, Vec::new()).await.unwrap();
        let is = |name: &str, value: &str| assert_eq!(answer.header(name), Some(value), "{answer}");
        is("x-content-type-options", "nosniff");
        is("x-frame-options", "DENY");
        is("referrer-policy", "no-referrer");
        is("cross-origin-opener-policy", "same-origin");
        assert_eq!(answer.header("strict-transport-security"), None, "an address is no name: {answer}");
        let page = answer.header("content-type") == Some("text/html; charset=utf-8");
        // What is the same for everybody may be kept, and is asked for again each time.
        let document = ["/agent-ca.crt", "/openapi.json"].contains(&path);
        is("cache-control", if page || document { "no-cache" } else { "no-store" });
        let policy = answer.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{answer}");
        }
        assert!(policy.contains("form-action '") && !policy.contains("unsafe"), "{answer}");
        for absent in
            ["access-control-allow-origin", "access-control-allow-credentials", "server", "x-powered-by"]
        {
            assert_eq!(answer.header(absent), None, "{answer}");
        }
    }
    for (host, insists) in [
        ("muster.example.org", Some("max-age=31536000")),
        ("muster.example.org:8443", Some("max-age=31536000")),
        ("localhost", None),
        ("localhost:8443", None),
        ("127.0.0.1:8443", None),
        ("[::1]:8443", None),
    ] {
        let asked = [("host".to_owned(), host.to_owned())];
        let answer = http.exchange("GET", "/healthz", &asked, Vec::new()).await.unwrap();
        assert_eq!(answer.header("strict-transport-security"), insists, "{host}: {answer}");
    }
    let ranges = (0..1000).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(",");
    let asked = [("range".to_owned(), format!("bytes={ranges}"))];
    let whole = http.get("/").await;
    let ranged = http.exchange("GET", "/", &asked, Vec::new()).await.unwrap();
    assert_eq!((ranged.status, ranged.body), (200, whole.body), "ranges are not served");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_and_names_get_no_answer_to_wonder_at() {
    let server = Server::quickstart();
    let address = server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
    let addresses = [address.clone(), server.hello.grpc_addr.clone()];
    for address in &addresses {
        for request in
            ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\0\0\0\0\0"]
        {
            let mut plain = TcpStream::connect(address).await.unwrap();
            plain.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await;
            assert!(closed.is_ok(), "{request:?}");
            let asked_by_a_person = address == &addresses[0] && !request.starts_with('\0');
            if asked_by_a_person {
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer}");
                assert!(answer.contains("Use https:// in the address."), "{request:?}: {answer}");
            } else {
                // At most a TLS alert (RFC 8446 5.1).
                assert!(answer.is_empty() || answer[0] == 21, "{request:?}: {answer:?}");
            }
        }
    }
    let tls = Arc::new(trusting(&server.server_ca()).with_no_client_auth());
    for name in ["localhost", "127.0.0.1", "nobody.example", &format!("{}.example", "a.".repeat(100) + "a")] {
        let tcp = TcpStream::connect(&address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let known = ["localhost", "127.0.0.1"].contains(&&*name.to_str());
        // The same certificate for everybody: whoever asked for another name refuses it.
        let outcome = TlsConnector::from(Arc::clone(&tls)).connect(name, tcp).await;
        assert_eq!(outcome.is_ok(), known, "{outcome:?}");
    }
    assert_eq!(server.http().get("/healthz").await.status, 200);
}

/// `POST https://x/enroll/agent` with a body of JSON.
const ENROLL: &[u8] = b"\x83\x87\x04\x0d/enroll/agent\x41\x01x\x0f\x10\x10application/json";

/// More requests from one address than there are places for bodies, none with its body. Those that came first
/// have been told that they took too long, so the others have arrived.
async fn bodies_that_never_come(client: IpAddr, server: &Server) -> Vec<Frames> {
    let mut waiting = Vec::new();
    // A connection has 16 requests served at a time that come from nobody in particular.
    for _ in 0..45 {
        let mut frames = Frames::open_from(client, server).await;
        for number in 0..16 {
            frames.write(HEADERS, END_HEADERS, 2 * number + 1, ENROLL).await.unwrap();
        }
        waiting.push(frames);
    }
    let mut told = Vec::new();
    while !told.windows(9).any(|part| part == b"\"timeout\"") {
        let read = tokio::time::timeout(PATIENCE, waiting[0].read(&mut told)).await;
        assert!(read.unwrap().unwrap() > 0, "{}", String::from_utf8_lossy(&told));
    }
    waiting
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_takes_its_time_is_not_pushed_out_by_another_address() {
    let server = Server::quickstart();
    let body =
        serde_json::json!({ "token": server.join_token(&[]), "csr": Key::p256().csr().pem }).to_string();
    let started = Instant::now();
    let mut modest = server.http().open_from(Ipv4Addr::new(127, 9, 9, 1).into()).await.unwrap();
    let head = format!(
        "POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        body.len()
    );
    modest.write_all(head.as_bytes()).await.unwrap();
    // The server says this once it waits for the body.
    let mut answer = vec![0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    modest.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");

    let flood = bodies_that_never_come(Ipv4Addr::new(127, 9, 9, 2).into(), &server).await;
    modest.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, modest.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(started.elapsed() < Duration::from_secs(15), "nothing has timed out by itself");
    drop(flood);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_never_come_keep_no_others_out() {
    let server = Server::quickstart();
    let token = server.join_token(&[]);
    let started = Instant::now();
    let waiting = bodies_that_never_come(Ipv4Addr::LOCALHOST.into(), &server).await;
    present_token(&server.http(), &token, &Key::p256().csr()).await.expect(201);
    assert!(started.elapsed() < Duration::from_secs(15), "nothing has timed out by itself");
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_own_connection_only() {
    let server = Server::quickstart();
    let peer = Identity::enroll(&server, "web-1").await.peer(&server);
    let http = server.http();

    let mut polite = Frames::open(&server).await;
    polite.answered().await;

    // Requests that are given up at once (CVE-2023-44487).
    let mut resets = Frames::open(&server).await;
    let mut sent = 0;
    while sent < 100_000 {
        let stream = 2 * sent + 1;
        let written = async {
            resets.write(HEADERS, END_STREAM | END_HEADERS, stream, HEALTHZ).await?;
            resets.write(RST_STREAM, 0, stream, &[0, 0, 0, 8]).await
        };
        if written.await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000, "there is no end to it");
    resets.closed(PATIENCE).await;

    // Header fields without an end (CVE-2024-27316).
    let mut endless = Frames::open(&server).await;
    endless.write(HEADERS, END_STREAM, 1, HEALTHZ).await.unwrap();
    let mut sent = 0;
    let field = [&[0, 1, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 1024]].concat();
    while sent < 20_000 && endless.write(CONTINUATION, 0, 1, &field).await.is_ok() {
        sent += 1;
    }
    assert!(sent < 20_000, "there is no end to it");
    endless.closed(PATIENCE).await;

    // Fields that belong to HTTP/1, and what can't stand in a field (RFC 9113 8.2).
    for field in [
        &b"\x00\x11transfer-encoding\x07chunked"[..],
        b"\x00\x0aconnection\x05close",
        b"\x00\x01X\x01y",
        b"\x00\x01x\x03a\r\n",
    ] {
        let mut wrong = Frames::open(&server).await;
        wrong.write(HEADERS, END_STREAM | END_HEADERS, 1, &[HEALTHZ, field].concat()).await.unwrap();
        wrong.shutdown().await;
        let said = wrong.closed(PATIENCE).await;
        assert!(!said.windows(5).any(|part| part == b"alive" || part == b"{\"sta"), "{field:?}: {said:?}");
    }
    peer.reports().await.unwrap();
    assert_eq!(http.get("/readyz").await.status, 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_http2_connections_make_way_for_newcomers() {
    let server = Server::quickstart_with_descriptors(256);
    let started = Instant::now();
    let mut quiet = Vec::new();
    // A quarter of the descriptors is for strangers.
    for number in 1..=100 {
        let mut frames = Frames::open_from(Ipv4Addr::new(127, 9, 9, number).into(), &server).await;
        frames.answered().await;
        quiet.push(frames);
    }
    let mut newest = quiet.pop().unwrap();
    let oldest = quiet.remove(0);
    oldest.closed(PATIENCE).await;
    assert!(started.elapsed() < Duration::from_secs(10), "none has been closed for its idleness alone");
    newest.write(HEADERS, END_STREAM | END_HEADERS, 3, HEALTHZ).await.unwrap();
    let mut said = Vec::new();
    while !said.windows(6).any(|part| part == b"status") {
        assert!(newest.read(&mut said).await.unwrap() > 0, "the newest has its place: {said:?}");
    }
}
