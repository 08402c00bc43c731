//! Whose word about a client's address is believed.

use std::net::IpAddr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
