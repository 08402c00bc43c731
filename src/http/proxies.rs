//! Whose word about a client's address is believed.

use std::net::IpAddr;
use std::str::FromStr;

use axum::http::HeaderMap;

/// Networks of reverse proxies in front of this server. Empty: nobody is believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl FromStr for TrustedProxies {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let wrong = || NotANetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(longest), |p| p.parse().map_err(|_| wrong()))?;
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }) }
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                u32::from(network) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                u128::from(network) & mask == u128::from(address) & mask
            }
            _ => false,
        }
    }
}

impl TrustedProxies {
    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: the peer's, unless the peer is a trusted proxy. Then it is the rightmost
    /// untrusted hop of `X-Forwarded-For`; what stands left of it, anyone could have written.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.trust(peer) {
            return peer.to_canonical();
        }
        let hops = headers.get_all("x-forwarded-for").iter();
        let hops: Vec<&str> = hops.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address;
            if !self.trust(address) {
                break;
            }
        }
        client.to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies: TrustedProxies = "10.0.0.0/8, ::1".parse().unwrap();
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
            let client = proxies.client(peer.parse().unwrap(), &headers);
            assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} forwards {forwarded:?}");
        }
        let nobody = TrustedProxies::default();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
        assert_eq!(nobody.client("10.1.2.3".parse().unwrap(), &headers).to_string(), "10.1.2.3");
    }

    #[test]
    fn networks() {
        for good in ["", "10.0.0.1", "0.0.0.0/0", "::/0", "2001:db8::/32,10.0.0.0/8"] {
            assert!(good.parse::<TrustedProxies>().is_ok(), "{good}");
        }
        for bad in ["10.0.0.0/33", "::/129", "example.org", "10.0.0.0/-1", "10.0.0/8"] {
            assert!(bad.parse::<TrustedProxies>().is_err(), "{bad}");
        }
    }
}
