//! The HTTP proxy that stands between this machine and the server: what the environment says of it, and the
//! tunnel through it (RFC 9110 9.3.6, `CONNECT`).
//!
//! A proxy is a means and no judge: TLS goes on end to end inside the tunnel, so a proxy sees names and no
//! content, and what it says about the server decides nothing.

use std::net::IpAddr;
use std::{fmt, io};

use data_encoding::BASE64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::domain::network::host_port::{HostName, HostPort};
use crate::domain::network::networks::Networks;
use crate::domain::printable::printable;

/// `HTTPS_PROXY`, and the same in the lower case that some programs want.
const PROXY: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
const EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Port of `http`, for a proxy that is named without one.
const HTTP_PORT: u16 = 80;
/// Largest head of an answer that is read, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most characters of a proxy's status line that are passed on.
const STATUS_CHARS_MAX: usize = 80;

/// What the environment says of proxies.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    proxy: Option<Result<Proxy, UnusableProxy>>,
    exceptions: Exceptions,
}

/// An HTTP proxy and what it wants to see.
#[derive(Clone)]
pub struct Proxy {
    pub at: HostPort,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Zeroizing<String>>,
}

/// Why `HTTPS_PROXY` names no proxy that can be used. Its value may hold a password and is no part of this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnusableProxy {
    #[error("HTTPS_PROXY is not http://[USER:PASSWORD@]HOST:PORT")]
    Form,
    #[error("HTTPS_PROXY names a proxy of another kind than http://, which this program does not speak to")]
    Kind,
}

/// Why a proxy opened no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    #[error("the connection to it broke")]
    Broken(#[from] io::Error),
    #[error("it answered something other than HTTP")]
    NotHttp,
    #[error("it refused: {0}")]
    Refused(String),
}

impl ProxySettings {
    pub fn from_environment(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let first = |names: [&str; 2]| names.iter().find_map(|name| env(name));
        let proxy = first(PROXY).map(|text| Proxy::parse(text.trim()));
        Self { proxy, exceptions: Exceptions::parse(&first(EXCEPTIONS).unwrap_or_default()) }
    }

    /// The proxy for a destination, unless it is to be reached without one.
    pub fn towards(&self, to: &HostPort) -> Option<&Result<Proxy, UnusableProxy>> {
        self.proxy.as_ref().filter(|_| !self.exceptions.cover(to))
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, UnusableProxy> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return Err(UnusableProxy::Kind),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let at = match place.parse::<HostPort>() {
            Ok(at) => at,
            Err(_) => {
                let host = place.parse().map_err(|_| UnusableProxy::Form)?;
                HostPort { host, port: HTTP_PORT }
            }
        };
        let authorization = user.map(basic).transpose()?;
        Ok(Self { at, authorization })
    }

    /// Asks for a tunnel over a connection to the proxy. What comes back carries the destination's bytes alone.
    pub async fn tunnel(&self, mut stream: TcpStream, to: &HostPort) -> Result<TcpStream, TunnelError> {
        let mut request = Zeroizing::new(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n"));
        if let Some(value) = &self.authorization {
            request.push_str("Proxy-Authorization: ");
            request.push_str(value);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut head = Vec::new();
        // The destination speaks after us (TLS), so nothing can follow the head that would be lost here.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= HEAD_BYTES_MAX {
                return Err(TunnelError::NotHttp);
            }
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !head.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        judge(&head)?;
        Ok(stream)
    }
}

/// Whether the head of an answer to `CONNECT` opens the tunnel: any status from 200 to 299 does.
fn judge(head: &[u8]) -> Result<(), TunnelError> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let rest = line.strip_prefix("HTTP/1.").ok_or(TunnelError::NotHttp)?;
    let status = rest.split(' ').nth(1).unwrap_or_default();
    if status.len() != 3 || !status.bytes().all(|b| b.is_ascii_digit()) {
        return Err(TunnelError::NotHttp);
    }
    if status.starts_with('2') {
        return Ok(());
    }
    let said = rest.split_once(' ').map_or(status, |(_, said)| said);
    Err(TunnelError::Refused(printable(said, STATUS_CHARS_MAX)))
}

/// The value of `Proxy-Authorization` for `USER:PASSWORD`, percent-encoded as it stands in a URL (RFC 7617).
fn basic(user: &str) -> Result<Zeroizing<String>, UnusableProxy> {
    let mut decoded = Zeroizing::new(Vec::new());
    let mut rest = user.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(UnusableProxy::Form) };
        rest = after;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            _ => return Err(UnusableProxy::Form),
        }
    }
    if !decoded.contains(&b':') {
        decoded.push(b':');
    }
    Ok(Zeroizing::new(format!("Basic {}", *Zeroizing::new(BASE64.encode(&decoded)))))
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("at", &self.at).finish_non_exhaustive()
    }
}

/// What is reached without a proxy: what `NO_PROXY` lists, and this machine itself, which a proxy elsewhere would
/// take for its own.
#[derive(Debug, Clone, Default)]
struct Exceptions(Vec<Exception>);

#[derive(Debug, Clone)]
struct Exception {
    what: Covered,
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum Covered {
    Everything,
    /// A name and all names below it, in lower case.
    Domain(String),
    Addresses(Networks),
}

impl Exceptions {
    /// A comma-separated list, as curl and Go read it. What is neither a name nor a network covers nothing.
    fn parse(text: &str) -> Self {
        Self(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Exception::parse).collect())
    }

