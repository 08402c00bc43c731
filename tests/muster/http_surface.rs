//! The HTTPS listener's outside: what anybody may ask, and how wrong requests are answered.

use std::time::Duration;

use serde_json::json;

use crate::support::identity::{ENROLL, Identity, present_token};
use crate::support::keys::Key;
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_need_no_login() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http.get(path).await.status, 200, "{path}");
        assert_eq!(http.send("HEAD", path, None, Vec::new()).await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_addresses_of_the_api_are_problems() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["/v1/nothing", "/api/v1/nothing", "/v1/", "/enroll/nothing", "/enroll/agent/rotate/x"] {
        http.get(path).await.refused(404, "not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_answers_its_own_methods_alone() {
    let server = Server::quickstart();
    let http = server.http();
    let known = [
        ("/healthz", "GET"),
        ("/readyz", "GET"),
        ("/agent-ca.crt", "GET"),
        ("/enroll/agent", "POST"),
        ("/enroll/agent/rotate", "POST"),
    ];
    for (path, allowed) in known {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECTED"] {
            if method == allowed {
                continue;
            }
            let answer = http.send(method, path, None, Vec::new()).await;
            answer.refused(405, "method_not_allowed");
            assert!(answer.header("allow").is_some_and(|allow| allow.contains(allowed)), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_says_what_an_address_takes() {
    let server = Server::quickstart();
    let http = server.http();
    for (path, allowed) in [
        ("/", "GET"),
        ("/hosts", "GET"),
        ("/healthz", "GET"),
        ("/openapi.json", "GET"),
        ("/v1/hosts", "GET"),
        ("/v1/users", "POST"),
        ("/enroll/agent", "POST"),
    ] {
        let answer = http.send("OPTIONS", path, None, Vec::new()).await;
        assert_eq!(answer.status, 204, "{answer}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains(allowed)), "{answer}");
        assert_eq!(answer.header("access-control-allow-methods"), None, "{answer}");
    }
    http.send("OPTIONS", "/v1/nothing", None, Vec::new()).await.refused(404, "not_found");
    let answer = http.send("DELETE", "/hosts", None, Vec::new()).await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_asks_who_is_there_before_it_reads_anything() {
    let server = Server::quickstart();
    let http = server.http();
    for base in ["/v1", "/api/v1"] {
        let minting = format!("{base}/agents/enroll-tokens");
        http.post(&minting, &json!({})).await.refused(401, "unauthenticated");
        http.post_text(&minting, "{").await.refused(401, "unauthenticated");
        http.post_text(&minting, &"[".repeat(20_000)).await.refused(401, "unauthenticated");
        http.get(&format!("{base}/hosts")).await.refused(401, "unauthenticated");
        let unknown = format!("{base}/hosts/00000000-0000-7000-8000-000000000000");
        http.get(&unknown).await.refused(401, "unauthenticated");
        http.post(&format!("{base}/agents/web-1/revoke"), &json!({})).await.refused(401, "unauthenticated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_certificate_opens_no_api() {
    let server = Server::quickstart();
    let identity = Identity::enroll(&server, "web-1").await;
    let mut body = identity.rotation(&Key::p256());
    body["agent_id"] = json!("admin");
    server.http().post("/v1/agents/enroll-tokens", &body).await.refused(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_json_is_refused_without_harm() {
    let server = Server::quickstart();
    let http = server.http();
    let deep = 30_000;
    for hostile in [
        "[".repeat(deep),
        "{\"a\":".repeat(deep / 5),
        format!("{{\"token\":{}{}}}", "[".repeat(deep), "]".repeat(deep)),
        format!("{{\"token\":\"{}\"}}", "\\u0000".repeat(5000)),
        format!("{{{}\"x\":1}}", "\"token\":\"a\",".repeat(4000)),
        "1e999999".to_owned(),
        "\u{feff}{}".to_owned(),
        "nul".to_owned(),
    ] {
        http.post_text(ENROLL, &hostile).await.refused(400, "bad_request");
    }
    assert_eq!(http.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_however_they_are_sent() {
    let server = Server::quickstart();
    let http = server.http();
    let announced = http.post_text(ENROLL, &" ".repeat(64 * 1024 + 1)).await;
    announced.refused(413, "payload_too_large");

    // Sixteen megabytes in chunks, without a length that could be refused beforehand.
    let mut request = b"POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\n\r\n"
        .to_vec();
    for _ in 0..256 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&[b' '; 0x10000]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = http.raw(&request, Duration::from_secs(5)).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(http.get("/readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_types_are_judged_by_their_name() {
    let server = Server::quickstart();
    let http = server.http();
    let token = server.join_token(&[]);
    let body = || json!({"token": token, "csr": Key::p256().csr().pem}).to_string().into_bytes();
    for wrong in ["text/plain", "application/xml", "application/jsonp", "json", "multipart/form-data"] {
        let answer = http.send("POST", ENROLL, Some(wrong), body()).await;
        answer.refused(415, "unsupported_media_type");
    }
    let answer = http.send("POST", ENROLL, Some("application/json; charset=utf-8"), body()).await;
    answer.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_http_gets_400_or_a_closed_connection() {
    let server = Server::quickstart();
    let http = server.http();
    let long_header = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    let requests: [&[u8]; 8] = [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
        b"POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Name: 1\r\n\r\n",
        long_header.as_bytes(),
        &[0x16, 0x03, 0x01, 0, 0, 0, 0, 0],
    ];
    for request in requests {
        let answer = String::from_utf8_lossy(&http.raw(request, Duration::from_secs(2)).await).into_owned();
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown:?}: {answer}");
    }
    assert_eq!(http.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_stop_nobody() {
    let server = Server::quickstart();
    let http = server.http();
    let mut silent = Vec::new();
    for _ in 0..50 {
        let address = server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/');
        silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        silent.push(tokio::net::TcpStream::connect(&server.hello.grpc_addr).await.unwrap());
    }
    let identity = Identity::enroll(&server, "web-1").await;
    identity.peer(&server).reports().await.unwrap();
    present_token(&http, &server.join_token(&[]), &Key::p256().csr()).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_no_cookie_and_name_no_version() {
    let server = Server::quickstart();
    let http = server.http();
    for path in ["/healthz", "/v1/hosts", "/nothing", "/agent-ca.crt"] {
        let answer = http.get(path).await;
        assert_eq!(answer.header("set-cookie"), None, "{path}");
        assert_eq!(answer.header("server"), None, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
}
