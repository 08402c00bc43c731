//! First contact: which server an agent believes, and what it keeps afterwards.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::support::agent::Machine;
use crate::support::cli::{Cli, Output, openssl, python};
use crate::support::impostor::Impostor;
use crate::support::keys::{certificates, fingerprint, pem};
use crate::support::process::{Process, command};
use crate::support::server::{Server, text};

#[test]
fn the_pin_of_the_ca_is_enough() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let hosts = server.hosts();
    assert_eq!(hosts[0]["agent_id"], "web-1");
    for name in ["cert.pem", "key.pem", "ca.pem", "server-ca.pem"] {
        let mode = std::fs::metadata(machine.file(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert_eq!(certificates(&machine.read("cert.pem")).len(), 2, "leaf and intermediate");
    assert_eq!(certificates(&machine.read("server-ca.pem")), certificates(&server.server_ca()));
}

#[test]
fn the_pin_is_read_as_openssl_prints_it() {
    let server = Server::quickstart();
    let ca = server.file("tls/ca.crt");
    let args = ["x509", "-noout", "-fingerprint", "-sha256", "-in", ca.to_str().unwrap()];
    let printed = openssl(server.room(), &args).ok().stdout;
    let (_, pin) = printed.trim().split_once('=').unwrap();
    assert!(pin.contains(':') && pin.to_uppercase() == pin, "{pin}");
    let token = server.join_token(&[]);
    Machine::new().enroll(&server.hello.url, &token, &["--ca-pin", pin]).ok();
}

#[test]
fn the_pin_of_the_server_certificate_itself_is_enough() {
    let server = Server::quickstart();
    let chain = std::fs::read_to_string(server.file("tls/server.crt")).unwrap();
    let pin = fingerprint(&certificates(&chain)[0]);
    let token = server.join_token(&[]);
    Machine::new().enroll(&server.hello.url, &token, &["--ca-pin", &pin]).ok();
}

#[test]
fn a_ca_file_is_enough() {
    let server = Server::quickstart();
    let ca = server.file("tls/ca.crt");
    let token = server.join_token(&[]);
    Machine::new().enroll(&server.hello.url, &token, &["--ca-file", ca.to_str().unwrap()]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_nobody_vouches_for_is_refused_and_told_nothing() {
    let server = Server::quickstart();
    let token = server.join_token(&[]);
    let impostor = Impostor::named("127.0.0.1").await;
    let elsewhere = Impostor::named("other.example").await;
    let unusual_ca = server.room().join("other-ca.pem");
    std::fs::write(&unusual_ca, Impostor::named("127.0.0.1").await.ca_pem).unwrap();
    let wrong = "00".repeat(32);

    let cases: [(&str, &str, &[&str]); 6] = [
        ("wrong pin", &impostor.url, &["--ca-pin", &server.hello.ca_pin]),
        ("pin of nothing", &impostor.url, &["--ca-pin", &wrong]),
        ("CA pin, another name", &elsewhere.url, &["--ca-pin", &elsewhere.ca_pin]),
        ("another CA file", &impostor.url, &["--ca-file", unusual_ca.to_str().unwrap()]),
        ("unknown CA, no pin", &impostor.url, &[]),
        ("unknown CA of the real server, no pin", &server.hello.url, &[]),
    ];
    for (case, url, trust) in cases {
        let machine = Machine::new();
        let refused = blocking(|| machine.enroll(url, &token, trust)).failed();
        assert!(machine.is_blank(), "{case}: {refused}");
        assert!(!refused.stderr.contains(&token), "{case}: the token was printed");
    }
    assert_eq!(impostor.heard(), "", "not even a request");
    assert_eq!(elsewhere.heard(), "");
    // None of this has used up the token.
    let machine = Machine::new();
    blocking(|| machine.enroll_at(&server, &token));
}

#[test]
fn a_malformed_pin_is_refused() {
    let server = Server::quickstart();
    let token = server.join_token(&[]);
    for pin in ["", "00", "zz", &"0".repeat(65)] {
        let machine = Machine::new();
        let refused = machine.enroll(&server.hello.url, &token, &["--ca-pin", pin]);
        assert!(matches!(refused.code, Some(1 | 2)), "{pin:?}: {refused}");
        assert!(machine.is_blank());
    }
    Machine::new().enroll_at(&server, &token);
}

#[test]
fn a_join_link_is_all_it_takes() {
    let server = Server::quickstart();
    let address = server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/').to_owned();
    let link = format!("muster://{address}/?pin={}#{}", server.hello.ca_pin, server.join_token(&[]));
    let machine = Machine::new();
    let enroll = |link: &str| {
        Cli::new(machine.home(), &["agent", "enroll", link, "--dir", machine.dir().to_str().unwrap()]).run()
    };
    for broken in [
        link.replace("muster://", "https://"),
        link.split_once('#').unwrap().0.to_owned(),
        link.replace(&server.hello.ca_pin, &"0".repeat(64)),
        format!("muster://{address}/?pin=#x"),
    ] {
        let refused = enroll(&broken);
        assert!(matches!(refused.code, Some(1 | 2)), "{broken}: {refused}");
        assert!(machine.is_blank(), "{broken}");
    }
    enroll(&link).ok();
    assert_eq!(server.hosts().len(), 1);
}

#[test]
fn a_secret_can_come_through_standard_input() {
    let server = Server::quickstart();
    let machine = Machine::new();
    let (_, secret) = server.secret(&[]);
    let dir = machine.dir();
    let args = ["agent", "enroll", "--server", &server.hello.url, "--ca-pin", &server.hello.ca_pin];
    let args = [&args[..], &["--secret-file", "-", "--dir", dir.to_str().unwrap()]].concat();
    Cli::new(machine.home(), &args).stdin(&format!("{secret}\n")).run().ok();
    machine.assert_key_matches();
}

#[test]
fn an_identity_is_never_overwritten() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let before: Vec<_> =
        ["cert.pem", "key.pem", "ca.pem", "server-ca.pem"].map(|name| machine.read(name)).into();
    let token = server.join_token(&[]);
    machine.enroll(&server.hello.url, &token, &["--ca-pin", &server.hello.ca_pin]).failed();
    let after: Vec<_> =
        ["cert.pem", "key.pem", "ca.pem", "server-ca.pem"].map(|name| machine.read(name)).into();
    assert_eq!(after, before);
    Machine::new().enroll_at(&server, &token);
}

#[test]
fn a_refused_credential_leaves_nothing_behind() {
    let server = Server::quickstart();
    let used = server.join_token(&[]);
    Machine::new().enroll_at(&server, &used);
    let machine = Machine::new();
    let refused = machine.enroll(&server.hello.url, &used, &["--ca-pin", &server.hello.ca_pin]).failed();
    assert!(refused.stderr.contains("used"), "{refused}");
    assert!(!refused.stderr.contains(used.rsplit_once('_').unwrap().1), "the token was printed");
    assert!(machine.is_blank());
}

#[test]
fn independent_judges_accept_the_certificate() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    server.cli(&["agent-ca", "export", "bundle.pem"]).run().ok();
    let room = server.room();
    let chain = certificates(&machine.read("cert.pem"));
    for (name, der) in ["leaf.pem", "intermediate.pem"].iter().zip(&chain) {
        std::fs::write(room.join(name), pem("CERTIFICATE", der)).unwrap();
    }
    let bundle = std::fs::read_to_string(room.join("bundle.pem")).unwrap();
    std::fs::write(room.join("root.pem"), pem("CERTIFICATE", &certificates(&bundle)[0])).unwrap();

    let verify = |purpose: &str, trusted: &[&str]| -> Output {
        let args = [&["verify", "-x509_strict", "-purpose", purpose], trusted, &["leaf.pem"]].concat();
        openssl(room, &args)
    };
    verify("sslclient", &["-CAfile", "bundle.pem"]).ok();
    verify("sslclient", &["-CAfile", "root.pem", "-untrusted", "intermediate.pem"]).ok();
    let as_server = verify("sslserver", &["-CAfile", "bundle.pem"]);
    assert_ne!(as_server.code, Some(0), "an agent could pose as a server: {as_server}");

    let read = openssl(room, &["x509", "-noout", "-text", "-in", "leaf.pem"]).ok().stdout;
    let lines: Vec<_> = read.lines().map(str::trim).collect();
    let after = |heading: &str| {
        let at = lines.iter().position(|line| line.starts_with(heading));
        lines[at.unwrap_or_else(|| panic!("no {heading}: {read}")) + 1]
    };
    let tenant = &server.hello.tenant_id;
    let uri = format!("URI:spiffe://muster/tenant/{tenant}/agent/web-1");
    assert_eq!(after("X509v3 Subject Alternative Name"), uri);
    assert_eq!(after("X509v3 Extended Key Usage"), "TLS Web Client Authentication");
    assert_eq!(after("X509v3 Key Usage: critical"), "Digital Signature");
    assert_eq!(after("X509v3 Basic Constraints: critical"), "CA:FALSE");
    let subject = format!("Subject: CN = web-1, OU = {}, O = muster", server.hello.tenant_id);
    assert!(read.contains(&subject), "{read}");
    after("X509v3 Subject Key Identifier");
    after("X509v3 Authority Key Identifier");
}

#[test]
fn a_linter_finds_nothing_but_that_a_spiffe_id_is_no_web_address() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("web-1"));
    let bundle = server.cli(&["agent-ca", "export", "-"]).run().ok().stdout;
    let chain = certificates(&machine.read("cert.pem"));
    let files = [("leaf", &chain[0]), ("intermediate", &chain[1]), ("root", &certificates(&bundle)[0])];
    let files = files.map(|(name, der)| {
        let path = machine.home().join(format!("{name}.pem"));
        std::fs::write(&path, pem("CERTIFICATE", der)).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let found = python(machine.home(), "lint.py", &files.each_ref().map(String::as_str)).json();
    let expected = [["leaf", "pkix.invalid_uri_syntax"], ["intermediate", "pkix.invalid_uri_syntax"]];
    let findings: Vec<_> = found.as_array().unwrap().iter().map(|row| [&row[0], &row[2]]).collect();
    assert_eq!(json!(findings), json!(expected), "{found}");
    for finding in found.as_array().unwrap() {
        let place = finding[1].as_str().unwrap();
        assert!(place.ends_with("subjectAltName.0.uniformResourceIdentifier"), "{found}");
    }
}

#[test]
fn the_key_on_disk_belongs_to_the_certificate() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    machine.assert_key_matches();
}

#[test]
fn the_grpc_listener_speaks_tls_1_3_alone_and_resumes_nothing() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let connect = |options: &[&str]| {
        let mut args = vec!["s_client", "-connect", &server.hello.grpc_addr, "-alpn", "h2"];
        args.extend(["-cert", "cert.pem", "-key", "key.pem", "-cert_chain", "cert.pem"]);
        args.extend(options);
        let mut process = Process::start(command("openssl", &machine.dir()).args(args));
        process.feed(b"");
        process.wait().stdout
    };
    assert!(!connect(&["-tls1_2"]).contains("Cipher    : ECDHE"));
    let first = connect(&["-tls1_3", "-sess_out", "session"]);
    assert!(first.contains("TLSv1.3"), "{first}");
    assert!(!machine.file("session").exists(), "the server sent a session ticket");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_bundle_is_the_exported_one() {
    let server = Server::quickstart();
    let exported = server.cli(&["agent-ca", "export", "-"]).run().ok().stdout;
    let served = server.http().get("/agent-ca.crt").await;
    assert_eq!(served.status, 200);
    assert_eq!(certificates(&String::from_utf8(served.body).unwrap()), certificates(&exported));
    let minted = server.cli(&["enroll-token", "--json"]).run().json();
    let machine = Machine::new();
    blocking(|| machine.enroll_at(&server, &text(&minted, "token")));
    let roots = certificates(&machine.read("ca.pem"));
    assert!(roots.contains(&certificates(&exported)[0]), "the agent keeps the agent CA's root");
}

/// Runs what waits for a process without stopping the runtime's other tasks.
fn blocking<T>(run: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(run)
}