    fn cover(&self, to: &HostPort) -> bool {
        let itself = match &to.host {
            HostName::Dns(name) => name.eq_ignore_ascii_case("localhost"),
            HostName::Ip(ip) => ip.is_loopback(),
        };
        itself || self.0.iter().any(|exception| exception.covers(to))
    }
}

impl Exception {
    fn parse(item: &str) -> Self {
        if item == "*" {
            return Self { what: Covered::Everything, port: None };
        }
        let addresses = |text: &str| text.parse::<Networks>().ok().map(Covered::Addresses);
        if let Some(what) = addresses(item) {
            return Self { what, port: None };
        }
        let (host, port) = match item.rsplit_once(':').map(|(host, port)| (host, port.parse().ok())) {
            Some((host, Some(port))) => (host, Some(port)),
            _ => (item, None),
        };
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let domain = || Covered::Domain(host.trim_matches('.').trim_start_matches("*.").to_ascii_lowercase());
        Self { what: addresses(bare).unwrap_or_else(domain), port }
    }

    fn covers(&self, to: &HostPort) -> bool {
        if self.port.is_some_and(|port| port != to.port) {
            return false;
        }
        match (&self.what, &to.host) {
            (Covered::Everything, _) => true,
            (Covered::Domain(domain), HostName::Dns(name)) => {
                let name = name.to_ascii_lowercase();
                let above = name.strip_suffix(domain.as_str());
                !domain.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Covered::Addresses(networks), HostName::Ip(ip)) => networks.contain(*ip),
            (Covered::Domain(_), HostName::Ip(IpAddr::V4(_) | IpAddr::V6(_)))
            | (Covered::Addresses(_), HostName::Dns(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(proxy: &str, exceptions: &str) -> ProxySettings {
        let (proxy, exceptions) = (proxy.to_owned(), exceptions.to_owned());
        ProxySettings::from_environment(&move |name| match name {
            "HTTPS_PROXY" => Some(proxy.clone()),
            "no_proxy" => Some(exceptions.clone()),
            _ => None,
        })
    }

    #[test]
    fn proxies_as_the_environment_names_them() {
        for (text, at, authorization) in [
            ("http://proxy.example:3128", "proxy.example:3128", None),
            ("HTTP://proxy.example:3128/", "proxy.example:3128", None),
            ("proxy.example:3128", "proxy.example:3128", None),
            ("http://proxy.example", "proxy.example:80", None),
            ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", None),
            ("http://user:pa%40ss@10.0.0.1:1", "10.0.0.1:1", Some("Basic dXNlcjpwYUBzcw==")),
            ("http://user@10.0.0.1:1", "10.0.0.1:1", Some("Basic dXNlcjo=")),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.at.to_string(), at);
            assert_eq!(proxy.authorization.as_ref().map(|value| value.as_str()), authorization, "{text}");
            assert!(!format!("{proxy:?}").contains("pa"), "{proxy:?}");
        }
        for (text, why) in [
            ("https://proxy.example:3128", UnusableProxy::Kind),
            ("socks5://proxy.example:1080", UnusableProxy::Kind),
            ("http://proxy.example:0", UnusableProxy::Form),
            ("http://pro xy:1", UnusableProxy::Form),
            ("http://u:%zz@proxy:1", UnusableProxy::Form),
            ("http://proxy:1/path", UnusableProxy::Form),
        ] {
            assert_eq!(Proxy::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn exceptions_are_names_below_a_name_networks_and_this_machine() {
        let list = "example.org, .internal,*.lan,10.0.0.0/8,192.0.2.7:8443, [2001:db8::1]:1,2001:db8:1::/48,port.example:9";
        let settings = settings("http://proxy:1", list);
        for (to, direct) in [
            ("example.org:1", true),
            ("a.EXAMPLE.org:1", true),
            ("badexample.org:1", false),
            ("x.internal:1", true),
            ("internal:1", true),
            ("x.lan:1", true),
            ("10.255.0.1:1", true),
            ("11.0.0.1:1", false),
            ("192.0.2.7:8443", true),
            ("192.0.2.7:9443", false),
            ("[2001:db8::1]:1", true),
            ("[2001:db8::1]:2", false),
            ("[2001:db8:1::9]:2", true),
            ("port.example:9", true),
            ("port.example:10", false),
            ("localhost:1", true),
            ("127.0.0.9:1", true),
            ("[::1]:1", true),
            ("control.example:8443", false),
        ] {
            assert_eq!(settings.towards(&to.parse().unwrap()).is_none(), direct, "{to}");
        }
        let everything = self::settings("http://proxy:1", "*");
        assert!(everything.towards(&"control.example:1".parse().unwrap()).is_none());
    }

    #[test]
    fn only_a_success_opens_the_tunnel() {
        judge(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        judge(b"HTTP/1.0 204\r\n\r\n").unwrap();
        let refused =
            judge(b"HTTP/1.1 407 Proxy \x1b[31mAuthentication Required\r\nx: y\r\n\r\n").unwrap_err();
        assert_eq!(refused.to_string(), "it refused: 407 Proxy [31mAuthentication Required");
        for bad in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2000 x\r\n\r\n", b"HTTP/1.1\r\n\r\n"] {
            assert!(matches!(judge(bad), Err(TunnelError::NotHttp)), "{bad:?}");
        }
    }
}
