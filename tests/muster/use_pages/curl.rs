//! `docs/use/curl.md`.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::account::whole;
use super::harness::backend::{Backend, WELCOME};
use super::harness::cast::Cast;
use super::harness::machine::Machine;
use super::harness::page::{Block, Kind, Page};
use crate::support::keys::certificates;
use crate::support::wait::until;

/// An application that lets agents in by itself: any that the root vouches for.
async fn application(machine: &Machine, cast: &Cast) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let root = String::from_utf8(cast.server.http().get("/agent-ca-root.crt").await.body).unwrap();
    let mut roots = RootCertStore::empty();
    for der in certificates(&root) {
        roots.add(CertificateDer::from(der)).unwrap();
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let file = |end: &str| machine.stage.path(&format!("/etc/ssl/app.example.org.{end}"));
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(file("crt")).unwrap()],
            PrivateKeyDer::from_pem_file(file("key")).unwrap(),
        )
        .unwrap();
    let (tls, listener) = (
        TlsAcceptor::from(Arc::new(tls)),
        TcpListener::bind(("127.0.0.1", machine.door.port)).await.unwrap(),
    );
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = tls.accept(tcp).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{WELCOME}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
}

/// The commands that ask whether `client.pem` is a live agent's.
fn question(page: &Page, heading: &str) -> Block {
    page.part(heading).into_iter().rfind(|block| block.kind == Kind::Commands).unwrap()
}

/// Asks about everybody, and after a revocation again.
fn asks(page: &Page, machine: &Machine, cast: &Cast, heading: &str) {
    let stage = &machine.stage;
    let question = question(page, heading);
    let lines = stage.adapt(&question.text);
    let ask = |who: &super::harness::cast::Visitor| {
        stage.write("client.pem", &who.chain_pem);
        stage.shell(&lines)
    };
    let answer = ask(&cast.good);
    assert!(answer.status.success() && answer.stdout.contains("/agent/web-1\""), "{answer:?}");
    for who in cast.outsiders().into_iter().filter(|who| who.shows.is_some()) {
        let answer = ask(who);
        assert!(!answer.status.success() && answer.stderr.contains("403"), "{}: {answer:?}", who.name);
    }
    page.was_run(&question);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_as_its_page_uses_it() {
    whole("curl", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        let stage = &machine.stage;
        application(&machine, &cast).await;
        let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
        let port = machine.door.port;
        stage.say(
            "https://app.example.org/",
            format!(
                "--cacert {} --resolve app.example.org:{port}:127.0.0.1 https://app.example.org:{port}/",
                trusted.display()
            ),
        );
        stage.write("/etc/muster/server-ca.pem", &cast.server.server_ca());
        let called = tokio::task::block_in_place(|| stage.play_part(page, "Call as this agent"));
        assert_eq!(called, WELCOME);
        tokio::task::block_in_place(|| {
            let blocks = page.part("Ask the agent");
            stage.play(page, &blocks[0]);
            stage.write("client.pem", &cast.good.chain_pem);
            until("the agent knows enough", || {
                stage.shell(&stage.adapt(&blocks[1].text)).status.success().then_some(())
            });
            asks(page, &machine, &cast, "Ask the agent");
            let blocks = page.part("Ask the server");
            stage.play(page, &blocks[0]);
            asks(page, &machine, &cast, "Ask the server");
            stage.play_part(page, "Fetch the lists");
        });
        let listed = || {
            let lists = stage.path("/etc/muster/lists");
            let lines = format!(
                "openssl crl -noout -text -in {}/crl.pem | grep -c 'Serial Number:'",
                lists.display()
            );
            stage.shell(&lines).stdout.trim().to_owned()
        };
        assert_eq!(listed(), "1");
        let fetch = page.part("Fetch the lists").pop().unwrap();
        // What is cut off changes nothing, whether curl has noticed or not.
        for length in ["-40", "-300", "0"] {
            for noticed in [true, false] {
                let status = if noticed { 18 } else { 0 };
                let cut = format!("/usr/bin/curl \"$@\"; for file in *.new; do truncate -s {length} $file; done; exit {status}");
                stage.stand_in("curl", &cut);
                let fetched = tokio::task::block_in_place(|| stage.shell(&stage.adapt(&fetch.text)));
                assert!(!fetched.status.success() && listed() == "1", "{length} {noticed}: {fetched:?}");
            }
        }
        std::fs::remove_file(stage.root().join("bin/curl")).unwrap();
        tokio::task::block_in_place(|| {
            stage.play_part(page, "After a revocation");
            stage.write("client.pem", &cast.later.chain_pem);
            for way in ["Ask the agent", "Ask the server"] {
                let lines = stage.adapt(&question(page, way).text);
                until("a question about a revoked one is refused", || {
                    (!stage.shell(&lines).status.success()).then_some(())
                });
            }
            until("the list has it", || {
                stage.play(page, &fetch);
                (listed() == "2").then_some(())
            });
        });
    })
    .await;
}
