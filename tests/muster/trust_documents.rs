//! What relying parties fetch: made when it changes, the same for everybody who asks, and not sent again to whoever
//! has it.

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::support::http::{Answer, Http};
use crate::support::identity::Identity;
use crate::support::server::Server;
use crate::support::wait::until_answered;

const DOCUMENTS: [&str; 3] = ["/agent-ca.crl", "/agent-ca.crt", "/.well-known/spiffe-bundle"];

async fn ask(http: &Http, path: &str, known: &str) -> Answer {
    let headers = [("if-none-match".to_owned(), known.to_owned())];
    http.exchange("GET", path, &headers, Vec::new()).await.unwrap()
}

fn entries(list: &[u8]) -> usize {
    CertificateRevocationList::from_der(list).unwrap().1.iter_revoked_certificates().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_made_once_and_not_sent_to_whoever_has_it() {
    let server = Server::quickstart();
    let http = server.http();
    for path in DOCUMENTS {
        let first = http.get(path).await;
        assert_eq!(first.status, 200, "{first}");
        let tag = first.header("etag").unwrap_or_else(|| panic!("{first}")).to_owned();
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{first}");
        // A signature is another one each time, so this one was not made again.
        assert_eq!(http.get(path).await.body, first.body, "{path}");

        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let answer = ask(&http, path, &known).await;
            assert_eq!((answer.status, answer.body.len()), (304, 0), "{known}: {answer}");
            assert_eq!(answer.header("etag"), Some(tag.as_str()), "{answer}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"), "{answer}");
        }
        assert_eq!(ask(&http, path, "\"other\"").await.status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_on_the_list_soon() {
    let server = Server::quickstart();
    let http = server.http();
    let mut tag = String::new();
    for number in 1..=3 {
        let agent = format!("web-{number}");
        Identity::enroll(&server, &agent).await;
        tokio::task::block_in_place(|| server.revoke(&agent));
        // The list is another one as soon as the revocation is on it.
        let list = until_answered("the revocation is on the list", async || {
            let answer = http.get("/agent-ca.crl").await;
            (entries(&answer.body) == number).then_some(answer)
        });
        let list = list.await;
        let newest = list.header("etag").unwrap().to_owned();
        assert_ne!(newest, tag);
        tag = newest;
    }
}
