//! The addresses by which agents and people reach the server: https URLs without a path, in the order in which agents
//! try them.

use std::fmt;
use std::str::FromStr;

use crate::domain::network::host_port::{HostPort, NotAHostPort};

/// Port of `https` when an address names none (RFC 9110 4.2.2).
pub const HTTPS_PORT: u16 = 443;
/// More addresses than any deployment has servers and names; every agent tries them one after the other.
const URLS_MAX: usize = 16;

/// The list, without repetitions; empty when nothing was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicUrls(Vec<PublicUrl>);

/// `https://HOST[:PORT]`, nothing after it. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(HostPort);

/// Why a text is no list of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotPublicUrls {
    /// One is no https.
    #[error("an address starts with https://")]
    Scheme,
    /// One has a path or more.
    #[error("an address is https://HOST or https://HOST:PORT with nothing after it")]
    Rest,
    /// One has no address that can be dialled.
    #[error("in an address, {0}")]
    Address(#[from] NotAHostPort),
    /// One means every interface.
    #[error("an address that means every interface names no machine")]
    Unspecified,
    /// A comma has nothing on one side.
    #[error("there is a comma with no address before or after it")]
    Gap,
    /// There are too many.
    #[error("there are more than 16 addresses")]
    Many,
}

impl PublicUrls {
    /// In the order in which they are tried.
    pub fn as_slice(&self) -> &[PublicUrl] {
        &self.0
    }
}

impl PublicUrl {
    /// Where it leads.
    pub const fn address(&self) -> &HostPort {
        &self.0
    }
}

impl From<HostPort> for PublicUrl {
    fn from(address: HostPort) -> Self {
        Self(address)
    }
}

impl FromStr for PublicUrls {
    type Err = NotPublicUrls;

    fn from_str(text: &str) -> Result<Self, NotPublicUrls> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut urls: Vec<PublicUrl> = Vec::new();
        for item in text.split(',').map(str::trim) {
            if item.is_empty() {
                return Err(NotPublicUrls::Gap);
            }
            let url = item.parse()?;
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.len() > URLS_MAX { Err(NotPublicUrls::Many) } else { Ok(Self(urls)) }
    }
}

impl FromStr for PublicUrl {
    type Err = NotPublicUrls;

    fn from_str(text: &str) -> Result<Self, NotPublicUrls> {
        let (scheme, address) = text.split_once("://").ok_or(NotPublicUrls::Scheme)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(NotPublicUrls::Scheme);
        }
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#', '@']) {
            return Err(NotPublicUrls::Rest);
        }
        let address = HostPort::with_default_port(address, HTTPS_PORT)?;
        if address.host.is_unspecified() { Err(NotPublicUrls::Unspecified) } else { Ok(Self(address)) }
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_their_order() {
        let read = |text: &str| {
            let urls = text.parse::<PublicUrls>().unwrap_or_else(|error| panic!("{text}: {error}"));
            urls.as_slice().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(read("").is_empty() && read("  ").is_empty());
        assert_eq!(read("https://muster.example.org"), ["https://muster.example.org:443"]);
        assert_eq!(
            read("HTTPS://B.example:8443/ , https://a.example,https://b.example:8443"),
            ["https://b.example:8443", "https://a.example:443"]
        );
        assert_eq!(read("https://[2001:db8::1]:8443"), ["https://[2001:db8::1]:8443"]);
    }

    #[test]
    fn what_agents_could_not_dial_is_refused() {
        let why = |text: &str| text.parse::<PublicUrls>().unwrap_err();
        assert_eq!(why("muster.example.org"), NotPublicUrls::Scheme);
        assert_eq!(why("http://muster.example.org"), NotPublicUrls::Scheme);
        assert_eq!(why("https://a/path"), NotPublicUrls::Rest);
        assert_eq!(why("https://user@a"), NotPublicUrls::Rest);
        assert_eq!(why("https://a?x"), NotPublicUrls::Rest);
        assert_eq!(why("https://*.example.org"), NotPublicUrls::Address(NotAHostPort::Host));
        assert_eq!(why("https://a:99999"), NotPublicUrls::Address(NotAHostPort::Port));
        assert_eq!(why("https://a:"), NotPublicUrls::Address(NotAHostPort::Port));
        assert_eq!(why("https://"), NotPublicUrls::Address(NotAHostPort::Host));
        assert_eq!(why("https://0.0.0.0:8443"), NotPublicUrls::Unspecified);
        assert_eq!(why("https://a,"), NotPublicUrls::Gap);
        let many: Vec<String> = (0..17).map(|number| format!("https://a{number}")).collect();
        assert_eq!(why(&many.join(",")), NotPublicUrls::Many);
    }
}
