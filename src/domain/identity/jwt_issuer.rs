//! The issuer that JWT-SVIDs name (OpenID Connect Discovery 1.0, section 2): an https URL, the same for good.

use std::fmt;
use std::str::FromStr;

use crate::domain::network::public_url::PublicUrls;

/// Longest issuer, in octets: it stands in every token.
const OCTETS_MAX: usize = 200;

/// An https URL, with a path perhaps, and with neither query nor fragment. Compared octet for octet, as RFC 8414 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtIssuer(String);

/// Why a text is no issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIssuer {
    /// Another scheme, or no host.
    #[error("an issuer is https://HOST, with a port and a path perhaps")]
    Https,
    /// They are not part of an issuer (OpenID Connect Discovery 1.0).
    #[error("an issuer has neither a query nor a fragment")]
    Rest,
    /// A slash at the end makes another issuer of it to some programs and not to others.
    #[error("an issuer does not end with a slash")]
    Slash,
    /// A URL has none of them.
    #[error("in an issuer's path are letters, digits and -._~/ alone")]
    Path,
    /// It stands in every token.
    #[error("an issuer has at most 200 characters")]
    Long,
}

impl JwtIssuer {
    /// As it stands in tokens.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the keys are to be found.
    pub fn jwks_uri(&self) -> String {
        format!("{}/.well-known/jwks.json", self.0)
    }
}

impl fmt::Display for JwtIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JwtIssuer {
    type Err = NotAnIssuer;

    fn from_str(text: &str) -> Result<Self, NotAnIssuer> {
        if text.len() > OCTETS_MAX {
            return Err(NotAnIssuer::Long);
        }
        if text.contains(['?', '#']) {
            return Err(NotAnIssuer::Rest);
        }
        let rest = text.strip_prefix("https://").ok_or(NotAnIssuer::Https)?;
        if rest.ends_with('/') {
            return Err(NotAnIssuer::Slash);
        }
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host: PublicUrls = format!("https://{host}").parse().map_err(|_| NotAnIssuer::Https)?;
        if host.as_slice().len() != 1 {
            return Err(NotAnIssuer::Https);
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.chars().all(plain) || path.split('/').any(|part| part == "." || part == "..") {
            return Err(NotAnIssuer::Path);
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_urls_without_a_rest() {
        for good in
            ["https://muster.example.org", "https://id.example:8443/muster/prod", "https://[2001:db8::1]"]
        {
            assert_eq!(good.parse::<JwtIssuer>().unwrap().to_string(), good);
        }
        let long = format!("https://a.example/{}", "x".repeat(200));
        for (bad, why) in [
            ("http://a.example", NotAnIssuer::Https),
            ("a.example", NotAnIssuer::Https),
            ("https://", NotAnIssuer::Https),
            ("https://a.example,https://b.example", NotAnIssuer::Https),
            ("https://user@a.example", NotAnIssuer::Https),
            ("https://a.example?x", NotAnIssuer::Rest),
            ("https://a.example/b#c", NotAnIssuer::Rest),
            ("https://a.example/", NotAnIssuer::Slash),
            ("https://a.example/b c", NotAnIssuer::Path),
            ("https://a.example/../b", NotAnIssuer::Path),
            ("https://a.example/%2e", NotAnIssuer::Path),
            (long.as_str(), NotAnIssuer::Long),
        ] {
            assert_eq!(bad.parse::<JwtIssuer>(), Err(why), "{bad}");
        }
        assert_eq!(
            "https://a.example/b".parse::<JwtIssuer>().unwrap().jwks_uri(),
            "https://a.example/b/.well-known/jwks.json"
        );
    }
}
