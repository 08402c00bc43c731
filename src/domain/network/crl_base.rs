//! Where relying parties fetch revocation lists that certificates point to (RFC 5280 4.2.1.13): a base address, to which the
//! issuer's key identifier is added.

use std::str::FromStr;

use crate::domain::network::host_port::{HostPort, NotAHostPort};
use crate::domain::text::debug_as_text;

/// Ports of `http` and `https` when an address names none (RFC 9110 4.2.1, 4.2.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
/// It stands in every certificate.
const LENGTH_MAX: usize = 200;

/// `http://HOST[:PORT][/PATH]` without a slash at the end.
#[derive(Clone, PartialEq, Eq)]
pub struct CrlBase(String);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotACrlBase {
    /// It is neither http nor https.
    #[error("it starts neither with http:// nor with https://")]
    Scheme,
    /// There is no address that could be dialled.
    #[error("in it, {0}")]
    Address(#[from] NotAHostPort),
    /// It means every interface.
    #[error("an address that means every interface names no machine")]
    Unspecified,
    /// It has a query, a fragment, a user, or characters that have no place in a path.
    #[error(
        "after the host there is a path of letters, digits, '/', '-', '.', '_' and '~', and nothing else"
    )]
    Path,
    /// Certificates would grow beyond measure.
    #[error("it is longer than 200 characters")]
    Long,
}

impl CrlBase {
    /// Whether whoever checks a certificate would have to check this server's first, and can't.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The address of an issuer's list, by its subject key identifier.
    pub fn of_issuer(&self, key_identifier_hex: &str) -> String {
        format!("{}/agent-ca/crl/{key_identifier_hex}.crl", self.0)
    }
}

impl FromStr for CrlBase {
    type Err = NotACrlBase;

    fn from_str(text: &str) -> Result<Self, NotACrlBase> {
        let (scheme, rest) = text.split_once("://").ok_or(NotACrlBase::Scheme)?;
        let port = match scheme {
            "http" => HTTP_PORT,
            "https" => HTTPS_PORT,
            _ => return Err(NotACrlBase::Scheme),
        };
        let rest = rest.trim_end_matches('/');
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
        if host.contains(['@', '?', '#']) || !path.chars().all(plain) {
            return Err(NotACrlBase::Path);
        }
        if HostPort::with_default_port(host, port)?.host.is_unspecified() {
            return Err(NotACrlBase::Unspecified);
        }
        let base = Self(format!("{scheme}://{rest}"));
        if base.0.len() > LENGTH_MAX { Err(NotACrlBase::Long) } else { Ok(base) }
    }
}

impl std::fmt::Display for CrlBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

debug_as_text!(CrlBase);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_plain_addresses() {
        for (text, list) in [
            ("http://pki.example.org", "http://pki.example.org/agent-ca/crl/0a.crl"),
            ("http://10.0.0.1:8080/muster/", "http://10.0.0.1:8080/muster/agent-ca/crl/0a.crl"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/agent-ca/crl/0a.crl"),
        ] {
            let base: CrlBase = text.parse().unwrap();
            assert_eq!(base.of_issuer("0a"), list);
            assert_eq!(base.is_https(), text.starts_with("https"));
        }
        let long = format!("http://a/{}", "a".repeat(200));
        for bad in [
            "",
            "pki.example.org",
            "ldap://a",
            "HTTP://a",
            "http://",
            "http:///a",
            "http://a b",
            "http://a:0",
            "http://a?x",
            "http://a/?x",
            "http://a/#x",
            "http://u@a",
            "http://a/ä",
            "http://a/%41",
            "http://a/\n",
            "http://0.0.0.0:80",
            &long,
        ] {
            assert!(bad.parse::<CrlBase>().is_err(), "{bad:?}");
        }
    }
}
