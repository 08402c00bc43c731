//! The request header in which a proxy passes its client's certificate on: one of four names, and of those only the one
//! that was named.

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// A header that proxies pass certificates in, lower case as HTTP/2 has it.
    pub enum CertificateHeader {
        ClientCert = "x-client-cert",
        SslClientCert = "x-ssl-client-cert",
        ForwardedTlsClientCert = "x-forwarded-tls-client-cert",
        ForwardedClientCert = "x-forwarded-client-cert",
    }
}

/// Why no header says whose certificate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// Nobody has set it, or the client has no certificate.
    #[error("the header {} has no certificate; the proxy sets it to its client's", .0.canonical())]
    Missing(CertificateHeader),
    /// Set by the proxy and by its client.
    #[error("the header {} is there more than once", .0.canonical())]
    Twice(CertificateHeader),
    /// From the client, or from a proxy that was meant to use the named one.
    #[error("a certificate is in {}, which is not the header that was named; the proxy has to remove it", .0.canonical())]
    Another(CertificateHeader),
    /// Nobody encodes a certificate like that.
    #[error("the header {} has something else than text", .0.canonical())]
    NotText(CertificateHeader),
}

impl CertificateHeader {
    /// The name as people write it.
    pub const fn canonical(self) -> &'static str {
        match self {
            Self::ClientCert => "X-Client-Cert",
            Self::SslClientCert => "X-SSL-Client-Cert",
            Self::ForwardedTlsClientCert => "X-Forwarded-Tls-Client-Cert",
            Self::ForwardedClientCert => "X-Forwarded-Client-Cert",
        }
    }

    /// The header of a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        name.to_ascii_lowercase().parse().ok()
    }

    /// The certificate's text in the one header that counts. A second value of it, and any of the other headers beside it,
    /// shows that somebody else than the proxy had a say, so nothing is believed.
    ///
    /// # Errors
    /// Where there is not exactly one header, the named one, with a text.
    pub fn value<'h, V: Iterator<Item = &'h [u8]>>(
        self,
        values: impl Fn(&'static str) -> V,
    ) -> Result<&'h str, HeaderRefusal> {
        let others = Self::ALL.iter().filter(|other| **other != self);
        for other in others {
            if values(other.as_str()).next().is_some() {
                return Err(HeaderRefusal::Another(*other));
            }
        }
        let mut own = values(self.as_str());
        let first = own.next().ok_or(HeaderRefusal::Missing(self))?;
        if own.next().is_some() {
            return Err(HeaderRefusal::Twice(self));
        }
        let text = std::str::from_utf8(first).map_err(|_| HeaderRefusal::NotText(self))?;
        // What nginx sends for a client without a certificate, and what HAProxy and Apache do.
        if matches!(text.trim(), "" | "-" | "(null)") {
            return Err(HeaderRefusal::Missing(self));
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(headers: &[(&str, &str)]) -> Result<String, HeaderRefusal> {
        let values = |name: &'static str| {
            let of_name = headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
            of_name.map(|(_, value)| value.as_bytes())
        };
        CertificateHeader::ClientCert.value(values).map(str::to_owned)
    }

    #[test]
    fn one_header_counts_and_no_other_is_beside_it() {
        use CertificateHeader::{ClientCert, ForwardedClientCert, SslClientCert};
        use HeaderRefusal::{Another, Missing, Twice};
        assert_eq!(value(&[("X-Client-Cert", "MII"), ("Host", "x")]), Ok("MII".to_owned()));
        for (headers, refusal) in [
            (&[][..], Missing(ClientCert)),
            (&[("x-client-cert", "")], Missing(ClientCert)),
            (&[("x-client-cert", " - ")], Missing(ClientCert)),
            (&[("x-client-cert", "MII"), ("X-Client-Cert", "MII")], Twice(ClientCert)),
            (&[("x-client-cert", "MII"), ("X-Client-Cert", "")], Twice(ClientCert)),
            (&[("x-client-cert", "MII"), ("x-ssl-client-cert", "MII")], Another(SslClientCert)),
            (&[("x-forwarded-client-cert", "")], Another(ForwardedClientCert)),
        ] {
            assert_eq!(value(headers), Err(refusal), "{headers:?}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        for header in CertificateHeader::ALL {
            assert_eq!(CertificateHeader::named(header.canonical()), Some(*header));
        }
        assert_eq!(CertificateHeader::named("Authorization"), None);
    }
}
