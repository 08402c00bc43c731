//! The revocation lists at programs that nobody here wrote, with two intermediates in force: whoever is not revoked is
//! accepted and whoever is revoked is refused, before, during and after a renewal.

use std::fs;
use std::path::Path;

use crate::support::cli::{Output, openssl, program};
use crate::support::identity::Identity;
use crate::support::keys;
use crate::support::server::Server;
use crate::support::wait::until_answered;
use x509_parser::pem::Pem;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// An agent's certificate with its intermediate, in files of its own.
struct Agent {
    name: String,
    identity: Identity,
}

impl Agent {
    async fn enroll(server: &Server, name: &str) -> Self {
        let identity = Identity::enroll(server, name).await;
        let room = server.room();
        fs::write(room.join(format!("{name}.pem")), identity.field("certificate")).unwrap();
        fs::write(room.join(format!("{name}.intermediate.pem")), identity.field("intermediate")).unwrap();
        fs::write(room.join(format!("{name}.chain.pem")), identity.chain()).unwrap();
        Self { name: name.to_owned(), identity }
    }

    fn by_openssl(&self, room: &Path) -> Output {
        let lists =
            ["verify", "-crl_check_all", "-x509_strict", "-CAfile", "root.pem", "-CRLfile", "crl.pem"];
        let (leaf, intermediate) = (format!("{}.pem", self.name), format!("{}.intermediate.pem", self.name));
        openssl(room, &[&lists[..], &["-untrusted", &intermediate, &leaf]].concat())
    }

    fn by_gnutls(&self, room: &Path) -> Output {
        let chain = format!("{}.chain.pem", self.name);
        program(
            "certtool",
            room,
            &["--verify", "--load-ca-certificate", "root.pem", "--load-crl", "crl.pem", "--infile", &chain],
        )
    }

    /// NSS takes lists into a database, each for itself.
    fn by_nss(&self, room: &Path) -> Output {
        let database = room.join(format!("nss-{}", self.name));
        let _ = fs::remove_dir_all(&database);
        fs::create_dir(&database).unwrap();
        let name = format!("sql:{}", database.display());
        program("certutil", room, &["-N", "-d", &name, "--empty-password"]).ok();
        program("certutil", room, &["-A", "-d", &name, "-n", "root", "-t", "CT,C,C", "-a", "-i", "root.pem"])
            .ok();
        // NSS takes no list of an issuer that it does not know.
        for (number, issuer) in
            pem_blocks(&fs::read(room.join("bundle.pem")).unwrap()).iter().enumerate().skip(1)
        {
            let file = format!("{}.{number}.der", self.name);
            fs::write(room.join(&file), issuer).unwrap();
            program("certutil", room, &["-A", "-d", &name, "-n", &file, "-t", ",,", "-i", &file]).ok();
        }
        for (number, list) in pem_blocks(&fs::read(room.join("crl.pem")).unwrap()).iter().enumerate() {
            let file = format!("{}.{number}.crl", self.name);
            fs::write(room.join(&file), list).unwrap();
            program("crlutil", room, &["-I", "-d", &name, "-i", &file]).ok();
        }
        let leaf = format!("{}.pem", self.name);
        program("vfychain", room, &["-d", &name, "-u", "0", "-a", &leaf])
    }
}

fn pem_blocks(text: &[u8]) -> Vec<Vec<u8>> {
    Pem::iter_from_buffer(text).map(|block| block.unwrap().contents).collect()
}

/// What relying parties fetch.
async fn fetch(server: &Server) -> Vec<Vec<u8>> {
    let http = server.http();
    fs::write(server.room().join("bundle.pem"), http.get("/agent-ca.crt").await.body).unwrap();
    let (root, lists) = (http.get("/agent-ca-root.crt").await, http.get("/agent-ca.crl.pem").await);
    assert_eq!((root.status, lists.status), (200, 200), "{root} {lists}");
    fs::write(server.room().join("root.pem"), &root.body).unwrap();
    fs::write(server.room().join("crl.pem"), &lists.body).unwrap();
    pem_blocks(&lists.body)
}

fn entries(list: &[u8]) -> usize {
    CertificateRevocationList::from_der(list).unwrap().1.iter_revoked_certificates().count()
}

fn issuer(list: &[u8]) -> String {
    CertificateRevocationList::from_der(list).unwrap().1.issuer().to_string()
}

/// Every judge lets in exactly whom it should.
async fn judged(server: &Server, good: &[&Agent], revoked: &[&Agent]) {
    let until_listed = until_answered("every revocation is on every list", async || {
        let lists = fetch(server).await;
        let (_root, intermediates) = lists.split_last().unwrap();
        intermediates.iter().all(|list| entries(list) == revoked.len()).then_some(())
    });
    until_listed.await;
    let room = server.room();
    for (agents, let_in) in [(good, true), (revoked, false)] {
        for agent in agents {
            for judged in [agent.by_openssl(room), agent.by_gnutls(room), agent.by_nss(room)] {
                assert_eq!(judged.code == Some(0), let_in, "{}: {judged}", agent.name);
            }
        }
    }
}

