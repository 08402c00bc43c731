//! Muster behind a reverse proxy: with nginx as `docs/reverse-proxies.md` sets it up, with nginx as it is by itself, and
//! with what proxies say in headers.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::client::Client;
use crate::support::http::Http;
use crate::support::keys::Key;
use crate::support::ports::free_port;
use crate::support::process::{Process, command};
use crate::support::server::Server;
use crate::support::wait::until_answered;

const FORWARDING: [&str; 4] = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_through_a_proxy_on_this_machine_is_not_this_machine() {
    let server = Server::quickstart();
    let nobody = Client::nobody(&server);
    assert_eq!(nobody.get("/metrics").await.status, 200);
    for header in FORWARDING {
        for value in ["127.0.0.1", "192.0.2.1", "", "for=127.0.0.1", "1.1 proxy"] {
            let passed_on = nobody.clone().with(header, value).get("/metrics").await;
            assert_eq!(passed_on.status, 403, "{header}: {value}: {passed_on}");
        }
    }
    let trusting = Server::quickstart_with(&[("MUSTER_TRUSTED_PROXIES", "::ffff:127.0.0.0/104")]);
    let nobody = Client::nobody(&trusting);
    assert_eq!(nobody.get("/metrics").await.status, 403, "a trusted proxy never asks for itself");
    let local = nobody.with("x-forwarded-for", "127.0.0.1").get("/metrics").await;
    assert_eq!(local.status, 403, "{local}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hop_that_cannot_be_read_is_unknown_and_shares_no_bucket_with_the_proxy() {
    let server = Server::quickstart_with(&[("MUSTER_TRUSTED_PROXIES", "127.0.0.0/8")]);
    let nobody = Client::nobody(&server);
    let wrong = json!({"token": "mjt_aaaaaaaaaaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "csr": "x"});
    let unknown = nobody.clone().with("x-forwarded-for", "_hidden");
    let mut throttled = false;
    for _ in 0..150 {
        throttled |= unknown.post("/enroll/agent", &wrong).await.status == 429;
    }
    assert!(throttled, "who is unknown has an allowance like anybody");
    let named = nobody.clone().with("x-forwarded-for", "198.51.100.9");
    assert_eq!(named.post("/enroll/agent", &wrong).await.status, 401);
    assert_eq!(nobody.post("/enroll/agent", &wrong).await.status, 401, "the proxy itself");
    let request = json!({"token": server.join_token_for("web-1"), "csr": Key::p256().csr().pem});
    let enrolled = unknown.post("/enroll/agent", &request).await.expect(201);
    let enrollments = server.enrollments(enrolled["host_id"].as_str().unwrap());
    assert_eq!(enrollments[0]["peer"], json!(null), "{enrollments:?}");
    let records = server.audit("agent.enroll");
    assert!(records.iter().any(|record| record["source"] == "unknown"), "{records:?}");
}

/// Signs in as a browser does whose page has this origin, with the server asked by this host.
async fn sign_in(server: &Server, http: &Http, host: Option<&str>, origin: &str) -> (u16, String) {
    let hello = &server.hello;
    let body = json!({"username": hello.admin_user, "password": hello.admin_password}).to_string();
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.push(("origin".to_owned(), origin.to_owned()));
    headers.extend(host.map(|host| ("host".to_owned(), host.to_owned())));
    let answer = http.exchange("POST", "/v1/session", &headers, body.into_bytes()).await.unwrap();
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn origins_are_compared_as_origins() {
    let server = Server::quickstart();
    let http = server.http();
    for (host, origin) in [
        ("muster.example.org", "https://muster.example.org"),
        ("muster.example.org:443", "https://muster.example.org"),
        ("muster.example.org", "https://muster.example.org:443"),
        ("Muster.Example.ORG", "https://muster.example.org"),
        ("[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
    ] {
        let (status, body) = sign_in(&server, &http, Some(host), origin).await;
        assert_eq!(status, 200, "{host}, {origin}: {body}");
    }
    for (host, origin) in [
        ("muster.example.org", "https://evil.example.org"),
        ("muster.example.org:8443", "https://muster.example.org"),
        ("muster.example.org", "http://muster.example.org"),
        ("muster.example.org", "null"),
        ("muster.example.org", "https://muster.example.org.evil.example"),
    ] {
        let (status, body) = sign_in(&server, &http, Some(host), origin).await;
        assert_eq!(status, 403, "{host}, {origin}: {body}");
        assert!(!body.contains("session cookie"), "{body}");
    }
    let (_, body) = sign_in(&server, &http, Some("127.0.0.1:8443"), "https://muster.example.org").await;
    assert!(body.contains("public_url") && body.contains("Host"), "the setting is named: {body}");
}

/// nginx in a room of its own, on a port that was free a moment ago.
struct Nginx {
    http: Http,
    url: String,
    _process: Process,
}

impl Nginx {
    /// With a `server` block, in which what the documentation names is replaced by what there is.
    async fn start(room: &Path, port: u16, upstream: &str, ca: &Path, server_block: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        fs::write(room.join("nginx.crt"), &certificate).unwrap();
        fs::write(room.join("nginx.key"), key.serialize_pem()).unwrap();
        let place = |name: &str| room.join(name).to_str().unwrap().to_owned();
        let server_block = server_block
            .replace("listen 443 ssl;", &format!("listen 127.0.0.1:{port} ssl;"))
            .replace("/etc/ssl/muster.example.org.crt", &place("nginx.crt"))
            .replace("/etc/ssl/muster.example.org.key", &place("nginx.key"))
            .replace("/etc/muster/server-ca.pem", ca.to_str().unwrap())
            .replace("https://127.0.0.1:8443", &format!("https://{upstream}"));
        // One process: it may enter the test's directory, and no worker outlives the end of the test.
        let config = format!(
            "daemon off;\nmaster_process off;\npid {};\nerror_log stderr;\nevents {{}}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {};\nproxy_temp_path {};\nfastcgi_temp_path {};\n\
             uwsgi_temp_path {};\nscgi_temp_path {};\n{server_block}\n}}\n",
            place("nginx.pid"),
            place("body"),
            place("proxy"),
            place("fastcgi"),
            place("uwsgi"),
            place("scgi"),
        );
        fs::write(room.join("nginx.conf"), config).unwrap();
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"];
        let program = program.into_iter().find(|program| Path::new(program).exists()).unwrap_or("nginx");
        let mut command = command(program, room);
        command.args(["-e", "stderr", "-p", room.to_str().unwrap(), "-c", &place("nginx.conf")]);
        let process = Process::start(&mut command);
        let url = format!("https://127.0.0.1:{port}");
        let http = Http::new(&url, &certificate);
        let answers = async || {
            let ready = http.exchange("GET", "/healthz", &[], Vec::new()).await;
            ready.is_ok_and(|answer| answer.status == 200).then_some(())
        };
        until_answered("nginx passes requests on", answers).await;
        Self { http, url, _process: process }
    }
}

/// The block of the documentation that is nginx's.
fn documented() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reverse-proxies.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, block) = page.split_once("```nginx\n").unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

/// nginx with nothing set but where to pass requests.
const BY_ITSELF: &str = "server {
    listen 443 ssl;
    ssl_certificate /etc/ssl/muster.example.org.crt;
    ssl_certificate_key /etc/ssl/muster.example.org.key;
    location / { proxy_pass https://127.0.0.1:8443; }
}";

#[tokio::test(flavor = "multi_thread")]
async fn nginx_as_documented_is_a_browsers_way_in() {
    let server = Server::quickstart_with(&[("MUSTER_TRUSTED_PROXIES", "127.0.0.1")]);
    let ca = server.file("tls/ca.crt");
    let nginx = Nginx::start(server.room(), free_port(), &server.listening(), &ca, &documented()).await;
    let (status, body) = sign_in(&server, &nginx.http, None, &nginx.url).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = sign_in(&server, &nginx.http, None, "https://evil.example.org").await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(nginx.http.get("/metrics").await.status, 403, "figures are not for the world");
    // Whoever writes the header himself is still known by the hop that nginx has seen.
    let wrong = json!({"username": "nobody", "password": "wrong password of nobody"}).to_string();
    let headers = [
        ("content-type".to_owned(), "application/json".to_owned()),
        ("x-forwarded-for".to_owned(), "203.0.113.9".to_owned()),
    ];
    let refused = nginx.http.exchange("POST", "/v1/session", &headers, wrong.into_bytes()).await.unwrap();
    assert_eq!(refused.status, 401, "{refused}");
    let sources: Vec<_> = server.audit("session").iter().map(|record| record["source"].clone()).collect();
    assert!(
        sources.contains(&json!("203.0.113.9")),
        "the rightmost hop that is no trusted proxy: {sources:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_as_it_is_by_itself_the_setting_lets_people_in() {
    let plain = Server::quickstart();
    let ca = plain.file("tls/ca.crt");
    let nginx = Nginx::start(plain.room(), free_port(), &plain.listening(), &ca, BY_ITSELF).await;
    let (status, body) = sign_in(&plain, &nginx.http, None, &nginx.url).await;
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("MUSTER_PUBLIC_URL"), "{body}");

    let port = free_port();
    let url = format!("https://127.0.0.1:{port}");
    let server =
        Server::quickstart_with(&[("MUSTER_PUBLIC_URL", &url), ("MUSTER_TRUSTED_PROXIES", "127.0.0.1")]);
    let ca = server.file("tls/ca.crt");
    let nginx = Nginx::start(server.room(), port, &server.listening(), &ca, BY_ITSELF).await;
    let (status, body) = sign_in(&server, &nginx.http, None, &url).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = sign_in(&server, &nginx.http, None, "https://evil.example.org").await;
    assert_eq!(status, 403, "{body}");
    assert_eq!(nginx.http.get("/metrics").await.status, 403);
}
