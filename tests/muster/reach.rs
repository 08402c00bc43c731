//! The addresses that agents and people are told: ones that they can dial and whose certificate they accept.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http::Http;
use crate::support::identity::Identity;
use crate::support::process::{MUSTER, Process, command};
use crate::support::serving::Serving;
use crate::support::wait::PATIENCE;

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn without_public_url_an_agent_is_told_the_name_that_it_came_by() {
    let serving = Serving::start(&[]);
    serving.cli(&["agent-ca", "init"]).run().ok();
    let identity = Identity::with_token(&serving.http(), &serving.join_token()).await;
    let told = &identity.answer;
    assert_eq!(told["servers"], json!([format!("https://{}", serving.https)]), "{told}");
    assert_eq!((&told["grpc_addr"], &told["grpc_addrs"]), (&json!(serving.grpc), &json!([serving.grpc])));

    // The same connection may be asked for by another name; one that the certificate lacks is told to nobody.
    let rotation = identity.rotation(&crate::support::keys::Key::p256()).to_string();
    for (host, expected) in [("localhost:8443", Some("localhost")), ("evil.example:8443", None)] {
        let headers = [
            ("host".to_owned(), host.to_owned()),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        let body = rotation.clone().into_bytes();
        let answer = serving.http().exchange("POST", "/enroll/agent/rotate", &headers, body).await.unwrap();
        let told: Value = answer.expect(200);
        match expected {
            Some(name) => {
                assert_eq!(told["servers"], json!([format!("https://{host}")]), "{told}");
                assert_eq!(told["grpc_addr"], format!("{name}:{}", port(&serving.grpc)), "{told}");
            }
            None => {
                assert_eq!(told["servers"], json!([]), "{told}");
                assert_eq!(told["grpc_addr"], json!(serving.grpc), "{told}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_public_url_is_told_and_the_first_is_shown() {
    let serving =
        Serving::start(&[("MUSTER_PUBLIC_URL", "https://muster.example.org, https://127.0.0.1:8443")]);
    serving.cli(&["agent-ca", "init"]).run().ok();
    let told = Identity::with_token(&serving.http(), &serving.join_token()).await.answer;
    let grpc = |host: &str| format!("{host}:{}", port(&serving.grpc));
    assert_eq!(told["servers"], json!(["https://muster.example.org:443", "https://127.0.0.1:8443"]));
    assert_eq!(told["grpc_addrs"], json!([grpc("muster.example.org"), grpc("127.0.0.1")]));
    assert_eq!(told["grpc_addr"], json!(grpc("127.0.0.1")), "by the name that it came by");
    let minted = serving.cli(&["enroll-token", "--json"]).run().json();
    assert_eq!(minted["server"], "https://muster.example.org:443");
    assert_eq!(minted["server_warning"], Value::Null);
    serving.cli(&["check"]).run().well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_certificate_lacks_is_warned_about_wherever_it_is_given_out() {
    let mut serving = Serving::start(&[]);
    serving.cli(&["agent-ca", "init"]).run().ok();
    let (room, _) = serving.stop();
    serving = Serving::start_on(room, &[("MUSTER_PUBLIC_URL", "https://late.example.org")]);
    serving.process().wait_for_log("late.example.org", PATIENCE);
    let minted = serving.cli(&["enroll-token"]).run().ok();
    assert!(minted.stderr.contains("WARNING: ") && minted.stderr.contains("late.example.org"), "{minted}");
    let checked = serving.cli(&["check", "--json"]).run();
    assert_eq!(checked.code, Some(4), "{checked}");
    let findings: Value = serde_json::from_str(&checked.stdout).unwrap();
    let finding = &findings["findings"][0];
    assert_eq!(
        (&finding["code"], &finding["severity"]),
        (&json!("server_certificate_names"), &json!("soon"))
    );
    assert!(finding["hint"].as_str().unwrap().contains("gen-cert --name late.example.org"), "{finding}");

    serving.cli(&["gen-cert"]).run().ok();
    assert!(serving.certificate_names().contains("late.example.org"));
    serving.process().wait_for_log("server certificate replaced", PATIENCE);
    serving.cli(&["check"]).run().well();
}

/// A certificate and its key with these names, under no CA of ours.
fn foreign_certificate(room: &Path, names: &[&str]) -> (String, [(String, String); 2]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let pem = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem();
    let (certificate, key_file) = (room.join("foreign.crt"), room.join("foreign.key"));
    fs::write(&certificate, &pem).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let env = [
        ("MUSTER_TLS_CERT_FILE".to_owned(), text(&certificate)),
        ("MUSTER_TLS_KEY_FILE".to_owned(), text(&key_file)),
    ];
    (pem, env)
}

fn quickstart(room: &Path, listen: &str, env: &[(String, String)]) -> Process {
    let mut command = command(MUSTER, room);
    command.args(["quickstart", "--json", "--listen", listen, "--grpc-listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(room.join("data")).envs(env.iter().map(|(k, v)| (k, v)));
    Process::start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_is_told_to_nobody() {
    let room = tempfile::tempdir().unwrap();
    let (ca, env) = foreign_certificate(room.path(), &["*.example.org", "127.0.0.1"]);
    let process = quickstart(room.path(), "127.0.0.1:0", &env);
    let line = process
        .stdout
        .wait_for_line(PATIENCE, |_| true)
        .unwrap_or_else(|| panic!("{}", process.stderr.text()));
    let hello: Value = serde_json::from_str(&line).unwrap();
    let url = hello["url"].as_str().unwrap();
    assert!(url.starts_with("https://127.0.0.1:"), "{hello}");
    let identity = Identity::with_token(&Http::new(url, &ca), hello["join_token"].as_str().unwrap()).await;
    assert_eq!(identity.answer["servers"], json!([url]));
    assert_eq!(identity.answer["grpc_addr"], hello["grpc_addr"]);
}

#[test]
fn where_no_address_can_be_told_quickstart_refuses_before_it_makes_anything() {
    let room = tempfile::tempdir().unwrap();
    let (_, env) = foreign_certificate(room.path(), &["*.nowhere.example.org"]);
    let finished = quickstart(room.path(), "0.0.0.0:0", &env).wait();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("public_url") && !finished.stderr.contains("ROOT KEY"), "{finished:?}");
    assert!(!room.path().join("data").exists());

    let told = [("MUSTER_PUBLIC_URL".to_owned(), "https://muster.nowhere.example.org".to_owned())];
    let process = quickstart(room.path(), "0.0.0.0:0", &[&env[..], &told].concat());
    let line = process.stdout.wait_for_line(PATIENCE, |line| line.contains("url"));
    assert!(line.unwrap().contains("https://muster.nowhere.example.org:443"));
}
