//! Whose word about a client's address is believed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use parking_lot::Mutex;

use crate::domain::network::networks::{Networks, UNKNOWN};

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Headers by which proxies say that a request is not their own.
const FORWARDING: [&str; 4] = [FORWARDED_FOR, "forwarded", "x-real-ip", "via"];

/// The client's address: the peer's, unless the peer is a trusted proxy. Then it is the rightmost
/// untrusted hop of `X-Forwarded-For`; what stands left of it, anyone could have written. Where that hop can't be read,
/// nobody knows who the client is, and it is [`UNKNOWN`]: counted with the others of whom nothing is known, and never
/// with the proxy, through which everybody else comes.
pub(crate) fn client_address(trusted: &Networks, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    if !trusted.contain(peer) {
        return client;
    }
    for value in headers.get_all(FORWARDED_FOR).iter().rev() {
        let Ok(value) = value.to_str() else { return UNKNOWN };
        for hop in value.rsplit(',') {
            let Some(address) = address(hop.trim()) else { return UNKNOWN };
            client = address;
            if !trusted.contain(address) {
                return client;
            }
        }
    }
    client
}

/// A hop as proxies write it: an address, perhaps with a port or, if it is an IPv6 one, in brackets.
fn address(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address: IpAddr = hop.parse().ok().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

/// Whether a request comes from a program on this machine that asks for itself.
///
/// A reverse proxy on this machine connects from loopback too, for clients from anywhere. So whoever is trusted as a
/// proxy never counts, nor does a request that says that it was passed on.
pub(crate) fn is_of_this_machine(trusted: &Networks, peer: IpAddr, headers: &HeaderMap) -> bool {
    let passed_on = FORWARDING.iter().any(|name| headers.contains_key(*name));
    peer.to_canonical().is_loopback() && !trusted.contain(peer) && !passed_on
}

/// How often a proxy that is not trusted is named in the log.
const NAMED_EVERY: Duration = Duration::from_hours(1);
/// How many of them are named in that time: anybody may pretend to be one.
const NAMED_MAX: usize = 16;

/// Peers that forward for others and are not trusted. An operator who has forgotten to list a proxy can find it out
/// from the log, before all of its clients share one allowance for failures.
#[derive(Debug, Default)]
pub(crate) struct Unlisted(Mutex<Option<(Instant, HashSet<IpAddr>)>>);

impl Unlisted {
    /// Names the peer in the log if it forwards without being trusted, once in a while.
    pub(crate) fn look_at(&self, trusted: &Networks, peer: IpAddr, headers: &HeaderMap) {
        if headers.contains_key("x-forwarded-for") && !trusted.contain(peer) && self.is_news(peer) {
            tracing::warn!(
                peer = %peer.to_canonical(),
                "a request carries X-Forwarded-For, and MUSTER_TRUSTED_PROXIES does not name its peer: if that is a \
                 proxy, all of its clients count as this one address"
            );
        }
    }

    fn is_news(&self, peer: IpAddr) -> bool {
        let mut named = self.0.lock();
        let (since, peers) = named.get_or_insert_with(|| (Instant::now(), HashSet::new()));
        if since.elapsed() >= NAMED_EVERY {
            (*since, *peers) = (Instant::now(), HashSet::new());
        }
        peers.len() < NAMED_MAX && peers.insert(peer.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_proxy_that_is_not_listed_is_news_once() {
        let unlisted = Unlisted::default();
        let news = |number: u8| unlisted.is_news(IpAddr::from([192, 0, 2, number]));
        assert!(news(1) && !news(1) && news(2));
        assert_eq!((3..=255).filter(|number| news(*number)).count(), NAMED_MAX - 2);
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Networks = "10.0.0.0/8, ::1".parse().unwrap();
        let cases = [
            ("192.0.2.1", "198.51.100.9", "192.0.2.1"),
            ("10.1.2.3", "198.51.100.9", "198.51.100.9"),
            ("10.1.2.3", "203.0.113.1, 198.51.100.9, 10.9.9.9", "198.51.100.9"),
            ("10.1.2.3", "10.9.9.9", "10.9.9.9"),
            ("::1", "2001:db8::7", "2001:db8::7"),
            ("::ffff:10.1.2.3", "198.51.100.9", "198.51.100.9"),
            ("10.1.2.3", "::ffff:198.51.100.9", "198.51.100.9"),
            ("10.1.2.3", "198.51.100.9:4711", "198.51.100.9"),
            ("10.1.2.3", "[2001:db8::7]:4711", "2001:db8::7"),
            ("10.1.2.3", "[2001:db8::7]", "2001:db8::7"),
        ];
        for (peer, value, expected) in cases {
            let client = client_address(&trusted, peer.parse().unwrap(), &forwarded(value));
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} forwards {value:?}");
        }
        let peer = "10.1.2.3".parse().unwrap();
        assert_eq!(client_address(&trusted, peer, &HeaderMap::new()), peer, "the proxy asks for itself");
        assert_eq!(client_address(&Networks::default(), peer, &forwarded("198.51.100.9")), peer);
    }

    #[test]
    fn a_hop_that_cannot_be_read_is_unknown_and_not_the_proxy() {
        let trusted: Networks = "10.0.0.0/8".parse().unwrap();
        let proxy = "10.1.2.3".parse().unwrap();
        for value in
            ["garbage", "198.51.100.9, garbage", "garbage, 10.9.9.9", "", "unknown", "_hidden", "1.2.3"]
        {
            assert_eq!(client_address(&trusted, proxy, &forwarded(value)), UNKNOWN, "{value:?}");
        }
        let mut headers = forwarded("203.0.113.1");
        headers.append(FORWARDED_FOR, axum::http::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(client_address(&trusted, proxy, &headers), UNKNOWN, "the last line is the nearest hop");
        let readable = forwarded("garbage, 198.51.100.9");
        assert_eq!(client_address(&trusted, proxy, &readable).to_string(), "198.51.100.9");
    }

    #[test]
    fn who_passes_requests_on_is_not_this_machine() {
        let nobody = Networks::default();
        let is_local =
            |peer: &str, headers: &HeaderMap| is_of_this_machine(&nobody, peer.parse().unwrap(), headers);
        let plain = HeaderMap::new();
        assert!(
            is_local("127.0.0.1", &plain) && is_local("::1", &plain) && is_local("::ffff:127.0.0.1", &plain)
        );
        assert!(!is_local("192.0.2.1", &plain));
        for name in FORWARDING {
            let mut headers = HeaderMap::new();
            headers.insert(name, "127.0.0.1".parse().unwrap());
            assert!(!is_local("127.0.0.1", &headers), "{name}");
        }
        let trusted: Networks = "127.0.0.0/8".parse().unwrap();
        assert!(!is_of_this_machine(&trusted, "127.0.0.1".parse().unwrap(), &plain));
    }
}
