//! The address an agent enrolls and rotates at.

use std::fmt;
use std::str::FromStr;

use crate::domain::network::host_port::{HostPort, NotAHostPort};
use crate::domain::text::{debug_as_text, serde_as_text};

/// Port of `https` when the address names none.
const HTTPS_PORT: u16 = 443;
/// Port of the gRPC listener when the server names none.
const GRPC_PORT: u16 = 9443;

/// `https://HOST[:PORT]`, nothing after it.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerUrl(HostPort);

/// Why a text is no server address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAServerUrl {
    #[error("a server address starts with https://")]
    Scheme,
    #[error("a server address is https://HOST:PORT with nothing after it")]
    Rest,
    #[error("in the server address, {0}")]
    Address(#[from] NotAHostPort),
}

impl ServerUrl {
    pub const fn host_port(&self) -> &HostPort {
        &self.0
    }

    /// Where the gRPC listener is, given what the server said of it. A server that listens on every interface
    /// does not know its own name; then it is the one it was reached by.
    pub fn grpc_addr(&self, told: Option<&str>) -> Result<HostPort, NotAHostPort> {
        let told = told.unwrap_or_default();
        if told.is_empty() {
            return Ok(HostPort { host: self.0.host.clone(), port: GRPC_PORT });
        }
        let addr: HostPort = match told.strip_prefix(':') {
            Some(port) => format!("0.0.0.0:{port}").parse()?,
            None => told.parse()?,
        };
        if addr.host.is_unspecified() {
            return Ok(HostPort { host: self.0.host.clone(), port: addr.port });
        }
        Ok(addr)
    }
}

impl From<HostPort> for ServerUrl {
    fn from(address: HostPort) -> Self {
        Self(address)
    }
}

impl FromStr for ServerUrl {
    type Err = NotAServerUrl;

    fn from_str(text: &str) -> Result<Self, NotAServerUrl> {
        let text = text.trim();
        // A scheme's case does not matter (RFC 3986 3.1).
        let (scheme, address) = text.split_at_checked("https://".len()).ok_or(NotAServerUrl::Scheme)?;
        if !scheme.eq_ignore_ascii_case("https://") {
            return Err(NotAServerUrl::Scheme);
        }
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#', '@']) {
            return Err(NotAServerUrl::Rest);
        }
        if let Ok(host) = address.parse() {
            return Ok(Self(HostPort { host, port: HTTPS_PORT }));
        }
        Ok(Self(address.parse()?))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.0)
    }
}

debug_as_text!(ServerUrl);
serde_as_text!(ServerUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, at) in [
            ("https://a:8443", "https://a:8443/x"),
            ("https://a", "https://a:443/x"),
            ("https://[::1]:1/", "https://[::1]:1/x"),
            ("HTTPS://a:1", "https://a:1/x"),
            (" https://control.example.:8443 \n", "https://control.example:8443/x"),
        ] {
            assert_eq!(format!("{}/x", text.parse::<ServerUrl>().unwrap()), at);
        }
        for bad in [
            "",
            "a:1",
            "http://a:1",
            "https://",
            "https://a:0",
            "https://a/x",
            "https://u@a",
            "https://a:1?x#y",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
        for zone in ["https://[fe80::1%eth0]:8443", "https://[fe80::1%25eth0]:8443"] {
            let error = zone.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(error.contains("zone"), "{error}");
        }
    }

    #[test]
    fn the_grpc_listener_is_where_the_server_says_or_where_it_was_reached() {
        let server: ServerUrl = "https://control.example:8443".parse().unwrap();
        for (told, addr) in [
            (None, "control.example:9443"),
            (Some(""), "control.example:9443"),
            (Some("0.0.0.0:1234"), "control.example:1234"),
            (Some("[::]:1234"), "control.example:1234"),
            (Some(":1234"), "control.example:1234"),
            (Some("grpc.example:1"), "grpc.example:1"),
        ] {
            assert_eq!(server.grpc_addr(told).unwrap().to_string(), addr, "{told:?}");
        }
        assert!(server.grpc_addr(Some("nonsense")).is_err());
    }
}
