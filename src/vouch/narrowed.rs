//! The parameters of a question whether somebody is to be let in: whose certificates, and in which header one stands.

use form_urlencoded::parse;

use super::certificate_header::CertificateHeader;

/// Most tags that one question names; a host has no more.
const TAGS_MAX: usize = 32;

/// What a question is narrowed down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// The header that the proxy sets.
    pub header: CertificateHeader,
    /// The tenant that is let in, as it is named.
    pub tenant: Option<String>,
    /// What the host must all have.
    pub tags: Vec<String>,
}

/// Why parameters were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNarrowed {
    /// A mistake in a name must not let more people in.
    #[error("the address has a parameter that is none of tenant, tag and header")]
    Unknown,
    /// Two answers to one question.
    #[error("the parameter {0} is there more than once")]
    Twice(&'static str),
    /// A header that means something else.
    #[error(
        "'header' is one of X-Client-Cert, X-SSL-Client-Cert, X-Forwarded-Tls-Client-Cert and X-Forwarded-Client-Cert"
    )]
    Header,
    /// An empty tenant would be anybody's.
    #[error("the parameter {0} is empty")]
    Empty(&'static str),
    /// More than a host can have.
    #[error("at most 32 tags can be asked for")]
    TooMany,
}

impl Narrowed {
    /// Reads a query string. `usual`: the header where none is named.
    ///
    /// # Errors
    /// Where a parameter is unknown, empty, or there twice and not a tag.
    pub fn parse(query: &str, usual: CertificateHeader) -> Result<Self, NotNarrowed> {
        let (mut header, mut tenant, mut tags) = (None, None, Vec::new());
        for (name, value) in parse(query.as_bytes()) {
            match &*name {
                "header" => {
                    let named = CertificateHeader::named(&value).ok_or(NotNarrowed::Header)?;
                    once("header", &mut header, named)?;
                }
                "tenant" if value.is_empty() => return Err(NotNarrowed::Empty("tenant")),
                "tenant" => once("tenant", &mut tenant, value.into_owned())?,
                "tag" if value.is_empty() => return Err(NotNarrowed::Empty("tag")),
                "tag" if tags.len() == TAGS_MAX => return Err(NotNarrowed::TooMany),
                "tag" => tags.push(value.into_owned()),
                _ => return Err(NotNarrowed::Unknown),
            }
        }
        Ok(Self { header: header.unwrap_or(usual), tenant, tags })
    }
}

fn once<T>(name: &'static str, place: &mut Option<T>, value: T) -> Result<(), NotNarrowed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(NotNarrowed::Twice(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_strictly() {
        let usual = CertificateHeader::ClientCert;
        let read = |query: &str| Narrowed::parse(query, usual);
        assert_eq!(read(""), Ok(Narrowed { header: usual, tenant: None, tags: Vec::new() }));
        let all = read("tenant=shop&tag=role%3Aweb&tag=eu&header=x-ssl-CLIENT-cert").unwrap();
        assert_eq!(all.header, CertificateHeader::SslClientCert);
        assert_eq!(all.tenant.as_deref(), Some("shop"));
        assert_eq!(all.tags, ["role:web", "eu"]);
        for (query, refusal) in [
            ("Tenant=a", NotNarrowed::Unknown),
            ("x", NotNarrowed::Unknown),
            ("tenant=", NotNarrowed::Empty("tenant")),
            ("tag", NotNarrowed::Empty("tag")),
            ("tenant=a&tenant=b", NotNarrowed::Twice("tenant")),
            ("header=X-Client-Cert&header=X-Client-Cert", NotNarrowed::Twice("header")),
            ("header=Cookie", NotNarrowed::Header),
            (&"tag=a&".repeat(33), NotNarrowed::TooMany),
        ] {
            assert_eq!(read(query), Err(refusal), "{query}");
        }
    }
}
