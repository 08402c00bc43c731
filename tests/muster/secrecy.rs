//! Secrets are where they belong and nowhere else: not in the store, not in a log, not in an error.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::json;

use crate::support::agent::Machine;
use crate::support::files::contents;
use crate::support::identity::{ENROLL, Identity, present_secret, present_token};
use crate::support::keys::Key;
use crate::support::server::{Server, text};

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_reaches_the_store_or_the_log() {
    let mut server = Server::quickstart_with(&[("MUSTER_LOG", "trace")]);
    let http = server.http();
    let unused = server.join_token(&[]);
    let used = server.join_token_for("web-1");
    let (_, secret) = server.secret(&["--max-uses", "2"]);
    let identity = Identity::with_token(&http, &used).await;
    identity.rotate(&http).await;
    present_secret(&http, &secret, &Key::p256().csr()).await.expect(201);
    let password = server.hello.admin_password.clone().expect("a first run makes a password");
    let login = json!({"username": server.hello.admin_user, "password": password});
    http.post("/v1/session", &login).await;
    // Typed into the wrong field.
    let mistyped = "my-own.Passw0rd_here";
    for name in [password.as_str(), mistyped] {
        http.post("/v1/session", &json!({"username": name, "password": "x"}))
            .await
            .refused(401, "unauthenticated");
    }

    // What fails is logged too, and must not be logged whole.
    present_token(&http, &used, &Key::p256().csr()).await.refused(401, "token_used");
    let key_for_csr = format!("{}{}", Key::p256().csr().pem, identity.key.pem());
    http.post(ENROLL, &json!({"token": unused, "csr": key_for_csr})).await.refused(400, "bad_csr");
    http.post_text(ENROLL, &format!("{{\"token\": \"{unused}\"")).await.refused(400, "bad_request");

    let machine = Machine::new();
    let for_agent = server.join_token_for("web-2");
    tokio::task::block_in_place(|| machine.enroll_at(&server, &for_agent));
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", server.process().id())).unwrap();
    let tokens = [unused, used, secret, for_agent, server.hello.join_token.clone().unwrap()];
    server.stop();

    let root_key = std::fs::read_to_string(server.file("root-key.pem")).unwrap();
    let mut wanted = vec![
        ("the admin password".to_owned(), password.into_bytes()),
        ("a password that was typed as a name".to_owned(), mistyped.as_bytes().to_vec()),
        ("an agent's key".to_owned(), body(&identity.key.pem()).into_bytes()),
    ];
    wanted.extend(in_every_form("the root key", &BASE64.decode(body(&root_key).as_bytes()).unwrap()));
    wanted.push(("the root key, PEM".to_owned(), root_key.lines().nth(1).unwrap().as_bytes().to_vec()));
    for token in &tokens {
        let secret = token.rsplit_once('_').unwrap().1;
        wanted.push((format!("{} in the clear", &token[..8]), secret.as_bytes().to_vec()));
        wanted.extend(in_every_form(&token[..8], &base32(secret)));
    }

    for (path, content) in contents(&server.data_dir()) {
        if path != server.file("root-key.pem") {
            assert_free_of(&wanted, &content, &path.display().to_string());
        }
    }
    assert_free_of(&wanted, server.log().as_bytes(), "the log");
    assert_free_of(&wanted, &cmdline, "the command line");
    assert!(server.log().len() > 1000, "the log was captured");
}

#[test]
fn a_crash_leaves_no_picture_of_the_memory() {
    let mut server = Server::quickstart();
    let id = server.process().id();
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let fields: Vec<_> = line.split_whitespace().skip(4).take(2).collect();
    assert_eq!(fields, ["0", "0"], "{line}");
    // Where the test may lift the limit, a process that must not be dumped is not dumped all the same.
    let unlimited = Rlimit { current: None, maximum: None };
    let _ = prlimit(Pid::from_raw(id.cast_signed()), Resource::Core, unlimited);
    server.process().signal(Signal::ABORT);
    let ended = server.process().wait();
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{ended:?}");
    assert!(!ended.status.core_dumped(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_private_key_lies_in_the_clear_but_the_servers_own() {
    let mut server = Server::quickstart();
    Identity::enroll(&server, "web-1").await;
    server.stop();
    for (path, content) in contents(&server.data_dir()) {
        let name = path.strip_prefix(server.data_dir()).unwrap();
        if name == Path::new("root-key.pem") || name == Path::new("tls/server.key") {
            continue;
        }
        assert!(!holds(&content, b"PRIVATE KEY"), "a key in {}", name.display());
        // How SEC 1 keys begin inside PKCS #8: version 1, then 32 or 48 octets of secret.
        for beginning in [&[2, 1, 1, 4, 32], &[2, 1, 1, 4, 48]] {
            assert!(!holds(&content, beginning), "a key in DER in {}", name.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_shown_once() {
    let server = Server::quickstart();
    let minted = server.cli(&["enroll-token", "--name", "rack", "--json"]).run().json();
    let made = server.cli(&["secret", "create", "--name", "rack", "--json"]).run().json();
    for (credential, list) in [
        (text(&minted, "token"), ["enroll-token", "list", "--json"]),
        (text(&made, "secret"), ["secret", "list", "--json"]),
        (text(&minted, "token"), ["audit", "list", "--json"]),
        (text(&made, "secret"), ["audit", "list", "--json"]),
    ] {
        let listed = server.cli(&list).run().json().to_string();
        assert!(!listed.contains(credential.rsplit_once('_').unwrap().1), "{list:?}");
        assert!(!listed.contains("hash\":\"$"), "{list:?}");
    }
    let tokens = server.cli(&["enroll-token", "list", "--json"]).run().items();
    assert!(tokens.iter().any(|token| token["id"] == minted["id"]), "{tokens:?}");
}

fn in_every_form(name: &str, secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    vec![
        (format!("{name}, raw"), secret.to_vec()),
        (format!("{name}, hex"), HEXLOWER.encode(secret).into_bytes()),
        (format!("{name}, base64"), BASE64.encode(secret).trim_end_matches('=').as_bytes().to_vec()),
    ]
}

fn assert_free_of(wanted: &[(String, Vec<u8>)], content: &[u8], place: &str) {
    for (name, secret) in wanted {
        assert!(!holds(content, secret), "{name} is in {place}");
    }
}

fn holds(content: &[u8], wanted: &[u8]) -> bool {
    let first = wanted[0];
    let starts = content.iter().enumerate().filter(|(_, byte)| **byte == first).map(|(at, _)| at);
    starts.into_iter().any(|at| content[at..].starts_with(wanted))
}

/// What is between the lines of dashes.
fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

/// The 32 octets behind a credential's secret part.
fn base32(text: &str) -> Vec<u8> {
    muster::domain::ids::ALPHABET.decode(text.as_bytes()).unwrap()
}
