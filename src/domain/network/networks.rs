//! Networks by address and prefix length (CIDR, RFC 4632), and how much of an address is one client.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::domain::text::serde_as_text;

/// How much of an IPv4-mapped address says that it is one.
const MAPPED_PREFIX: u8 = 96;

/// The address of a client whom a trusted proxy does not name readably. Nobody comes from it, no network holds it, and
/// what is counted per address counts for it as for any other.
pub const UNKNOWN: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A list of networks, such as those of reverse proxies that are believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a list of networks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// As it is read, with commas between.
impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

serde_as_text!(Networks);

impl FromStr for Networks {
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
        let prefix: u8 = prefix.map_or(Ok(longest), |p| p.parse().map_err(|_| wrong()))?;
        if prefix > longest { Err(wrong()) } else { Ok(Self { address, prefix }.canonical()) }
    }
}

impl Network {
    /// A network of IPv4-mapped addresses (RFC 4291 2.5.5.2) is the IPv4 network inside: addresses are compared in
    /// their canonical form, which would never be in the mapped one.
    fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(MAPPED_PREFIX)) {
            (address @ IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => Self { address, prefix },
            _ => self,
        }
    }

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

impl Networks {
    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Each as a text.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }

    /// Whether an address is in one of them; an IPv4 address in IPv6 counts as what it maps.
    pub fn contain(&self, address: IpAddr) -> bool {
        address != UNKNOWN && self.0.iter().any(|network| network.contains(address))
    }
}

/// What counts as one client where bounds are per address: an IPv4 address, or the /64 that one IPv6 site
/// usually has for itself and that a client can move about in.
pub fn accountable(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_an_ipv4_address_or_half_of_an_ipv6_address() {
        let counted_as = |client: &str| accountable(client.parse().unwrap()).to_string();
        assert_eq!(counted_as("192.0.2.7"), "192.0.2.7");
        assert_eq!(counted_as("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(counted_as("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn networks_parse_and_contain() {
        for good in ["", "10.0.0.1", "0.0.0.0/0", "::/0", "2001:db8::/32,10.0.0.0/8"] {
            assert!(good.parse::<Networks>().is_ok(), "{good}");
        }
        let both: Networks = "2001:db8::/32, 10.1.0.0/16".parse().unwrap();
        assert_eq!(both.to_string(), "2001:db8::/32,10.1.0.0/16");
        assert_eq!(both.to_string().parse(), Ok(both));
        for bad in ["10.0.0.0/33", "::/129", "example.org", "10.0.0.0/-1", "10.0.0/8"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad}");
        }
        let contains = |networks: &str, address: &str| {
            networks.parse::<Networks>().unwrap().contain(address.parse().unwrap())
        };
        assert!(contains("0.0.0.0/0", "192.0.2.1") && contains("::/0", "2001:db8::1"));
        assert!(contains("10.0.0.0/8", "::ffff:10.1.2.3"), "an IPv4 address in IPv6 clothes");
        assert!(!contains("10.0.0.0/8", "11.0.0.0") && !contains("", "10.0.0.1"));
        assert!(!contains("::/0", &UNKNOWN.to_string()), "who is unknown is nowhere");
    }

    #[test]
    fn a_mapped_network_is_the_ipv4_network_inside() {
        let same = |mapped: &str, plain: &str| {
            assert_eq!(mapped.parse::<Networks>(), plain.parse::<Networks>(), "{mapped}");
        };
        same("::ffff:127.0.0.0/104", "127.0.0.0/8");
        same("::ffff:10.1.2.3", "10.1.2.3");
        same("::ffff:0.0.0.0/96, 10.0.0.0/8", "0.0.0.0/0,10.0.0.0/8");
        let wider: Networks = "::/8".parse().unwrap();
        assert!(!wider.contain("10.0.0.1".parse().unwrap()), "an IPv6 network stays one");
        let mapped: Networks = "::ffff:127.0.0.0/104".parse().unwrap();
        assert!(mapped.contain("127.0.0.1".parse().unwrap()));
        assert!(mapped.contain("::ffff:127.9.9.9".parse().unwrap()));
        assert!(!mapped.contain("128.0.0.1".parse().unwrap()));
    }
}
