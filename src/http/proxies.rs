//! Whose word about a client's address is believed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderMap;

use crate::domain::networks::Networks;

/// The client's address: the peer's, unless the peer is a trusted proxy. Then it is the rightmost
/// untrusted hop of `X-Forwarded-For`; what stands left of it, anyone could have written.
pub(super) fn client_address(trusted: &Networks, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !trusted.contain(peer) {
        return peer.to_canonical();
    }
    let values = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address;
        if !trusted.contain(address) {
            break;
        }
    }
    client.to_canonical()
}

/// How often a proxy that is not trusted is named in the log.
const NAMED_EVERY: Duration = Duration::from_hours(1);
/// How many of them are named in that time: anybody may pretend to be one.
const NAMED_MAX: usize = 16;

/// Peers that forward for others and are not trusted. An operator who has forgotten to list a proxy can find it out
/// from the log, before all of its clients share one allowance for failures.
#[derive(Debug, Default)]
pub(super) struct Unlisted(Mutex<Option<(Instant, HashSet<IpAddr>)>>);

impl Unlisted {
    /// Names the peer in the log if it forwards without being trusted, once in a while.
    pub(super) fn look_at(&self, trusted: &Networks, peer: IpAddr, headers: &HeaderMap) {
        if headers.contains_key("x-forwarded-for") && !trusted.contain(peer) && self.is_news(peer) {
            tracing::warn!(
                peer = %peer.to_canonical(),
                "a request carries X-Forwarded-For, and MUSTER_TRUSTED_PROXIES does not name its peer: if that is a \
                 proxy, all of its clients count as this one address"
            );
        }
    }

    fn is_news(&self, peer: IpAddr) -> bool {
        let mut named = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
            ("10.1.2.3", "garbage", "10.1.2.3"),
            ("10.1.2.3", "198.51.100.9, garbage", "10.1.2.3"),
            ("10.1.2.3", "", "10.1.2.3"),
            ("::1", "2001:db8::7", "2001:db8::7"),
            ("::ffff:10.1.2.3", "198.51.100.9", "198.51.100.9"),
        ];
        for (peer, forwarded, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let client = client_address(&trusted, peer.parse().unwrap(), &headers);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} forwards {forwarded:?}");
        }
        let nobody = Networks::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
        let client = client_address(&nobody, "10.1.2.3".parse().unwrap(), &headers);
        assert_eq!(client.to_string(), "10.1.2.3");
    }
}
