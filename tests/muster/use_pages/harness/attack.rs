//! What clients write into headers themselves: somebody else's certificate, and names that only the proxy may say.

use data_encoding::BASE64;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::backend::Backend;
use super::cast::{Cast, Visitor};
use super::door::Door;
use super::entrance::Outcome;
use super::http2;
use crate::support::keys::{certificates, pem};

/// The headers in which proxies pass on a client's certificate.
const CERTIFICATE: [&str; 4] =
    ["X-Client-Cert", "X-SSL-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-Forwarded-Client-Cert"];

/// The headers in which a proxy says who it is.
const WORDS: [&str; 4] = ["X-Muster-Spiffe-Id", "X-Muster-Agent", "X-Muster-Tenant", "X-Muster-Serial"];

/// Headers of a request, as they are written.
type Headers<'a> = Vec<(&'a str, &'a str)>;

/// A certificate in every form that is read from a header.
fn forms(who: &Visitor) -> [String; 3] {
    let leaf = &certificates(&who.chain_pem)[0];
    let encoded = utf8_percent_encode(&pem("CERTIFICATE", leaf), NON_ALPHANUMERIC).to_string();
    let forwarded = format!("Hash=00;Cert=\"{encoded}\"");
    [encoded, BASE64.encode(leaf), forwarded]
}

/// A header's name as others may take it for the same: in other case, as CGI and WSGI write it, and with a space
/// before the colon.
fn spellings(name: &str) -> [String; 5] {
    let mixed = name.replacen('-', "_", 1);
    [name.to_lowercase(), name.to_uppercase(), name.replace('-', "_"), mixed, format!("{name} ")]
}

/// What a name is to an application that takes all of these spellings for one.
fn plain(name: &str) -> String {
    name.trim().to_lowercase().replace('_', "-")
}

/// The values of a header in a request's head, however its name is spelled.
fn said_as<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| plain(key) == plain(name)).map(|(_, value)| value.trim()).collect()
}

/// A good agent's certificate in this header: alone, doubled, beside the three others and the visitor's own, in one
/// value with it, and named as what a connection alone is told (RFC 9110 7.6.1).
fn with<'a>(
    name: &'a str,
    good: &'a str,
    own: &'a str,
    joined: &'a [String],
    all: &'a str,
) -> Vec<Headers<'a>> {
    let mut beside: Headers<'_> = CERTIFICATE.map(|other| (other, good)).into();
    beside.push((name, own));
    let mut requests = vec![
        vec![(name, good)],
        vec![(name, good), (name, good)],
        beside,
        vec![(name, own), (name, good)],
        vec![(name, good), (name, own)],
        vec![("Connection", name), (name, good)],
        vec![(name, good), ("Connection", all)],
    ];
    requests.extend(joined.iter().map(|value| vec![(name, &**value)]));
    requests
}

/// Nobody comes in by any of the four headers, or by words that only the proxy may say.
pub async fn nobody_comes_in_by_a_header(cast: &Cast, door: &Door, backend: &Backend) {
    let all = CERTIFICATE.join(", ");
    backend.heard();
    for who in [&cast.nobody, &cast.namesake, &cast.revoked] {
        let mut visit = door.visit(who);
        let own = if who.shows.is_some() { forms(who) } else { Default::default() };
        let good = forms(&cast.good);
        // Where the handshake fails no header is read, and one form is enough.
        let read = matches!(visit.ask(&[]).await, Outcome::Refused(_));
        let forms = if read { good.len() } else { 1 };
        for name in CERTIFICATE {
            for (number, (good, own)) in good.iter().zip(&own).take(forms).enumerate() {
                let joined = [format!("{own}, {good}"), format!("{good},{own}"), format!("{good};{own}")];
                let mut requests = with(name, good, own, &joined, &all);
                let spelled = spellings(name);
                requests.extend(spelled.iter().map(|spelled| vec![(&**spelled, &**good)]));
                for headers in &requests {
                    visit.is_refused(headers).await;
                }
                for headers in requests.iter().take(if number == 0 { usize::MAX } else { 0 }) {
                    http2::knock(door, who, headers).await;
                }
            }
            let standard = format!(":{}:", good[1]);
            visit.is_refused(&[("Client-Cert", &standard), (name, &good[1])]).await;
        }
        let words = WORDS.map(|name| (name, "web-1"));
        visit.is_refused(&words).await;
        let named = WORDS.join(", ");
        visit.is_refused(&[&[("Connection", &*named)], &words[..]].concat()).await;
        for spelled in WORDS.iter().flat_map(|name| spellings(name)) {
            visit.is_refused(&[(&spelled, "web-1")]).await;
        }
        // Whatever the answers were, the application was not asked.
        assert_eq!(backend.heard(), [""; 0], "{}", who.name);
    }
}

/// What a good agent says of itself does not reach the application, nobody's certificate does, and what the proxy says
/// is not lost. Whether the program speaks HTTP/2, where the same is so.
pub async fn the_application_hears_the_proxy_alone(cast: &Cast, door: &Door, backend: &Backend) -> bool {
    backend.heard();
    let certificate = forms(&cast.namesake)[0].clone();
    let certificate = certificate.as_str();
    let connection = [&WORDS[..], &CERTIFICATE].concat().join(", ");
    let lies = WORDS.map(|name| (name, "root"));
    let spelled: Vec<_> = WORDS.iter().flat_map(|name| spellings(name)).collect();
    let others: Vec<_> = CERTIFICATE.iter().flat_map(|name| spellings(name)).collect();
    let mut requests: Vec<Headers<'_>> = vec![
        lies.into(),
        CERTIFICATE.map(|name| (name, certificate)).into(),
        vec![("Connection", &*connection)],
        [&[("Connection", &*connection)], &lies[..]].concat(),
        [&lies[..], &[("Connection", "keep-alive, x-muster-agent"), ("Connection", &*connection)]].concat(),
    ];
    requests.extend(spelled.iter().map(|name| vec![(&**name, "root")]));
    requests.extend(others.iter().map(|name| vec![(&**name, certificate)]));
    let mut visit = door.visit(&cast.good);
    for headers in &requests {
        let outcome = visit.ask(headers).await;
        // A proxy may also refuse such a request.
        let heard = backend.heard();
        assert_eq!(heard.len(), usize::from(outcome.is_let_in()), "{headers:?}: {outcome:?}");
        heard.iter().for_each(|head| assert_is_the_proxys(head, headers));
    }
    assert!(visit.ask(&lies).await.is_let_in(), "a good agent stays one");
    let speaks_http2 = http2::knock(door, &cast.good, &[]).await;
    assert_eq!(backend.heard().len(), 1 + usize::from(speaks_http2));
    for headers in &requests {
        let answered = http2::knock(door, &cast.good, headers).await;
        assert!(speaks_http2 || !answered, "{headers:?}");
        backend.heard().iter().for_each(|head| assert_is_the_proxys(head, headers));
    }
    speaks_http2
}

#[track_caller]
fn assert_is_the_proxys(head: &str, headers: &[(&str, &str)]) {
    assert!(!head.contains("root"), "{headers:?}: {head}");
    let told = WORDS.map(|name| said_as(head, name));
    assert!(told.iter().all(|values| values.len() < 2), "{headers:?}: {head}");
    assert!(told[..2].iter().flatten().any(|word| word.ends_with("web-1")), "{headers:?}: {head}");
    for name in CERTIFICATE {
        assert!(said_as(head, name).join("").is_empty(), "{headers:?}: {head}");
    }
}
