//! `svid_dns_suffix`: an SVID with a DNS name beside its id is a certificate that ordinary TLS clients accept of a server, and one
//! without is not.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::agent::Machine;
use crate::support::cli::openssl;
use crate::support::client::Client;
use crate::support::identity::{ENROLL, Identity};
use crate::support::keys::{self, Key};
use crate::support::server::{Server, text};
use crate::support::wait::PATIENCE;

const NAME: &str = "web-1.agents.example";

/// An agent that states a version, enrolled with a token of a tenant.
async fn enrolled(server: &Server, token_arguments: &[&str], version: &str) -> Identity {
    let token = tokio::task::block_in_place(|| server.join_token(token_arguments));
    let key = Key::p256();
    let body = json!({"token": token, "csr": key.csr().pem, "host": {"agent_version": version}});
    let answer = server.http().post(ENROLL, &body).await.expect(201);
    Identity { key, answer }
}

/// The names in an SVID, as openssl prints them.
fn names(room: &Path, identity: &Identity) -> String {
    fs::write(room.join("leaf.pem"), identity.field("certificate")).unwrap();
    openssl(room, &["x509", "-noout", "-ext", "subjectAltName", "-in", "leaf.pem"]).ok().stdout
}

/// Whether a TLS client that checks names (RFC 6125) takes a server with this SVID for one called so.
async fn is_taken_for(identity: &Identity, name: &str) -> bool {
    let chain = identity.chain_der().into_iter().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::try_from(identity.key.pair().serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let mut roots = RootCertStore::empty();
    for root in keys::certificates(&identity.field("trust_bundle")) {
        roots.add(CertificateDer::from(root)).unwrap();
    }
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let accepting = TlsAcceptor::from(Arc::new(server)).accept(far);
    let (connected, _) = tokio::join!(TlsConnector::from(Arc::new(client)).connect(name, near), accepting);
    connected.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn ordinary_tls_clients_take_a_server_with_such_an_svid() {
    let server = Server::quickstart_with(&[
        ("MUSTER_SVID_DNS_SUFFIX", "agents.example"),
        ("MUSTER_SVID_SERVER_AUTH", "true"),
    ]);
    let room = server.room();
    let named = enrolled(&server, &["--agent", "web-1"], "0.2.0").await;
    assert!(names(room, &named).contains(&format!("/agent/web-1, DNS:{NAME}\n")), "{}", names(room, &named));
    assert!(is_taken_for(&named, NAME).await);
    assert!(!is_taken_for(&named, "web-2.agents.example").await);
    assert!(!is_taken_for(&named, "agents.example").await);
    fs::write(room.join("root.pem"), named.field("trust_bundle")).unwrap();
    fs::write(room.join("intermediate.pem"), named.field("intermediate")).unwrap();
    let verify =
        ["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", NAME, "-CAfile", "root.pem"];
    let verify = |leaf| openssl(room, &[&verify[..], &["-untrusted", "intermediate.pem", leaf]].concat());
    verify("leaf.pem").ok();
    // Muster's own doors read it as before.
    named.peer(&server).reports().await.unwrap();
    // Its report said that it is of 0.1.0, as a machine does whose program was put back.
    assert!(!names(room, &named.rotate(&server.http()).await).contains("DNS:"));

    // An agent that is older would refuse it, and so it gets none: at its first enrollment, and where it has become older.
    for (agent, version) in
        [("web-2", "0.1.0"), ("web-3", ""), ("web-4", "nonsense"), ("Web-5", "0.2.0"), ("a.b", "0.2.0")]
    {
        let plain = enrolled(&server, &["--agent", agent], version).await;
        assert!(!names(room, &plain).contains("DNS:"), "{agent} {version}");
        assert!(!is_taken_for(&plain, &format!("{}.agents.example", agent.to_lowercase())).await);
        assert_eq!(verify("leaf.pem").code, Some(2));
    }
    let elsewhere = tokio::task::block_in_place(|| server.tenant("shop"));
    let other = enrolled(&server, &["--tenant", &elsewhere, "--agent", "web-1"], "0.2.0").await;
    assert!(!names(room, &other).contains("DNS:"), "the suffix is the default tenant's");

    let overview = Client::admin(&server).await.get("/v1/overview").await.json();
    let warnings = overview["warnings"].as_array().unwrap();
    let warning = warnings.iter().find(|warning| warning["code"] == "agents_without_dns_name");
    assert_eq!(warning.unwrap()["count"], 4, "{overview}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_has_its_own_suffix_and_a_real_agent_takes_the_name() {
    let suffixes = [("MUSTER_SVID_DNS_SUFFIX", "default=one.example,shop=two.example,nowhere=three.example")];
    let server = Server::quickstart_with(&suffixes);
    server.wait_for_log("svid_dns_suffix names a tenant", PATIENCE);
    assert!(!server.log().contains("svid_server_auth"), "{}", server.log());
    let shop = tokio::task::block_in_place(|| server.tenant("shop"));
    let room = server.room();
    let one = enrolled(&server, &["--agent", "web-1"], "muster 0.2.0-dev").await;
    let two = enrolled(&server, &["--tenant", &shop, "--agent", "web-1"], "0.10.0").await;
    assert!(names(room, &one).contains("DNS:web-1.one.example\n"));
    assert!(names(room, &two).contains("DNS:web-1.two.example\n"));

    let machine = Machine::new();
    tokio::task::block_in_place(|| {
        machine.enroll_at(&server, &server.join_token_for("db-1"));
        let _agent = machine.run(&machine.configure(&server, None), &[]);
        let shown =
            openssl(&machine.dir(), &["x509", "-noout", "-ext", "subjectAltName", "-in", "cert.pem"]).ok();
        assert!(shown.stdout.contains("DNS:db-1.one.example\n"), "{shown}");
        let host = text(&serde_json::from_str(&machine.read("agent.json")).unwrap(), "host_id");
        crate::support::wait::until("the agent reports", || {
            (server.host(&host)["state"] == "in_service").then_some(())
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_at_start_which_settings_do_not_do_what_they_seem_to() {
    let server = Server::quickstart_with(&[
        ("MUSTER_SVID_SERVER_AUTH", "true"),
        ("MUSTER_CRL_URL", "https://pki.example.org"),
    ]);
    server.wait_for_log("svid_server_auth is set without svid_dns_suffix", PATIENCE);
    server.wait_for_log("crl_url is an https address", PATIENCE);
}
