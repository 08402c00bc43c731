//! Where a listener is reached: a host and a port, as they stand in URLs, join links and settings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::domain::text::{debug_as_text, serde_as_text};

/// A DNS name or an IP address. IPv6 addresses are written in brackets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum HostName {
    /// As it was given.
    Dns(String),
    /// Without brackets.
    Ip(IpAddr),
}

/// A host and a port, `name:port`, `192.0.2.1:port` or `[2001:db8::1]:port`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Who.
    pub host: HostName,
    /// Never 0.
    pub port: u16,
}

/// Why a text is no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAHostPort {
    /// The host is neither name nor address.
    #[error("the host is not a DNS name or an IP address (an IPv6 address stands in brackets)")]
    Host,
    /// An address that one machine alone understands.
    #[error(
        "an address with a zone (%eth0) means something on one machine only; give a name, or an address without one"
    )]
    Zone,
    /// The port is no number from 1 to 65535.
    #[error("the port is missing or not a number from 1 to 65535")]
    Port,
}

impl HostName {
    /// An address that says "every interface" and names no machine.
    pub fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }

    /// A name or an address by which a machine reaches nobody but itself (RFC 6761 6.3).
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.to_canonical().is_loopback(),
            Self::Dns(name) => {
                let last = name.rsplit('.').next().unwrap_or(name);
                last.eq_ignore_ascii_case("localhost")
            }
        }
    }
}

impl FromStr for HostName {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        if text.contains('%') && text.contains(':') {
            return Err(NotAHostPort::Zone);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(NotAHostPort::Host)?;
            let ip = inner.parse::<Ipv6Addr>().map_err(|_| NotAHostPort::Host)?;
            return Ok(Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        // The dot of the root is no part of a name in TLS (RFC 6066 3) or in a certificate.
        let text = text.strip_suffix('.').unwrap_or(text);
        if is_dns_name(text) { Ok(Self::Dns(text.to_owned())) } else { Err(NotAHostPort::Host) }
    }
}

/// Letters, digits, hyphens and underscores between dots (RFC 1123 2.1, and what resolvers accept). A last
/// label of digits alone would be a misspelt address.
fn is_dns_name(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let label = |l: &str| (1..=63).contains(&l.len()) && !l.starts_with('-') && l.bytes().all(legal);
    let numeric = |l: &str| l.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 253 && text.split('.').all(label) && !text.rsplit('.').next().is_some_and(numeric)
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl FromStr for HostPort {
    type Err = NotAHostPort;

    fn from_str(text: &str) -> Result<Self, NotAHostPort> {
        let (host, port) = text.rsplit_once(':').ok_or(NotAHostPort::Port)?;
        let host = host.parse()?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NotAHostPort::Port);
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(NotAHostPort::Port),
            Ok(port) => Ok(Self { host, port }),
        }
    }
}

impl HostPort {
    /// Reads `HOST` or `HOST:PORT`, as URLs, origins and `Host` headers have it: the scheme's port is understood, and
    /// names are the same in any case (RFC 9110 4.2.3), so they are kept in lower case.
    pub fn with_default_port(text: &str, port: u16) -> Result<Self, NotAHostPort> {
        let text = text.to_ascii_lowercase();
        match text.parse() {
            Ok(host) => Ok(Self { host, port }),
            Err(no_host) => match text.rsplit_once(':') {
                Some((before, _)) if !before.contains(':') || before.ends_with(']') => text.parse(),
                _ => Err(no_host),
            },
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

debug_as_text!(HostName, HostPort);
serde_as_text!(HostPort);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_parse_as_they_print() {
        for good in
            ["a:1", "control.example:9443", "192.0.2.1:65535", "[2001:db8::1]:8443", "my_host-1.lan:80"]
        {
            assert_eq!(good.parse::<HostPort>().map(|hp| hp.to_string()), Ok(good.to_owned()));
        }
        let dotted = "control.example.:9443".parse::<HostPort>();
        assert_eq!(dotted.map(|hp| hp.to_string()), Ok("control.example:9443".to_owned()));
    }

    #[test]
    fn refusals() {
        let long = format!("{}:1", "a".repeat(64));
        for (bad, why) in [
            ("", NotAHostPort::Port),
            ("host", NotAHostPort::Port),
            ("host:", NotAHostPort::Port),
            ("host:0", NotAHostPort::Port),
            ("host:65536", NotAHostPort::Port),
            ("host:+80", NotAHostPort::Port),
            ("host:80 ", NotAHostPort::Port),
            (":80", NotAHostPort::Host),
            ("a b:80", NotAHostPort::Host),
            ("a;b:80", NotAHostPort::Host),
            ("a..b:80", NotAHostPort::Host),
            ("a..:80", NotAHostPort::Host),
            (".:80", NotAHostPort::Host),
            ("192.0.2.1.:80", NotAHostPort::Host),
            ("[fe80::1%eth0]:80", NotAHostPort::Zone),
            ("fe80::1%eth0:80", NotAHostPort::Zone),
            ("-a:80", NotAHostPort::Host),
            ("user@host:80", NotAHostPort::Host),
            ("2001:db8::1:80", NotAHostPort::Host),
            ("[192.0.2.1]:80", NotAHostPort::Host),
            ("[::1:80", NotAHostPort::Host),
            ("192.0.2.256:80", NotAHostPort::Host),
            (&long, NotAHostPort::Host),
        ] {
            assert_eq!(bad.parse::<HostPort>(), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn a_port_may_be_understood() {
        let read = |text: &str| HostPort::with_default_port(text, 443).map(|address| address.to_string());
        for (text, expected) in [
            ("Muster.Example", "muster.example:443"),
            ("muster.example:443", "muster.example:443"),
            ("192.0.2.1", "192.0.2.1:443"),
            ("[2001:DB8::1]", "[2001:db8::1]:443"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443"),
        ] {
            assert_eq!(read(text), Ok(expected.to_owned()));
        }
        for (bad, why) in [
            ("", NotAHostPort::Host),
            ("a b", NotAHostPort::Host),
            ("2001:db8::1", NotAHostPort::Host),
            ("a:", NotAHostPort::Port),
            ("a:65536", NotAHostPort::Port),
            ("a:0", NotAHostPort::Port),
            ("*.example:443", NotAHostPort::Host),
        ] {
            assert_eq!(read(bad), Err(why), "{bad:?}");
        }
    }

    #[test]
    fn every_interface_names_no_machine() {
        let unspecified = |text: &str| text.parse::<HostPort>().unwrap().host.is_unspecified();
        assert!(unspecified("0.0.0.0:1") && unspecified("[::]:1"));
        assert!(!unspecified("127.0.0.1:1") && !unspecified("a:1"));
        let loopback = |text: &str| text.parse::<HostName>().unwrap().is_loopback();
        for own in ["localhost", "a.LOCALHOST", "127.9.9.9", "[::1]"] {
            assert!(loopback(own), "{own}");
        }
        assert!(!loopback("localhost.example") && !loopback("10.0.0.1") && !loopback("0.0.0.0"));
    }
}