fn renew(server: &Server, arguments: &[&str], root_key: &str) -> Output {
    server.cli(&[&["agent-ca", "renew", "--json"], arguments].concat()).stdin(root_key).run()
}

#[tokio::test(flavor = "multi_thread")]
async fn verifiers_let_in_exactly_the_unrevoked_through_a_renewal() {
    let server = Server::quickstart();
    let root_key = fs::read_to_string(server.file("root-key.pem")).unwrap();
    let (old, old_revoked) =
        (Agent::enroll(&server, "old").await, Agent::enroll(&server, "old-revoked").await);
    tokio::task::block_in_place(|| server.revoke("old-revoked"));
    judged(&server, &[&old], &[&old_revoked]).await;

    let renewed = tokio::task::block_in_place(|| renew(&server, &[], &root_key).json());
    let waiting = Agent::enroll(&server, "waiting").await;
    assert_eq!(waiting.identity.chain_der()[1], old.identity.chain_der()[1], "the new one waits");
    let lists = fetch(&server).await;
    assert_eq!(lists.len(), 3, "two intermediates and the root");
    assert!(issuer(&lists[2]).contains("root"), "{}", issuer(&lists[2]));
    judged(&server, &[&old, &waiting], &[&old_revoked]).await;

    let taken = tokio::task::block_in_place(|| renew(&server, &["--now"], "").json());
    assert_eq!(taken["sha256"], renewed["sha256"], "the one that waited");
    let new = Agent::enroll(&server, "new").await;
    let new_revoked = Agent::enroll(&server, "new-revoked").await;
    assert_ne!(new.identity.chain_der()[1], old.identity.chain_der()[1]);
    tokio::task::block_in_place(|| server.revoke("new-revoked"));
    judged(&server, &[&old, &waiting, &new], &[&old_revoked, &new_revoked]).await;
    let now = fetch(&server).await;
    assert_eq!(issuer(&now[0]), issuer(&lists[1]), "the issuing one's comes first");

    // Each list by its issuer's name, and the issuing one's by the name that there always was.
    let http = server.http();
    assert_eq!(http.get("/agent-ca.crl").await.body, now[0]);
    for list in &now {
        let parsed = CertificateRevocationList::from_der(list).unwrap().1;
        let key_identifier =
            parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(named) => {
                    named.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => None,
            });
        let hex: String = key_identifier.unwrap().iter().map(|octet| format!("{octet:02x}")).collect();
        let answer = http.get(&format!("/agent-ca/crl/{hex}.crl")).await;
        assert_eq!((answer.status, &answer.body), (200, list), "{hex}");
        assert_eq!(http.get(&format!("/agent-ca/crl/{hex}")).await.status, 404);
    }
    assert_eq!(http.get("/agent-ca/crl/00.crl").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_intermediate_is_not_doubled() {
    let server = Server::quickstart();
    let root_key = fs::read_to_string(server.file("root-key.pem")).unwrap();
    let first = renew(&server, &[], &root_key).json();
    let from: jiff::Timestamp = first["issuing_from"].as_str().unwrap().parse().unwrap();
    let hours = from.duration_since(jiff::Timestamp::now()).as_secs_f64() / 3600.0;
    assert!((23.9..=24.0).contains(&hours), "{hours} hours");
    let refused = renew(&server, &[], &root_key).failed();
    assert!(refused.stderr.contains("is waiting") && refused.stderr.contains("--now"), "{refused}");
    assert_eq!(keys::certificates(&server.cli(&["agent-ca", "export", "-"]).run().ok().stdout).len(), 3);
    assert_eq!(
        keys::certificates(&server.cli(&["agent-ca", "export", "--roots", "-"]).run().ok().stdout).len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_outlast_a_server_that_is_away() {
    for (ttl, hours) in [("24h", 48.0), ("7d", 14.0 * 24.0), ("10m", 48.0)] {
        let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", ttl)]);
        let lists = fetch(&server).await;
        let until = |list: &[u8]| {
            let parsed = CertificateRevocationList::from_der(list).unwrap().1;
            let next = parsed.next_update().unwrap().timestamp() - parsed.last_update().timestamp();
            #[expect(clippy::cast_precision_loss, reason = "hours of some days")]
            let hours = next as f64 / 3600.0;
            hours
        };
        assert!((until(&lists[0]) - hours).abs() < 0.1, "{ttl}: {} hours", until(&lists[0]));
        let year = 24.0 * 365.0;
        assert!((year + 29.0 * 24.0..year + 31.0 * 24.0).contains(&until(&lists[1])), "{}", until(&lists[1]));
    }
}
