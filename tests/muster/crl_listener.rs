//! `crl_url` and `crl_listen`: certificates say where their issuer's list is, and it is there without TLS, with nothing else beside it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::cli::openssl;
use crate::support::judges::{Agent, entries, fetch};
use crate::support::keys;
use crate::support::ports::free_port;
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until, until_answered};

/// A server whose certificates point to its own listener.
fn server() -> (Server, String) {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let base = format!("http://{address}");
    let server = Server::quickstart_with(&[("MUSTER_CRL_URL", &base), ("MUSTER_CRL_LISTEN", &address)]);
    server.wait_for_log(&format!("lists={address}"), PATIENCE);
    (server, address)
}

/// Sends octets, and reads whatever comes until the other side closes or says no more.
fn raw(address: &str, request: &str) -> String {
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(address: &str, method: &str, path: &str) -> String {
    raw(address, &format!("{method} {path} HTTP/1.1\r\nHost: pki.example.org\r\nConnection: close\r\n\r\n"))
}

/// OpenSSL fetches each list by itself, from where the certificate says that it is.
#[tokio::test(flavor = "multi_thread")]
async fn verifiers_fetch_lists_from_where_certificates_say() {
    let (server, address) = server();
    let room = server.room().to_owned();
    let (good, bad) = (Agent::enroll(&server, "good").await, Agent::enroll(&server, "bad").await);
    tokio::task::block_in_place(|| server.revoke("bad"));
    until_answered("the revocation is on the list", async || {
        (entries(&fetch(&server).await[0]) == 1).then_some(())
    })
    .await;
    let key_identifier = |file: &str| {
        let shown =
            openssl(&room, &["x509", "-noout", "-ext", "subjectKeyIdentifier", "-in", file]).ok().stdout;
        shown.lines().nth(1).unwrap().trim().replace(':', "").to_lowercase()
    };
    for (file, issuer) in [("good.pem", "good.intermediate.pem"), ("good.intermediate.pem", "root.pem")] {
        let shown =
            openssl(&room, &["x509", "-noout", "-ext", "crlDistributionPoints", "-in", file]).ok().stdout;
        let path = format!("/agent-ca/crl/{}.crl", key_identifier(issuer));
        assert!(shown.contains(&format!("URI:http://{address}{path}\n")), "{path} in {shown}");
        assert!(ask(&address, "GET", &path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    let by_itself = |agent: &Agent| {
        // The root's own certificate points nowhere, and OpenSSL wants its list for it, too.
        let verify = ["verify", "-crl_check_all", "-crl_download", "-x509_strict", "-CAfile", "root.pem"];
        let verify = [&verify[..], &["-CRLfile", "root-list.pem"]].concat();
        let (leaf, intermediate) =
            (format!("{}.pem", agent.name), format!("{}.intermediate.pem", agent.name));
        openssl(&room, &[&verify[..], &["-untrusted", &intermediate, &leaf]].concat())
    };
    fs::write(room.join("root-list.pem"), keys::pem("X509 CRL", fetch(&server).await.last().unwrap()))
        .unwrap();
    fs::remove_file(room.join("crl.pem")).unwrap();
    by_itself(&good).ok();
    let refused = by_itself(&bad);
    assert!(refused.code != Some(0) && refused.stderr.contains("certificate revoked"), "{refused}");
    // A renewal goes through the same door, whose command knows the address from the server.
    let root_key = fs::read_to_string(server.file("root-key.pem")).unwrap();
    tokio::task::block_in_place(|| server.cli(&["agent-ca", "renew", "--now"]).stdin(&root_key).run().ok());
    let new = Agent::enroll(&server, "new").await;
    by_itself(&new).ok();
    by_itself(&good).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_lists_is_served_without_tls() {
    let (server, address) = server();
    let lists = fetch(&server).await;
    let https = server.http();
    for path in ["/agent-ca.crt", "/agent-ca-root.crt", "/agent-ca.crl", "/agent-ca.crl.pem"] {
        let answer = ask(&address, "GET", path);
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        let etag = https.get(path).await.header("etag").unwrap().to_owned();
        assert!(head.contains(&etag), "the same document: {etag} in {head}");
        assert!(!head.to_lowercase().contains("strict-transport-security"), "{head}");
        let head = ask(&address, "HEAD", path);
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
            let refused = ask(&address, method, path);
            assert!(refused.starts_with("HTTP/1.1 405 "), "{method} {path}: {refused}");
        }
    }
    assert!(!lists.is_empty());
    for path in [
        "/",
        "/healthz",
        "/metrics",
        "/v1/agent-ca",
        "/v1/session",
        "/local/agent-ca",
        "/openapi.json",
        "/enroll/agent",
        "/.well-known/spiffe-bundle",
        "/agent-ca",
        "/agent-ca/",
        "/agent-ca/crl",
        "/agent-ca/crl/",
        "/agent-ca/crl/a/b.crl",
        "/agent-ca/crl/../../v1/session",
        "/agent-ca.crt/../metrics",
        "//agent-ca.crt",
        "/agent-ca.crtx",
        "/AGENT-CA.CRT",
        "/agent-ca%2ecrt",
        "/agent-ca/crl/00.crl",
    ] {
        for method in ["GET", "POST"] {
            let answer = ask(&address, method, path);
            let expected = if method == "POST" && path == "/agent-ca/crl/00.crl" { "405" } else { "404" };
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{method} {path}: {answer}");
        }
    }
    // What is no request of HTTP/1.1.
    for (request, starts) in [
        (
            format!("GET /agent-ca.crt HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000)),
            "HTTP/1.1 431 ",
        ),
        (
            "GET /agent-ca.crt HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(),
            "HTTP/1.1 400 ",
        ),
        ("GET /agent-ca.crt HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}".to_owned(), ""),
    ] {
        let answer = raw(&address, &request);
        assert!(answer.starts_with(starts) && !answer.contains(" 200 "), "{request:.60}: {answer}");
    }
}

/// Connections that say nothing, or say it slowly, keep nobody out, and are ended.
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_many_clients_keep_nobody_out() {
    let (_server, address) = server();
    let began = Instant::now();
    let mut slow: Vec<_> = (0..200)
        .map(|number| {
            let mut tcp = TcpStream::connect(&address).unwrap();
            tcp.set_read_timeout(Some(PATIENCE)).unwrap();
            if number % 2 == 0 {
                tcp.write_all(b"GET /agent-ca.crt HTTP/1.1\r\nHost: ").unwrap();
            }
            tcp
        })
        .collect();
    // While the two hundred are still being accepted, their address has all that it may.
    until("somebody of the same address gets in", || {
        ask(&address, "GET", "/agent-ca.crl").starts_with("HTTP/1.1 200 ").then_some(())
    });
    for _ in 0..5 {
        let answer = ask(&address, "GET", "/agent-ca.crl");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // One that goes on letter by letter has no longer than one that says nothing.
    let last = slow.last_mut().unwrap();
    let ended = loop {
        let mut octet = [0];
        last.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        match last.read(&mut octet) {
            Ok(0) => break true,
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                if last.write_all(b"x").is_err() {
                    break true;
                }
            }
            Err(_) => break true,
        }
        if began.elapsed() > PATIENCE {
            break false;
        }
    };
    assert!(ended, "a header that does not end is given up");
    for mut tcp in slow {
        let mut rest = Vec::new();
        let _ = tcp.read_to_end(&mut rest);
    }
}
