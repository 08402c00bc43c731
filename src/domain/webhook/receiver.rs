//! Where a webhook goes: its address, and which addresses of the network a tenant's people may have dialled.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::text::serde_as_text;

/// Longest address of a webhook, in octets.
const URL_MAX: usize = 2_048;

/// Where events are posted. What is behind the host may be a secret, so nothing but [`Self::host`] is ever logged.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    https: bool,
    host: HostPort,
    path: String,
}

/// Why a text is no address of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAWebhookUrl {
    /// Neither https nor http.
    #[error("a webhook's address begins with https://")]
    Scheme,
    /// What stands before an @.
    #[error("a webhook's address names no user or password; put what the receiver wants into the path")]
    UserInfo,
    /// It can't be dialled.
    #[error(
        "the host of a webhook's address is a name or an IP address, with a port from 1 to 65535 where it is another one"
    )]
    Host,
    /// Too long, or not in plain characters.
    #[error("a webhook's address is at most 2,048 printable ASCII characters long, and has no fragment")]
    Characters,
}

impl WebhookUrl {
    /// Whether it is encrypted.
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// Whom it goes to.
    pub const fn host(&self) -> &HostPort {
        &self.host
    }

    /// Path and query.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl FromStr for WebhookUrl {
    type Err = NotAWebhookUrl;

    fn from_str(text: &str) -> Result<Self, NotAWebhookUrl> {
        if text.len() > URL_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) || text.contains('#') {
            return Err(NotAWebhookUrl::Characters);
        }
        let (scheme, rest) = text.split_once("://").ok_or(NotAWebhookUrl::Scheme)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(NotAWebhookUrl::Scheme),
        };
        // A backslash is a slash to some readers (WHATWG URL), and part of a name to none.
        let end = rest.find(['/', '?', '\\']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(NotAWebhookUrl::UserInfo);
        }
        let port = if https { 443 } else { 80 };
        let host = HostPort::with_default_port(authority, port).map_err(|_| NotAWebhookUrl::Host)?;
        if path.contains('\\') {
            return Err(NotAWebhookUrl::Characters);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { https, host, path })
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        let HostPort { host, port } = &self.host;
        if *port == usual {
            write!(f, "{scheme}://{host}{}", self.path)
        } else {
            write!(f, "{scheme}://{host}:{port}{}", self.path)
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.host)
    }
}

serde_as_text!(WebhookUrl);

/// Whether a tenant's people may have it dialled: not this machine, its link, or what clouds tell their machines there.
/// `own`: the addresses of this machine, which lead where loopback does.
pub fn is_outside(address: IpAddr, own: &[IpAddr]) -> bool {
    let address = inner(address.to_canonical());
    if own.iter().any(|own| own.to_canonical() == address) {
        return false;
    }
    match address {
        IpAddr::V4(ip) => {
            // Alibaba's metadata service is the one outside of 169.254.0.0/16.
            let metadata = ip == Ipv4Addr::new(100, 100, 100, 200);
            let this_network = ip.octets()[0] == 0;
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast()
                || this_network
                || metadata)
        }
        IpAddr::V6(ip) => {
            // Amazon's.
            let metadata = ip == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
            let link_local = ip.segments()[0] & 0xffc0 == 0xfe80;
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local || metadata)
        }
    }
}

/// The IPv4 address that an IPv6 one leads to by translation or tunnel (RFC 6052, 3056), or that it is compatible with.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(ip) = address else { return address };
    let s = ip.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => v4(high, low),
        _ => address,
    }
}

/// Whether the name itself says that it is inside, whatever it resolves to.
pub fn is_outside_by_name(host: &HostName, own: &[IpAddr]) -> bool {
    match host {
        HostName::Ip(ip) => is_outside(*ip, own),
        HostName::Dns(_) => !host.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_dialled() {
        for (text, shown) in [
            ("https://chat.example.org/hooks/abc?x=1", "https://chat.example.org/hooks/abc?x=1"),
            ("HTTPS://Chat.Example.org:443", "https://chat.example.org/"),
            ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
            ("http://192.0.2.1?x", "http://192.0.2.1/?x"),
        ] {
            let url: WebhookUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hooks"));
        }
        for (text, why) in [
            ("ftp://example.org/", NotAWebhookUrl::Scheme),
            ("example.org", NotAWebhookUrl::Scheme),
            ("https://a:b@example.org/", NotAWebhookUrl::UserInfo),
            ("https://example.org\\@127.0.0.1/", NotAWebhookUrl::Characters),
            ("https://example.org/#x", NotAWebhookUrl::Characters),
            ("https://exa mple.org/", NotAWebhookUrl::Characters),
            ("https://example.org/\r\nX: y", NotAWebhookUrl::Characters),
            ("https://", NotAWebhookUrl::Host),
            ("https://example.org:0/", NotAWebhookUrl::Host),
            ("https://2130706433/", NotAWebhookUrl::Host),
            ("https://0x7f.1/", NotAWebhookUrl::Host),
            ("https://127.1/", NotAWebhookUrl::Host),
        ] {
            assert_eq!(text.parse::<WebhookUrl>().map(|url| url.to_string()), Err(why), "{text}");
        }
        let long = format!("https://example.org/{}", "a".repeat(URL_MAX));
        assert_eq!(long.parse::<WebhookUrl>().map(|_| ()), Err(NotAWebhookUrl::Characters));
    }

    #[test]
    fn inside_is_inside_however_it_is_written() {
        let own = ["10.0.0.7".parse().unwrap()];
        let outside = |address: &str| is_outside(address.parse().unwrap(), &own);
        for inside in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "255.255.255.255",
            "224.0.0.1",
            "100.100.100.200",
            "10.0.0.7",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "::ffff:10.0.0.7",
        ] {
            assert!(!outside(inside), "{inside}");
        }
        for good in
            ["192.0.2.1", "10.0.0.8", "192.168.1.1", "2001:db8::1", "fd12::1", "64:ff9b::808:808", "fec0::1"]
        {
            assert!(outside(good), "{good}");
        }
    }
}
