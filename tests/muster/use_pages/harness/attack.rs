//! What clients write into headers themselves: somebody else's certificate, and names that only the proxy may say.

use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::backend::{Backend, header};
use super::cast::{Cast, Visitor};
use super::door::Door;
use crate::support::keys::{certificates, pem};

/// The headers in which proxies pass on a client's certificate.
const CERTIFICATE: [&str; 4] =
    ["X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Client-Cert"];

/// The headers in which a proxy says who it is.
const WORDS: [&str; 4] = ["X-Muster-Spiffe-Id", "X-Muster-Agent", "X-Muster-Tenant", "X-Muster-Serial"];

/// A certificate in every form that is read from a header.
fn forms(who: &Visitor) -> [String; 3] {
    let leaf = &certificates(&who.chain_pem)[0];
    let encoded = utf8_percent_encode(&pem("CERTIFICATE", leaf), NON_ALPHANUMERIC).to_string();
    let forwarded = format!("Hash=00;Cert=\"{encoded}\"");
    [encoded, BASE64.encode(leaf), forwarded]
}

/// Each of the four headers with a good agent's certificate: alone, doubled, and beside the three others and the
/// visitor's own. Nobody comes in by it.
pub async fn nobody_comes_in_by_a_header(cast: &Cast, door: &Door) {
    for who in [&cast.nobody, &cast.namesake, &cast.revoked] {
        let own = if who.shows.is_some() { forms(who) } else { Default::default() };
        for name in CERTIFICATE {
            for (good, own) in forms(&cast.good).iter().zip(&own) {
                let mut beside: Vec<_> = CERTIFICATE.map(|other| (other, good.as_str())).into();
                beside.push((name, own));
                let doubled = [(name, good.as_str()), (name, good.as_str())];
                for headers in [&doubled[..1], &doubled, &beside, &[(name, own.as_str()), (name, good)]] {
                    let outcome = door.knock_with(who, headers).await;
                    assert!(!outcome.is_let_in(), "{} came in with {name}: {headers:?}", who.name);
                }
            }
        }
        let words = WORDS.map(|name| (name, "web-1"));
        assert!(!door.knock_with(who, &words).await.is_let_in(), "{} came in with {words:?}", who.name);
    }
}

/// What a good agent says of itself does not reach the application, and nobody's certificate does.
pub async fn the_application_hears_the_proxy_alone(cast: &Cast, door: &Door, backend: &Backend) {
    backend.heard();
    let certificate = forms(&cast.namesake)[0].clone();
    let lies = WORDS.map(|name| (name, "root"));
    let with_underscores = [("X_Muster_Agent", "root"), ("x-muster_agent", "root")];
    let certificates = CERTIFICATE.map(|name| (name, certificate.as_str()));
    for headers in [&lies[..], &with_underscores, &certificates] {
        let outcome = door.knock_with(&cast.good, headers).await;
        // A proxy may also refuse such a request.
        let heard = backend.heard();
        assert_eq!(heard.len(), usize::from(outcome.is_let_in()), "{outcome:?}");
        for head in heard {
            assert!(!head.contains("root"), "{head}");
            let told = WORDS.map(|name| header(&head, name));
            assert!(told.iter().all(|values| values.len() < 2), "{head}");
            assert!(told[..2].iter().flatten().any(|word| word.ends_with("web-1")), "{head}");
            for name in CERTIFICATE {
                assert!(header(&head, name).join("").is_empty(), "{head}");
            }
        }
    }
    assert!(door.knock_with(&cast.good, &lies).await.is_let_in(), "a good agent stays one");
}
