//! The revocation lists at programs that nobody here wrote, with two intermediates in force: whoever is not revoked is
//! accepted and whoever is revoked is refused, before, during and after a renewal.

use std::fs;

use crate::support::cli::Output;
use crate::support::judges::{Agent, fetch, fetch_with, issuer, judged};
use crate::support::keys;
use crate::support::server::Server;
use data_encoding::HEXLOWER;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

fn renew(server: &Server, arguments: &[&str], root_key: &str) -> Output {
    server.cli(&[&["agent-ca", "renew", "--json"], arguments].concat()).stdin(root_key).run()
}

/// Of the key that signed a list, in lower-case hexadecimal.
fn key_identifier(list: &[u8]) -> String {
    let parsed = CertificateRevocationList::from_der(list).unwrap().1;
    let identifier = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(named) => named.key_identifier.as_ref(),
        _ => None,
    });
    HEXLOWER.encode(identifier.unwrap().0)
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
    // Each list by its issuer's name, and the issuing one's by the name that there always was.
    let http = server.http();
    let by_name = async |lists: &[Vec<u8>]| {
        let mut named = vec![http.get("/agent-ca.crl").await.body];
        for list in lists {
            named.push(http.get(&format!("/agent-ca/crl/{}.crl", key_identifier(list))).await.body);
        }
        named
    };
    let (now, mut named) = fetch_with(&server, by_name).await;
    assert_eq!(issuer(&now[0]), issuer(&lists[1]), "the issuing one's comes first");
    assert_eq!(named.remove(0), now[0]);
    assert_eq!(named, now);
    for list in &now {
        assert_eq!(http.get(&format!("/agent-ca/crl/{}", key_identifier(list))).await.status, 404);
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
